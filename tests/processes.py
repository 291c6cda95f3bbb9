"""Processes that tests start: nothing that they start outlives the block that uses them, even if the test fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

MARKS = "STARTED_BY_TESTS"
HANG_S = 600  # far more than any of these needs, on a slow and busy machine too: it turns a hang into a failure

# Asks to be killed when the tests' process dies, where that can be asked for, by prctl(PR_SET_PDEATHSIG). Sets every
# disposition, since nohup and a shell's background jobs let some signals be ignored. Then becomes argv[2:].
# It does so after exec and not in `preexec_fn`, which must not be used where there are threads.
FRESH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL))
ignored = {int(number) for number in sys.argv[1].split()}
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
os.execvp(sys.argv[2], sys.argv[2:])
"""


def with_mark(environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a new mark, and `environment` with it: what is started with that, and what that starts, can be found."""
    mark = uuid.uuid4().hex
    return mark, {**environment, MARKS: f"{environment.get(MARKS, '')} {mark}"}


def marked(mark: str) -> dict[int, str]:
    """Return the number and the command line of every process that lives and has this mark; needs /proc."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc") if os.path.isdir("/proc") else []):
        folder = Path("/proc") / name
        try:
            if mark.encode() in (folder / "environ").read_bytes():  # which a zombie has no more
                found[int(name)] = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:  # it has ended since, or is another user's
            continue
    return found


def end(mark: str) -> None:
    """Kill all processes with this mark."""
    while alive := marked(mark).keys() - {os.getpid()}:
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)  # until the kernel has ended them


class Started(subprocess.Popen[str]):
    """A process in a group of its own, with every signal at its default but those to be ignored.

        with Started([sys.executable, "-c", "..."], ignore=[signal.SIGHUP]) as process:
            ...

    Leaving the block kills it and all that it started, whoever has become their parent. Without /proc only the
    process itself is found.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        ignore: Iterable[int] = (),
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.mark, environment = with_mark(os.environ if env is None else env)
        first = [sys.executable, "-I", "-S", "-c", FRESH, " ".join(str(int(number)) for number in ignore)]
        super().__init__(
            [*first, *map(str, command)],
            env=environment,
            text=True,
            process_group=0,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )

    def __exit__(self, *exception: Any) -> None:
        self.kill()
        end(self.mark)
        super().__exit__(*exception)

    def alive(self) -> dict[int, str]:
        """Return the number and the command line of every process that lives, of this one and all that it started."""
        return marked(self.mark)

    def assert_none_alive(self, but: Iterable[int] = ()) -> None:
        """Wait until nothing of this process lives but those named; fail if that takes longer than anything should."""
        deadline = time.monotonic() + HANG_S
        while self.alive().keys() - but:
            assert time.monotonic() < deadline, f"left behind: {self.alive()}"
            time.sleep(0.02)


def run(command: Sequence[object], **options: Any) -> subprocess.CompletedProcess[str]:
    """Return how `command` ended, as subprocess.run does; nothing that it started is left, after a time-out too."""
    with Started(command, **options) as process:
        stdout, stderr = process.communicate(timeout=HANG_S)
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
