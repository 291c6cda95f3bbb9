"""Claims about what can be no buffer: it is refused in words, with a remedy, by every call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranks
from ways import DTYPES

SENDS = ["Send", "Ssend", "Bsend", "Isend", "Issend", "Ibsend", "Send_init", "Ssend_init", "Bsend_init"]
RECEIVES = ["Recv", "Irecv", "Recv_init", "Message.Recv", "Message.Irecv", "Sendrecv", "Sendrecv_replace"]


def call(comm: ranks.Comm, name: str, buffer: Any) -> None:
    """Make one call that takes a buffer, to or from the calling rank."""
    here = comm.rank
    if name.startswith("Message."):
        comm.bsend("x", here)
        getattr(comm.Mprobe(here), name.removeprefix("Message."))(buffer)
    elif name == "Sendrecv":
        comm.Sendrecv(np.zeros(1), here, 0, buffer, here)
    elif name == "Sendrecv_replace":
        comm.Sendrecv_replace(buffer, here, 0, here)
    else:
        getattr(comm, name)(buffer, here)


def refusal(name: str, buffer: Any) -> ranks.InvalidBufferError:
    """Return the error of a call that does not take this buffer."""
    try:
        ranks.run(lambda comm: call(comm, name, buffer), 1)
    except ranks.InvalidBufferError as error:
        return error
    raise AssertionError(f"{name} took {buffer!r}")


@pytest.mark.parametrize("name", RECEIVES)
def test_a_numpy_scalar_is_not_received_into_since_nobody_could_see_it(name: str) -> None:
    for dtype in DTYPES:
        scalar = np.zeros(1, dtype)[0]
        for buffer in (scalar, [scalar, 1], [scalar, (1, 0), dtype], [scalar, dtype]):
            error = refusal(name, buffer)
            assert "scalar" in error.got, buffer
            assert "array" in error.remedy, buffer


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_numpy_scalar_can_be_sent_and_an_array_without_axes_received_into(dtype: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        x = np.zeros((), dtype)
        request = comm.Isend(np.ones(1, dtype)[0], comm.rank)
        comm.Recv(x, comm.rank)
        return request.Wait(), x == 1

    assert ranks.run(program, 1).results == [(True, True)]


NO_DATATYPES = [
    "O", "S", "S0", "S3", "U", "U0", "U3", "V", "V0", "V3", "M8", "M8[s]", "m8", ">f8", "i4,i4", "", "no such", object,
    str, bytes, np.dtype([("a", int)]), np.dtype("V0"), np.dtype("S"), np.dtype((int, (2,))), [], 2.5, "MPI_DOUBLE",
]  # fmt: skip


@pytest.mark.parametrize("name", [*SENDS, *RECEIVES])
def test_what_is_no_datatype_of_mpi_is_refused_in_words(name: str) -> None:
    for datatype in NO_DATATYPES:
        specs = [[np.zeros(2), 1, datatype], [np.zeros(2), (1, 0), datatype], [np.zeros(0), 0, datatype]]
        if not isinstance(datatype, list):
            specs.append([np.zeros(2), datatype])
        for spec in specs:
            error = refusal(name, spec)
            assert error.rank == 0, spec
            assert error.remedy, spec


NO_ARRAYS = [
    np.zeros(2, "O"), np.zeros(2, "S3"), np.zeros(2, "U3"), np.zeros(2, "V3"), np.zeros(2, "M8[s]"),
    np.zeros(2, ">i4"), np.zeros(2, "i4,i4"), np.zeros(0, "O"), np.zeros(0, "S3"), np.zeros((), "O"),
]  # fmt: skip


@pytest.mark.parametrize("name", [*SENDS, *RECEIVES])
def test_an_array_of_no_datatype_of_mpi_is_refused_in_words(name: str) -> None:
    for array in NO_ARRAYS:
        for buffer in (array, [array, 1], [array, (0, 0)], [array, None, ranks.DOUBLE]):
            if array.dtype.hasobject or not isinstance(buffer, list):
                assert "remedy: " in str(refusal(name, buffer)), buffer


WRONG_COUNTS = [1.0, "1", [1], -1, 3, float("nan")]


@pytest.mark.parametrize("count", WRONG_COUNTS, ids=repr)
@pytest.mark.parametrize("name", ["Send", "Isend", "Recv", "Irecv", "Sendrecv_replace"])
def test_a_count_that_is_no_number_of_elements_is_refused_in_words(name: str, count: Any) -> None:
    for spec in ([np.zeros(2), (count, 1)], [np.zeros(2), (1, count)], [np.zeros(2), count, 1, ranks.DOUBLE]):
        with pytest.raises(ranks.InvalidBufferError, match="remedy: "):
            ranks.run(lambda comm, spec=spec: call(comm, name, spec), 1)


@pytest.mark.parametrize("name", [*SENDS, *RECEIVES])
def test_none_is_refused_unless_nobody_is_at_the_other_end(name: str) -> None:
    with pytest.raises(ranks.InvalidBufferError, match="None"):
        ranks.run(lambda comm: call(comm, name, None), 1)
    if not name.startswith("Message."):
        arguments = (None, ranks.PROC_NULL)
        if name.startswith("Sendrecv"):
            arguments = (None, ranks.PROC_NULL, 0, *([None] if name == "Sendrecv" else []), ranks.PROC_NULL)

        def program(comm: ranks.Comm) -> Any:
            request = getattr(comm, name)(*arguments)
            if name.endswith("_init"):
                request.Start()
            return None if request is None else request.Wait()

        for check in (False, True):
            ranks.run(program, 2, check=check)
