"""What calls take, brought to one form: buffers as arrays in one piece, ranks and tags as integers; or an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranks.engine.rank import current_rank
from ranks.messages.rank import RankState
from ranks.words.callsite import current_call
from ranks.words.constants import ANY_SOURCE, ANY_TAG, PROC_NULL, TAG_UB
from ranks.words.datatypes import WIRE_DTYPES, Flat, NotABufferError, Scattered, as_flat
from ranks.words.errors import InvalidBufferError, InvalidRankError, InvalidStatusError, InvalidTagError, RanksError

# The same function without NumPy's search for arrays that override it, which would double the time of a check.
may_share_memory = getattr(np.may_share_memory, "_implementation", np.may_share_memory)


def call_error(state: RankState | None, kind: type[RanksError], got: str, expected: str, remedy: str) -> RanksError:
    """Return the error of the call that the program is in."""
    call = current_call()
    rank = None if state is None else state.rank
    return kind(rank, call.text, got=got, expected=expected, remedy=remedy, site=call.site)


# -- buffers: all that is sent or received goes through one of these two ------------------------------------------


def outgoing(state: RankState, buffer: Any) -> Flat:
    """Return the elements that a buffer to be sent names, as an array in one piece."""
    if type(buffer) is np.ndarray and buffer.flags.c_contiguous and buffer.dtype in WIRE_DTYPES:
        return buffer
    flat: Flat = _flat(state, buffer, writable=False)
    return flat


def incoming(state: RankState, buffer: Any) -> Any:
    """Return a buffer to receive into, as an array in one piece."""
    if type(buffer) is np.ndarray and buffer.flags.carray and buffer.dtype in WIRE_DTYPES:
        return buffer
    return _flat(state, buffer, writable=True)


def _flat(state: RankState, buffer: Any, *, writable: bool) -> Any:
    if type(buffer) is Scattered:
        return buffer if writable else buffer.gathered()
    try:
        return as_flat(buffer, writable=writable)
    except NotABufferError as problem:
        cause = problem.__cause__
        raise call_error(state, InvalidBufferError, problem.got, problem.expected, problem.remedy) from cause


def check_apart(state: RankState, sent: Any, dest: Any, received: Any, source: Any) -> None:
    """Raise if a buffer that is sent and one that is received into at the same time overlap."""
    if type(sent) is type(received) is np.ndarray and not may_share_memory(sent, received):
        return
    if is_nobody(dest) or is_nobody(source):
        return
    mine, other = outgoing(state, sent), incoming(state, received)
    if Scattered in (type(sent), type(other)):
        return  # the elements were copied, and those of both may lie between each other
    if may_share_memory(mine, other):
        raise call_error(
            state, InvalidBufferError, "buffers to send and to receive that overlap", "memory of its own for each",
            "use Sendrecv_replace, or receive into another array",
        )  # fmt: skip


# -- ranks and tags --------------------------------------------------------------------------------------------------


def is_integer(value: Any) -> bool:
    """Return whether this is an integer of Python or NumPy, and no truth value."""
    return type(value) is int or (isinstance(value, (int, np.integer)) and not isinstance(value, bool))


def is_nobody(value: Any) -> bool:
    """Return whether this is PROC_NULL."""
    return value == PROC_NULL if type(value) is int else is_integer(value) and bool(value == PROC_NULL)


def check_dest(state: RankState, size: int, dest: Any, tag: Any) -> None:
    """Raise unless a message can be sent to this rank with this tag."""
    if not is_integer(dest) or not 0 <= dest < size:
        raise call_error(
            state, InvalidRankError, f"dest={dest!r}", f"0 to {size - 1} or PROC_NULL",
            "take the destination modulo comm.size, or skip the send at the edge",
        )  # fmt: skip
    if not is_integer(tag) or not 0 <= tag <= TAG_UB:
        raise call_error(state, InvalidTagError, f"tag={tag!r}", f"0 to {TAG_UB}", "choose a tag in that range")


def check_source(state: RankState, size: int, source: Any, tag: Any) -> None:
    """Raise unless a message can be received from this rank with this tag."""
    if not is_integer(source) or not (source == ANY_SOURCE or 0 <= source < size):
        raise call_error(
            state, InvalidRankError, f"source={source!r}", f"0 to {size - 1}, ANY_SOURCE or PROC_NULL",
            "take the source modulo comm.size, or skip the receive at the edge",
        )  # fmt: skip
    if not is_integer(tag) or not (tag == ANY_TAG or 0 <= tag <= TAG_UB):
        expected = f"0 to {TAG_UB} or ANY_TAG"
        raise call_error(state, InvalidTagError, f"tag={tag!r}", expected, "choose a tag in that range")


# -- statuses --------------------------------------------------------------------------------------------------------


def fill_in(status: Any, source: int, tag: int, n_bytes: int, cancelled: bool = False) -> None:
    """Set all that is known of a message in the status that the program gave."""
    try:
        fill = status.fill
        fill.__self__  # noqa: B018  # a class has none
    except AttributeError:
        kind = f"{type(status).__module__}.{type(status).__qualname__}"
        raise call_error(
            current_rank(), InvalidStatusError, f"{kind} as status", "a ranks.Status",
            "make it by ranks.mpi_of(comm).Status(), which fits simulated ranks and real MPI",
        ) from None  # fmt: skip
    fill(source, tag, n_bytes, cancelled)
