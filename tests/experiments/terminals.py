"""Runs of scripts, each at a terminal of its own: forks of one process that has imported all scripts, since a Python
for each would take ten times as long.

As a program it is that process: it reads a run from each line of its input, as JSON, and answers with how that ended.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import pty
import resource
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import processes

ROOT = Path(__file__).parents[2]
MOST_BYTES, MOST_CPU_S = 4 * 2**30, 120  # what a run may take: one that the scripts should have refused ends there


@dataclass(frozen=True)
class Place:
    """Where a script runs.

    columns:  Of its terminal; 0 if it has none, and writes into pipes.
    output:   Without a terminal, where its output goes: "pipe", "closed pipe", "full device", or "nowhere", all closed.
    encoding: Of its output.
    settings: Of its environment.
    """

    columns: int = 0
    output: str = "pipe"
    encoding: str = "utf-8"
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit status, or minus a signal; what it wrote; the most memory that it had."""

    status: int
    out: str
    err: str
    peak_bytes: int


class Scripts:
    """The process that has imported all scripts."""

    def __init__(self, process: processes.Started) -> None:
        self.process = process

    def run(self, script: str, argv: Sequence[object], place: Place, folder: Path) -> Ended:
        """Return how `script` ended with these arguments, in this folder."""
        job = {"script": script, "argv": [*map(str, argv)], "place": asdict(place), "folder": str(folder)}
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(job), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the process of the scripts has ended"
        return Ended(**json.loads(answer))


@contextmanager
def imported() -> Iterator[Scripts]:
    """Give the process that has imported all scripts."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    options = {"stdin": subprocess.PIPE, "stderr": None, "env": environment | {"PYTHONPATH": path}}
    with processes.Started([sys.executable, __file__], **options) as process:
        yield Scripts(process)


def names() -> list[str]:
    """Return the names of all scripts: what `experiments` holds but its rooms and its own command."""
    import experiments

    return [
        each.name
        for each in pkgutil.iter_modules(experiments.__path__)
        if not each.ispkg and not each.name.startswith("_")
    ]


# -- the process that forks --------------------------------------------------------------------------------------


def serve() -> None:
    """Answer each run with how it ended."""
    scripts: dict[str, Any] = {name: importlib.import_module(f"experiments.{name}") for name in names()}
    for library in ("rich.console", "rich.table", "rich.progress"):
        importlib.import_module(library)
    gc.freeze()  # a collection in a fork would look at all that was imported, and so copy it
    for line in sys.stdin:
        job = json.loads(line)
        ended = run(scripts[job["script"]], job["argv"], Place(**job["place"]), job["folder"])
        print(json.dumps(asdict(ended)), flush=True)


def run(script: Any, argv: list[str], place: Place, folder: str) -> Ended:
    """Return how a fork of this process ended that became the script."""
    if place.columns:
        mine, its_output = pty.openpty()
        fcntl.ioctl(its_output, termios.TIOCSWINSZ, struct.pack("HHHH", 24, place.columns, 0, 0))
        its_input = its_errors = its_output
        ours = [mine]
    else:
        its_input = os.open(os.devnull, os.O_RDONLY)
        mine, its_output = os.pipe()
        errors, its_errors = os.pipe()
        ours = [mine, errors]
        if place.output == "closed pipe":
            os.close(ours.pop(0))
        elif place.output == "full device":
            os.dup2(os.open("/dev/full", os.O_WRONLY), its_output)
    child = os.fork()
    if child == 0:
        for ours_too in ours:
            os.close(ours_too)
        become(script, argv, place, folder, (its_input, its_output, its_errors))
    for its in {its_input, its_output, its_errors}:
        os.close(its)
    came = read_all(ours, child)
    _, status, used = os.wait4(child, 0)
    texts = [came[each].decode(place.encoding, errors="replace") for each in ours]
    out, err = texts if len(texts) == 2 else (texts[0], "") if place.columns else ("", texts[0])
    return Ended(os.waitstatus_to_exitcode(status), out, err, used.ru_maxrss * 1024)


def read_all(sources: list[int], child: int) -> dict[int, bytes]:
    """Return what comes from each of these until nobody writes there any more; kill a child that never ends."""
    came, still = dict.fromkeys(sources, b""), list(sources)
    deadline = time.monotonic() + processes.HANG_S
    while still:
        ready = select.select(still, [], [], max(0, deadline - time.monotonic()))[0]
        if not ready:
            os.kill(child, signal.SIGKILL)
        for source in ready:
            try:
                piece = os.read(source, 65536)
            except OSError:  # a terminal whose other side is closed
                piece = b""
            came[source] += piece
            if not piece:
                still.remove(source)
                os.close(source)
    return came


def streams_of(place: Place) -> tuple[Any, Any, Any]:
    """Return standard input, output and error as Python makes them of the descriptors 0, 1 and 2."""
    if place.output == "nowhere":
        return None, None, None
    input_ = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    output = io.BufferedWriter(io.FileIO(1, "w", closefd=False))
    errors = io.FileIO(2, "w", closefd=False)
    return (
        input_,
        io.TextIOWrapper(output, place.encoding, line_buffering=place.columns > 0),
        io.TextIOWrapper(errors, place.encoding, "backslashreplace", write_through=True),
    )


def become(script: Any, argv: list[str], place: Place, folder: str, streams: tuple[int, int, int]) -> None:
    """Turn this fork into a Python that runs the script, and end as such a one does."""
    from experiments.lab import endings
    from ranks import real

    status = 1
    try:
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        if place.columns:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        elif place.output == "nowhere":
            os.closerange(0, 3)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        os.environ.update({"TERM": "xterm-256color"} | place.settings)
        sys.stdin, sys.stdout, sys.stderr = streams_of(place)
        endings.become_a_tool()
        real.launch = lambda *args, **options: subprocess.CompletedProcess([], 0)  # other tests start real MPI
        leave_out_what_takes_long(script)
        try:
            status = script.main([script.__file__, *argv])
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
        except BaseException:
            traceback.print_exc()
            status = 1
        try:
            sys.stdout.flush()
        except OSError:
            traceback.print_exc()
            status = 120
    finally:
        os._exit(status)


def leave_out_what_takes_long(script: Any) -> None:
    """Let scripts prove and repeat less than they always do, whatever their options: other tests let them do all."""
    for name, less in {"PROVED": range(1, 5), "SEEDS": 2}.items():
        if hasattr(script, name):
            setattr(script, name, less)


if __name__ == "__main__":
    serve()
