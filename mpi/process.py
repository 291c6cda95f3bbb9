"""What MPI keeps for each process, kept here for each rank of a run."""

from __future__ import annotations

from collections import Counter
from typing import Any, NoReturn

from greenlet import getcurrent

from mpi import rc
from mpi.constants import BSEND_OVERHEAD, BufferAutomaticType
from mpi.errors import ERR_BUFFER, ERR_OTHER, LASTCODE, wrong
from mpi.memory import memory_of
from ranks.comm.communicator import Comm
from ranks.engine.rank import current_rank


class Process:
    """What MPI keeps for one rank.

    world, self_:  What stands behind COMM_WORLD and COMM_SELF.
    state:         The rank itself.
    n_ops:         How many operations it has created and not freed.
    keyvals:       The attribute keys that it has created, with their callbacks.
    error_codes:   The error classes and codes that it has added, with their texts.
    attached:      The buffer for buffered sends, as the program attached it; None if there is none.
    initialized:   Whether it has called Init.
    finalized:     Whether it has called Finalize.
    thread_level:  What it has asked Init_thread for; None if it has not.
    options:       The options of its mpi4py.rc.
    settings:      What these meant when the rank imported MPI; later changes have no effect.
    n_workers:     How many collectives it has begun beside its program.
    groups:        The groups of communicators that it has asked for, by their ranks.
    handlers:      How many error handlers it has created and not freed, by the kind of their objects.
    """

    def __init__(self, comm: Comm, self_comm: Comm, make: Any) -> None:
        self.state = comm._state
        self.world = make(comm, "MPI_COMM_WORLD")
        self.self_ = make(self_comm, "MPI_COMM_SELF")
        self.n_ops = 0
        self.keyvals: dict[int, Any] = {}
        self.error_codes: dict[int, Any] = {}
        self.attached: Any = None
        self.initialized = self.finalized = False
        self.thread_level: int | None = None
        self.options = dict(rc.OPTIONS)
        self._settings: dict[str, Any] | None = None
        self.n_workers = 0
        self.groups: dict[tuple[int, ...], Any] = {}
        self.handlers: Counter[str] = Counter()

    @property
    def settings(self) -> dict[str, Any]:
        """What the options meant when the rank imported MPI, which the first one that asks takes to be now."""
        if self._settings is None:
            self._settings = rc.take(self.options)
        return self._settings

    def end(self) -> None:
        """Note that the rank has called Finalize."""
        self.finalized, self.world, self.self_ = True, Ended(), Ended()

    def last_code(self) -> int:
        """Return the highest error code that is in use."""
        return max([*self.error_codes, LASTCODE])


class Ended:
    """Stands behind COMM_WORLD and COMM_SELF after Finalize: whatever is asked of it is an error."""

    def __getattr__(self, name: str) -> NoReturn:
        raise wrong(ERR_OTHER, "a call after Finalize", "none", "call Finalize last, or leave it out")


def process() -> Process:
    """Return what MPI keeps for the calling rank."""
    try:
        found: Process = getcurrent().state.local  # type: ignore[attr-defined]  # a rank's own greenlet has a state
    except AttributeError:
        state = current_rank()
        if state is None:
            raise _outside() from None
        found = state.local
    if found is None:
        raise _outside()
    return found


def _outside() -> RuntimeError:
    return RuntimeError(
        "mpi.MPI: got a call outside of a run, expected one by a rank; remedy: start the program by "
        "`python -m mpi -n 4 program.py` or by mpi.run(function, 4)"
    )


def attached(thing: Any, buf: Any) -> None:
    """Attach a buffer for buffered sends to a process or a communicator; none is needed here."""
    if buf is not None and not isinstance(buf, BufferAutomaticType):
        room = memory_of(buf, writable=True)[0].size  # which refuses what cannot be written to
        if room < BSEND_OVERHEAD:
            raise wrong(ERR_BUFFER, f"a buffer of {room} B", f"more than BSEND_OVERHEAD={BSEND_OVERHEAD}",
                        "attach a larger one")  # fmt: skip
    if thing.attached is not None:
        raise wrong(ERR_BUFFER, "a second buffer", "one at a time", "Detach_buffer first")
    thing.attached = buf if buf is not None else b""


def require_attached(shared: Any) -> None:
    """Raise unless a buffer for buffered sends is attached to a communicator or to the process."""
    if shared.attached is None and process().attached is None:
        raise wrong(ERR_BUFFER, "no attached buffer", "one for the copies of buffered sends",
                    "call MPI.Attach_buffer first, or use Isend")  # fmt: skip


def detached(thing: Any) -> Any:
    """Return the buffer that was attached to a process or a communicator."""
    found, thing.attached = thing.attached, None
    return found
