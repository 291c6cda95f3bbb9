"""Names with an underscore that mpi4py's own packages take from its MPI: mpi4py.util and mpi4py.futures run on them."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

import numpy as np

from mpi.bridges import InterShared
from mpi.common import Shared
from mpi.constants import COMBINER_NAMED
from mpi.datatype_base import DatatypeBase
from mpi.handles import Handle
from mpi.intercommunicator import Intercomm
from mpi.intracommunicator import Intracomm

# The tag of messages that mpi4py's packages send on the hidden context of a communicator.
_TAG = 41


def _comm_lock_table(comm: Any) -> dict[Hashable, threading.Lock]:
    """Return the locks of a communicator, by name."""
    locks: dict[Hashable, threading.Lock] = comm._object().locks
    return locks


def _comm_lock(comm: Any, key: Hashable = None) -> threading.Lock:
    """Return a lock of a communicator; it is for threads of one rank, of which there is only one."""
    return _comm_lock_table(comm).setdefault(key, threading.Lock())


def _commctx_intra(comm: Any) -> tuple[Intracomm, int]:
    """Return a communicator of the same ranks, whose messages no program sees, and a tag for it."""
    return Intracomm._of(Shared(comm._object().hidden)), _TAG


def _commctx_inter(comm: Any) -> tuple[Intercomm, int, Intracomm, bool]:
    """Return the same of an intercommunicator, a communicator of the local group, and whether that is the first."""
    both = comm._object().hidden
    inter = Intercomm._of(InterShared(both.inter, both.local, both.low))
    return inter, _TAG, Intracomm._of(Shared(both.local)), both.low


def _typecode(datatype: DatatypeBase) -> str | None:
    """Return the character of a datatype's elements, None if it has none."""
    code = datatype.typechar
    return None if code == "V" else code


def _typealign(datatype: DatatypeBase) -> int | None:
    """Return what the addresses of a predefined datatype are multiples of, None for others."""
    if not datatype or datatype.combiner != COMBINER_NAMED:
        return None
    sizes = [size for size, _ in datatype._layout().runs]
    if datatype.typechar != "V":
        return np.dtype(datatype._layout().dtype).alignment
    return min(16, max(sizes))


def _handleof(arg: Handle) -> int:
    """Return the number of what a handle stands for."""
    if not hasattr(arg, "handle"):
        raise TypeError(f"_handleof: got {arg!r:.60}, expected a handle of MPI; remedy: pass one")
    return int(arg.handle)
