"""Claims about how scripts end: at Ctrl-C, also while they import, and at a closed pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

import processes
import terminals
from experiments.lab import endings

# Stands in for NumPy, which every script imports: it says that it is being imported, and waits.
IMPORTED = """
import os, sys
print("what was printed so far")  # into a buffer
os.write(1, b"importing\\n")
sys.stdin.readline()
raise SystemExit(7)
"""
# What an installer writes as the command `gears`.
COMMAND = "import sys\nfrom experiments.__main__ import main\nsys.exit(main())\n"


def importing(folder, command: list[object], **options: object) -> processes.Started:
    """Return a process of `command` that is importing NumPy."""
    stand_in = folder / "stand_in"
    stand_in.mkdir()
    (stand_in / "numpy.py").write_text(IMPORTED)
    path = os.pathsep.join([str(stand_in), str(terminals.ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": ""}
    process = processes.Started(
        [sys.executable, *command], cwd=folder, env=environment, stdin=subprocess.PIPE, **options
    )
    assert process.stdout.readline() == "importing\n"
    return process


def scripts() -> list[list[object]]:
    folder = terminals.ROOT / "experiments"
    return [[folder / f"{name}.py"] for name in terminals.names()] + [
        ["-m", "experiments", "traffic"],
        ["gears", "traffic"],
    ]


@pytest.mark.parametrize("command", scripts(), ids=lambda command: getattr(command[0], "stem", command[0]))
def test_ctrl_c_while_importing_is_one_line_and_status_130(command, tmp_path):
    (tmp_path / "gears").write_text(COMMAND)
    with importing(tmp_path, command) as process:
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=processes.HANG_S)
    assert (process.returncode, output, error) == (130, "what was printed so far\n", "interrupted\n")


def test_a_ctrl_c_that_the_parent_wants_ignored_is_ignored(tmp_path):
    with importing(tmp_path, [terminals.ROOT / "experiments" / "traffic.py"], ignore=[signal.SIGINT]) as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate("\n", timeout=processes.HANG_S)
    assert (process.returncode, error) == (7, "")


def test_one_process_speaks_where_an_mpi_launcher_started_several(tmp_path, monkeypatch):
    monkeypatch.setenv("PMI_RANK", "1")
    with importing(tmp_path, [terminals.ROOT / "experiments" / "traffic.py"]) as process:
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=processes.HANG_S)
    assert (process.returncode, error) == (130, "")


def test_who_imports_a_script_keeps_signals():
    """Which those are depends on who started the tests: `nohup make test &` ignores Ctrl-C."""
    assert signal.getsignal(signal.SIGINT) is not endings._interrupted
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def test_ctrl_c_raises_only_where_something_must_be_unwound():
    as_begun = signal.getsignal(signal.SIGINT)
    with endings.unwinding():
        assert signal.getsignal(signal.SIGINT) is as_begun
    before = signal.signal(signal.SIGINT, endings._interrupted)
    try:
        with endings.unwinding(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is endings._interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_error_that_is_not_of_the_output_is_raised(tmp_path):
    with pytest.raises(FileNotFoundError):
        endings.written(lambda: len((tmp_path / "none").read_text()), "script")


def test_real_mpi_ends_at_a_closed_pipe_as_a_tool_of_unix_does(tmp_path):
    """Its output goes through mpiexec, which dies of the pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    script = terminals.ROOT / "experiments" / "ring_allreduce.py"
    command = [sys.executable, script, "--mpi", "--ranks", "2", "--bytes", "64"]
    environment = os.environ | {"PYTHONPATH": str(terminals.ROOT)}
    with processes.Started(command, cwd=tmp_path, env=environment, stdout=writer) as process:
        os.close(writer)
        _, error = process.communicate(timeout=processes.HANG_S)
        process.assert_none_alive()
    assert (process.returncode, error) == (128 + signal.SIGPIPE, "")
