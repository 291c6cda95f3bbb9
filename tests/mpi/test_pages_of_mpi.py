"""Every block of docs/running.md and docs/testing.md, and of a section of README and tutorial, does what it says."""

import re
import shlex
import sys
import warnings
from pathlib import Path

import pytest

from mpi.launch.command import main
from ranks import ProgramWarning

ROOT = Path(__file__).parents[2]


def blocks(text):
    """Return the files that a page shows, by name, and its commands, each with its output."""
    files = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", text, re.DOTALL))
    shown = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    commands = [tuple(part.split("\n", 1)) for block in shown for part in block.split("$ ")[1:]]
    assert len(files) == text.count("```python")
    assert commands
    return {file: f"# {file}\n{source}" for file, source in files.items()}, commands


FILES, COMMANDS = blocks((ROOT / "docs" / "running.md").read_text())
FIRST_FILES, FIRST_COMMANDS = blocks((ROOT / "README.md").read_text().split("\n## Your own ")[1])
SCRIPTS, SCRIPT_COMMANDS = blocks(
    (ROOT / "docs" / "tutorial.md").read_text().split("\n## Your own mpi4py script\n")[1].split("\n## ")[0]
)
TESTS, RUNS = blocks((ROOT / "docs" / "testing.md").read_text())


@pytest.mark.parametrize(("command", "output"), COMMANDS + FIRST_COMMANDS + SCRIPT_COMMANDS)
def test_a_program_prints_what_the_page_shows(command, output, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in (FILES | FIRST_FILES | SCRIPTS).items():
        (tmp_path / name).write_text(text)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "mpi"]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ProgramWarning)
        main(words[3:])
    out, err = capsys.readouterr()
    assert out + err + "".join(f"warning: {each.message}\n" for each in told) == output


@pytest.mark.parametrize(("command", "output"), RUNS, ids=[command for command, _ in RUNS])
def test_tests_come_to_what_the_page_shows(command, output, pytester, monkeypatch):
    for name, text in TESTS.items():
        (pytester.path / name).write_text(text)
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)  # a file of ours may have that name
    words = shlex.split(command)
    assert words[0] == "pytest"
    plugins = ("-p", "mpi.testing.plugin", "-p", "no:xdist", "-p", "no:cacheprovider")
    result = pytester.runpytest_inprocess(*plugins, *words[1:])
    result.stdout.fnmatch_lines([line.replace("[", "[[]").replace("...", "*") for line in output.splitlines()])
