"""How a script ends when its terminal goes away: Ctrl-C, a closed pipe, a full device.

A script imports this before all else, so that Ctrl-C is one line while the rest is being imported too. Importing it
changes nothing unless Python runs a script of this folder: a notebook that imports one keeps its own signals.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
SHOW_CURSOR = b"\r\x1b[K\x1b[?25h"  # and wipe the line of a progress bar, which hides the cursor
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def become_a_tool() -> None:
    """Let this process end as tools of Unix do: at Ctrl-C with one line, at a closed pipe by SIGPIPE.

    A SIGINT that the parent wants ignored stays so. A stream that is closed swallows what is written to it. BLAS gets
    one thread, unless the user says otherwise, as it does on real MPI: a rank stands for a core, and on a machine that
    others use too, the threads of BLAS wait for each other most of the time.
    """
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):  # read when NumPy is imported
        os.environ.setdefault(variable, "1")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupted)
    if hasattr(signal, "SIGPIPE"):  # Windows has none
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # for as long as the process lives


def _interrupted(number: int, frame: FrameType | None) -> None:
    """End at once: an exception could be lost, or become another one, inside a module that is being imported."""
    with suppress(Exception):
        sys.stdout.flush()
    if all(os.environ.get(name, "0") == "0" for name in RANKS):  # the others under mpiexec would say the same
        with suppress(OSError):
            os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"interrupted\n")
    os._exit(INTERRUPTED)


@contextmanager
def unwinding() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt in this block, which must end processes before this one ends."""
    ours = signal.getsignal(signal.SIGINT) is _interrupted
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, _interrupted)


def written(run: Callable[[], int], prog: str) -> int:
    """Return run() when all that it printed is written; if that cannot be, print one line and return 1."""
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in OF_OUTPUT or error.filename is not None:
            raise
        reason = error.strerror
    with suppress(OSError):
        print(f"{prog}: cannot write the output: {reason}", file=sys.stderr, flush=True)
    # At its end Python writes what is left, and would report the same error again.
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nothing, stream.fileno())
    return 1


def _is_run() -> bool:
    """Return whether Python runs a script of this folder, or the command `gears`."""
    path = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    return path.parent == Path(__file__).parents[1] or path.name == "gears"


if _is_run():
    become_a_tool()
