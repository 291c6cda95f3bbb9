"""What is made once for a communicator and kept as long as that: scratch memory, plans, a measured network."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from ranks.comm.communicator import Comm
from ranks.words.constants import behind, mpi_of

T = TypeVar("T")
Kept = dict[Hashable, Any]


def is_plain(comm: Any) -> bool:
    """Return whether `comm` is mpi4py's own: its calls run at once, and nobody checks what is announced."""
    return type(comm).__module__ == "mpi4py.MPI"


# By the handles of communicators. It is public for calls of half a microsecond, which `kept` would make twice as long.
kept_by_handle: dict[int | None, Kept] = {}
_keyvals: list[int] = []


def kept(comm: Any, key: Hashable, make: Callable[[], T]) -> T:
    """Return what `make()` returned when `key` was first asked for on this rank of `comm`; forgotten with `comm`.

        def program(comm):
            return kept(comm, "list", lambda: [comm.rank]) is kept(comm, "list", list)

        ranks.run(program, 2).results  # [True, True]

    If `make` communicates, all ranks must ask in the same order. A duplicate of `comm` begins with nothing. None is
    not kept.
    """
    # Real MPI comes first, because every tenth of a microsecond counts there; simulated communicators have no handle.
    things = kept_by_handle.get(getattr(comm, "handle", None))
    if things is None:
        comm = behind(comm)
        things = _simulated(comm) if isinstance(comm, Comm) else _real(comm)
    thing: T | None = things.get(key)
    if thing is None:
        thing = things[key] = make()
    return thing


def _simulated(comm: Comm) -> Kept:
    own: Kept | None = getattr(comm, "_kept", None)  # an operation in the background shares nothing
    if own is not None:
        return own
    kept: Kept = comm._transport.kept.setdefault((comm._context.number, comm.rank), {})
    return kept


def _real(comm: Any) -> Kept:
    """Begin to keep things for a communicator of real MPI.

    Its attribute tells when it is freed: by then its handle may come to mean another one.
    """
    own: Kept | None = getattr(comm, "_kept", None)
    if own is not None:
        return own
    if not _keyvals:

        def forget(comm: Any, keyval: int, handle: int) -> None:
            kept_by_handle.pop(handle, None)

        _keyvals.append(mpi_of(comm).Comm.Create_keyval(delete_fn=forget))
    comm.Set_attr(_keyvals[0], comm.handle)
    return kept_by_handle.setdefault(comm.handle, {})
