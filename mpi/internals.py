"""Names with an underscore that mpi4py's own packages take from its MPI: mpi4py.util and mpi4py.futures run on them."""

from __future__ import annotations

import ctypes
import struct
import threading
from collections.abc import Hashable
from typing import Any
from weakref import finalize

import numpy as np

from mpi.bridges import InterShared
from mpi.common import Shared
from mpi.constants import COMBINER_NAMED
from mpi.datatype_base import DatatypeBase
from mpi.handles import Handle
from mpi.intercommunicator import Intercomm
from mpi.intracommunicator import Intracomm
from mpi.requests import Request
from mpi.status import Status

# The tag of messages that mpi4py's packages send on the hidden context of a communicator.
_TAG = 41
# What a program has the address of, by the id of the handle or the status, while that lives.
_memory: dict[int, ctypes.Array[ctypes.c_char]] = {}


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


def _format(arg: Any) -> str:
    """Return how C code would hold a handle or a status, or one of this class, in the terms of `struct`."""
    given = arg if isinstance(arg, type) else type(arg)
    if issubclass(given, Status):
        return "5i"
    if issubclass(given, (Handle, Request)):
        return "q"
    raise TypeError(f"MPI: got {arg!r:.60}, expected a handle of MPI or a status; remedy: pass one")


def _sizeof(arg: Any) -> int:
    """Return the bytes of a handle or a status, or of one of this class."""
    return struct.calcsize(_format(arg))


def _addressof(arg: Any) -> int:
    """Return the address at which this call writes the number of a handle, or the numbers of a status."""
    form, key = _format(arg), id(arg)
    if key not in _memory:
        _memory[key] = ctypes.create_string_buffer(struct.calcsize(form))
        finalize(arg, _memory.pop, key, None)
    struct.pack_into(form, _memory[key], 0, *(arg.py2f() if isinstance(arg, Status) else [arg.handle]))
    return ctypes.addressof(_memory[key])


def _handleof(arg: Any) -> int:
    """Return the number of what a handle stands for; the address of a status."""
    return _addressof(arg) if _format(arg) == "5i" else int(arg.handle)
