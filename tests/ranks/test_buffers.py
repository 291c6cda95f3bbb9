"""Claims about buffers: every spec names the elements it should, and nothing outside of them is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ranks
from inside import DATATYPES, NotABufferError, as_flat
from ways import NETWORKS

DTYPES = [dtype.dtype for dtype in DATATYPES.values()]


@given(st.sampled_from(DTYPES), st.integers(0, 6), st.integers(0, 6), st.sampled_from([None, "dtype", "code", "MPI"]))
def test_count_and_displacement_are_in_elements_of_the_datatype(dtype: Any, count: int, displ: int, kind: Any) -> None:
    x = np.arange(8).astype(dtype)
    named = next(t for t in DATATYPES.values() if t.dtype == dtype)
    datatype = {None: None, "dtype": dtype, "code": dtype.char, "MPI": named}[kind]
    for spec in ([x, (count, displ), datatype], [x, count, displ, datatype], (x, [count, displ], datatype)):
        if displ + count > 8:
            with pytest.raises(NotABufferError) as caught:
                as_flat(spec, writable=False)
            assert caught.value.got == f"count {count} from element {displ}"
        else:
            flat = as_flat(spec, writable=False)
            assert flat.dtype == dtype
            assert flat.tolist() == x[displ : displ + count].tolist()


@given(st.lists(st.integers(0, 4), max_size=3), st.sampled_from("CF"), st.sampled_from("?bhilfd"))
def test_arrays_in_one_piece_are_taken_in_the_order_of_memory_without_a_copy(shape: Any, order: Any, code: str) -> None:
    x = np.zeros(shape, code, order=order)
    flat = as_flat(x, writable=True)
    flat[...] = np.arange(x.size)
    assert x.ravel(order="K").tolist() == np.arange(x.size).astype(code).tolist()


@pytest.mark.parametrize("spec", [b"12345678", bytearray(8), memoryview(bytearray(8)), np.float64(1), np.zeros(())])
def test_memory_of_other_kinds_is_a_buffer(spec: Any) -> None:
    assert as_flat(spec, writable=False).nbytes == 8


def test_a_view_of_bytes_needs_whole_elements_only_if_no_count_says_how_many() -> None:
    raw = np.zeros(12, np.uint8)
    assert as_flat([raw, 1, ranks.DOUBLE], writable=False).size == 1
    with pytest.raises(NotABufferError) as caught:
        as_flat([raw, ranks.DOUBLE], writable=False)
    assert (caught.value.got, caught.value.expected) == (
        "all elements from element 0", "a part of a buffer of 1.5 float64",
    )  # fmt: skip


def test_datatypes_know_their_names_and_sizes() -> None:
    for name, datatype in DATATYPES.items():
        assert getattr(ranks, name) is datatype
        assert datatype.Get_name() == f"MPI_{name}"
        assert datatype.Get_size() == datatype.size == datatype.dtype.itemsize
    with pytest.raises(AttributeError, match="no attribute 'DOUBEL'"):
        ranks.DOUBEL  # noqa: B018


@pytest.mark.parametrize("buffering", ["none", "eager"])
@pytest.mark.parametrize("order", ["send first", "receive first"])
def test_a_receive_writes_its_elements_and_nothing_else(buffering: str, order: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            ranks.spend(comm, 0 if order == "send first" else 10**8)
            return comm.Send(np.full((2, 2), 7, np.int16), 1)
        ranks.spend(comm, 10**8 if order == "send first" else 0)
        x = np.full((4, 3), -1, np.int16)
        comm.Recv([x, (6, 2), ranks.SHORT], 0)
        return x.ravel().tolist()

    got = ranks.run(program, 2, buffering=buffering).results[1]
    assert got == [-1, -1, 7, 7, 7, 7, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize("earlier", [0, 1, 3])
@pytest.mark.parametrize("exchange", [False, True])
def test_a_message_that_does_not_fit_leaves_the_buffer_alone(earlier: int, exchange: bool) -> None:
    """Also when the same calls worked before."""
    seen = np.full(2, -1.0)

    def program(comm: ranks.Comm) -> None:
        other = 1 - comm.rank
        for buf in [np.zeros(3)] * earlier + [seen if comm.rank else np.zeros(3)]:
            if exchange:
                comm.Sendrecv(np.zeros(3), other, 0, buf, other, 0)
            elif comm.rank:
                comm.Recv(buf, other)
            else:
                comm.Send(np.zeros(3), other)

    with pytest.raises(ranks.TruncationError):
        ranks.run(program, 2)
    assert seen.tolist() == [-1, -1]


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
@pytest.mark.parametrize("source", [0, ranks.ANY_SOURCE])
@pytest.mark.parametrize("n", [0, 5])
def test_messages_that_are_staged_and_messages_that_are_not_bring_their_own_data(
    n: int, source: int, buffering: str
) -> None:
    def program(comm: ranks.Comm) -> list[float] | None:
        if comm.rank:
            x = np.zeros(n)
            return [comm.Recv(x, source) or float(x.sum()) for _ in range(8)]
        for number in range(0, 8, 4):
            comm.Isend(np.full(n, float(number)), 1).Wait()
            comm.Send(np.full(n, number + 1.0), 1)
            comm.Bsend(np.full(n, number + 2.0), 1)
            comm.Ssend(np.full(n, number + 3.0), 1)
        return None

    for network in NETWORKS:
        run = ranks.run(program, 2, buffering=buffering, network=network)
        assert run.results[1] == [n * number for number in range(8)]


def test_an_object_is_copied_on_its_way() -> None:
    def program(comm: ranks.Comm) -> Any:
        thing = {"list": [comm.rank]}
        got = comm.sendrecv(thing, 1 - comm.rank)
        got["list"].append("mine")
        return thing, got

    assert ranks.run(program, 2).results == [
        ({"list": [0]}, {"list": [1, "mine"]}), ({"list": [1]}, {"list": [0, "mine"]}),
    ]  # fmt: skip


def test_bytes_that_hold_a_pickled_object_can_be_received_as_such() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return comm.send([1, 2], 1)
        status = ranks.Status()
        comm.Probe(0, status=status)
        raw = bytearray(status.Get_count())
        comm.Recv(raw, 0)
        return len(raw) == status.count > 0

    assert ranks.run(program, 2).results[1]
