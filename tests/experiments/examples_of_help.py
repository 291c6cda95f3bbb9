"""Every example that the `--help` of an experiment shows, and that needs no real MPI, runs: `make examples`.

They take ten to twenty minutes, so `make test` does not collect this file: it runs each script with few ranks only.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.lab import contents

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    (name, example)
    for name, entry in contents.contents().items()
    for example in entry.module().parser().examples
    if "--mpi" not in example
]


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_of_help_runs(name, example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    argv = shlex.split(example)
    for number, path in enumerate(argv):
        if path.endswith(".npy"):
            np.save(path, np.arange(6.0) + number)
    done = subprocess.run(
        [sys.executable, "-m", "experiments", name, *argv], capture_output=True, text=True, input="\n" * 100
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    written = [path for path in argv if Path(path).suffix[1:].isalpha()]
    assert [path for path in written if not Path(path).stat().st_size] == []
