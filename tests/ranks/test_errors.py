"""Claims about mistakes: each has its own error that says who, in which call and line, what came, what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranks

X = np.zeros(3)


def on(rank: int, call: Callable[[ranks.Comm], Any]) -> Callable[[ranks.Comm], Any]:
    """Return the program in which one rank makes a call and the others return."""
    return lambda comm: call(comm) if comm.rank == rank else None


def read_only_at_last(comm: ranks.Comm) -> None:
    if comm.rank:
        return comm.Send(X, 0)
    comm.Recv(X.copy(), 1)
    comm.Recv(b"abc", 1)


def float_at_last(comm: ranks.Comm) -> None:
    if comm.rank:
        return comm.Send(X, 0)
    comm.Recv(X.copy(), 1)
    comm.Recv(X.copy(), 1.0)


def true_at_last(comm: ranks.Comm) -> None:
    if comm.rank:
        return comm.Send(X, 0)
    comm.Recv(X.copy(), 1)
    comm.Recv(X.copy(), True)


def truncated(comm: ranks.Comm) -> None:
    comm.Send(np.zeros(3), 1) if comm.rank == 0 else comm.Recv(np.zeros(2), 0)


def other_dtype(comm: ranks.Comm) -> None:
    comm.Send(np.zeros(3), 1) if comm.rank == 0 else comm.Irecv(np.zeros(3, np.int64), 0).Wait()


def object_expected(comm: ranks.Comm) -> None:
    comm.Send(np.zeros(3), 1) if comm.rank == 0 else comm.recv(source=0)


def freed(comm: ranks.Comm) -> None:
    other = comm.Dup()
    other.Send(X, other.rank)
    other.Recv(X, other.rank)
    other.Free()
    other.Send(X, other.rank)


def changed_too_early(comm: ranks.Comm) -> None:
    x = np.zeros(4)
    if comm.rank == 0:
        request = comm.Isend(x, 1, tag=3)
        x[2] = 1
        request.Wait()
    else:
        comm.Recv(x, 0)


def started_twice(comm: ranks.Comm) -> None:
    request = comm.Recv_init(X.copy(), 0)
    request.Start()
    request.Start()


def received_twice(comm: ranks.Comm) -> None:
    comm.send(1, comm.rank)
    message = comm.mprobe()
    message.recv()
    message.recv()


def foreign_group(comm: ranks.Comm) -> None:
    half = comm.Split(comm.rank)
    half.Create(comm.Get_group())


WRONG = [
    (on(1, lambda c: c.Send(X, 2)), ranks.InvalidRankError, 1, "Send(dest=2, tag=0, 24 B)", "dest=2", "0 to 1 or"),
    (on(0, lambda c: c.Isend(X, -7)), ranks.InvalidRankError, 0, "Isend(dest=-7,", "dest=-7", "0 to 1 or PROC_NULL"),
    (on(0, lambda c: c.send(X, ranks.ANY_SOURCE)), ranks.InvalidRankError, 0, "send(", "dest=-2", "0 to 1"),
    (on(0, lambda c: c.Recv(X.copy(), 2)), ranks.InvalidRankError, 0, "Recv(source=2", "source=2", "ANY_SOURCE or"),
    (on(0, lambda c: c.Iprobe(9)), ranks.InvalidRankError, 0, "Iprobe(source=9", "source=9", "0 to 1"),
    (float_at_last, ranks.InvalidRankError, 0, "Recv(source=1.0", "source=1.0", "0 to 1"),
    (true_at_last, ranks.InvalidRankError, 0, "Recv(source=True", "source=True", "0 to 1"),
    (on(0, lambda c: c.recv(source="0")), ranks.InvalidRankError, 0, "recv(", "source='0'", "0 to 1"),
    (on(0, lambda c: c.Recv(X.copy(), [1])), ranks.InvalidRankError, 0, "Recv(source=[1]", "source=[1]", "0 to 1"),
    (on(0, lambda c: c.Split(-5)), ranks.InvalidRankError, 0, "Split(color=-5", "color=-5", "0 or more, or UNDEFINED"),
    (on(0, lambda c: c.Split_type(9)), ranks.InvalidRankError, 0, "Split_type", "split_type=9", "COMM_TYPE_SHARED"),
    (on(0, lambda c: c.group.Incl([2])), ranks.InvalidRankError, 0, "Group.Incl", "rank 2", "from 0 to 1"),
    (on(0, lambda c: c.group.Excl([1, 1])), ranks.InvalidRankError, 0, "Group.Excl", "a rank twice", "different ranks"),
    (foreign_group, ranks.InvalidRankError, 1, "Create", "a group with world rank 0", "ranks of this communicator"),
    (on(0, lambda c: c.Send(X, 1, -1)), ranks.InvalidTagError, 0, "Send(", "tag=-1", "0 to 536870911"),
    (on(0, lambda c: c.Send(X, 1, 1 << 40)), ranks.InvalidTagError, 0, "Send(", f"tag={1 << 40}", "0 to 536870911"),
    (on(0, lambda c: c.irecv(tag=-9)), ranks.InvalidTagError, 0, "irecv(", "tag=-9", "or ANY_TAG"),
    (on(0, lambda c: c.Recv(X.copy(), tag=-9)), ranks.InvalidTagError, 0, "Recv(", "tag=-9", "or ANY_TAG"),
    (on(0, lambda c: c.Send(X[::2], 1)), ranks.InvalidBufferError, 0, "Send(", "strides (16,)", "in a single piece"),
    (on(0, lambda c: c.Send("x", 1)), ranks.InvalidBufferError, 0, "Send(", "an object of type str", "a buffer"),
    (on(0, lambda c: c.Send(5, 1)), ranks.InvalidBufferError, 0, "Send(", "an object of type int", "a buffer"),
    (on(0, lambda c: c.Send([1, 2], 1)), ranks.InvalidBufferError, 0, "Send(", "[1, 2]", "where data is a buffer"),
    (on(0, lambda c: c.Recv([0.5], 1)), ranks.InvalidBufferError, 0, "Recv(", "[0.5]", "[data, count, datatype]"),
    (on(0, lambda c: c.Send(None, 1)), ranks.InvalidBufferError, 0, "Send(", "None", "a buffer"),
    (on(0, lambda c: c.Send([X, 4], 1)), ranks.InvalidBufferError, 0, "Send(", "count 4 from element 0", "3 float64"),
    (on(0, lambda c: c.Send(X.astype(object), 1)), ranks.InvalidBufferError, 0, "Send(", "dtype object", "MPI knows"),
    (on(0, lambda c: c.Recv(b"abc", 1)), ranks.InvalidBufferError, 0, "Recv(", "a read-only buffer", "a writable one"),
    (read_only_at_last, ranks.InvalidBufferError, 0, "Recv(", "a read-only buffer", "a writable one"),
    (on(0, lambda c: c.Recv(b"abc")), ranks.InvalidBufferError, 0, "Recv(", "a read-only buffer", "a writable one"),
    (on(0, lambda c: c.Sendrecv(X, 1, 0, None, 1)), ranks.InvalidBufferError, 0, "Sendrecv(", "None", "a buffer"),
    (truncated, ranks.TruncationError, 1, "Recv(source=0", "3 float64 (24 B) from rank 0, tag 0", "at most 2 float64"),
    (other_dtype, ranks.DatatypeMismatchError, 1, "Wait()", "3 float64 (24 B) from rank 0, tag 0", "int64"),
    (object_expected, ranks.DatatypeMismatchError, 1, "recv(", "a buffer of 3 float64 (24 B)", "a pickled object"),
    (freed, ranks.InvalidHandleError, 1, "Send(", "a communicator that was freed", "a live one"),
    (on(1, lambda c: ranks.COMM_NULL.Send(X, 0)), ranks.InvalidHandleError, 1, "Send(", "COMM_NULL", "a communicator"),
    (on(1, lambda c: ranks.COMM_NULL.rank), ranks.InvalidHandleError, 1, "rank", "COMM_NULL", "a communicator"),
    (started_twice, ranks.InvalidHandleError, 0, "Start()", "a request that is still active", "an inactive persistent"),
    (received_twice, ranks.InvalidHandleError, 0, "recv()", "a message that was received already", "a matched message"),
    (on(0, lambda c: c.Isend(X, 0)), ranks.UnfinishedRequestError, 0, "nonblocking send to rank 0, tag 0",
     "a request that was never completed", "a Wait or a successful Test"),
    (on(0, lambda c: c.irecv()), ranks.UnfinishedRequestError, 0, "nonblocking receive from any rank, any tag",
     "a request that was never completed", "a Wait or a successful Test"),
    (on(1, lambda c: c.irecv(None, 0, 5)), ranks.UnfinishedRequestError, 1, "nonblocking receive from rank 0, tag 5",
     "a request that was never completed", "a Wait or a successful Test"),
    (on(0, lambda c: c.Send(X, 1, 8)), ranks.UnreceivedMessageError, 0, "send to rank 1, tag 8",
     "3 float64 (24 B) that nobody had received", "one receive for each send"),
    (on(1, lambda c: c.Abort(3)), ranks.AbortError, 1, "Abort()", "Abort with errorcode 3", "all ranks to return"),
]  # fmt: skip


@pytest.mark.parametrize(("program", "kind", "rank", "call", "got", "expected"), WRONG)
def test_mistake_has_its_error(program: Any, kind: Any, rank: int, call: str, got: str, expected: str) -> None:
    with pytest.raises(ranks.RanksError) as caught:
        ranks.run(program, 2)
    error = caught.value
    assert (type(error), error.rank) == (kind, rank)
    assert call in error.call
    assert got in error.got
    assert expected in error.expected
    assert error.remedy
    text = str(error).partition("\n")[0]
    assert text.startswith(f"rank {rank}: {error.call}")
    assert f"got {error.got}, expected {error.expected}; remedy: {error.remedy}" in text


# Arguments after sendbuf of a Sendrecv with the other rank, from which the same with integers went well before.
FLOATS = {
    "dest": lambda other, y: (float(other), 3, y, other, 3),
    "sendtag": lambda other, y: (other, 3.0, y, other, 3),
    "source": lambda other, y: (other, 3, y, float(other), 3),
    "recvtag": lambda other, y: (other, 3, y, other, 3.0),
}


@pytest.mark.parametrize("network", ["infiniband", "alpha-beta"])
@pytest.mark.parametrize("which", FLOATS)
def test_a_float_is_no_rank_and_no_tag_even_where_it_equals_one_that_was_used(which: str, network: str) -> None:
    def program(comm: ranks.Comm) -> None:
        y, other = np.zeros(2), 1 - comm.rank
        for _ in range(3):
            comm.Sendrecv(np.zeros(2), other, 3, y, other, 3)
        comm.Sendrecv(np.zeros(2), *FLOATS[which](other, y))

    with pytest.raises((ranks.InvalidRankError, ranks.InvalidTagError), match=r"got (dest|source|tag)=[013]\.0,"):
        ranks.run(program, 2, network=network)


@pytest.mark.parametrize("call", ["Send", "Recv"])
def test_a_freed_communicator_carries_nothing_though_it_did_before(call: str) -> None:
    def program(comm: ranks.Comm) -> None:
        other, x = comm.Dup(), np.zeros(2)
        other.Sendrecv(x, 1 - comm.rank, 0, np.zeros(2), 1 - comm.rank)
        other.Send(x, 1 - comm.rank)
        comm.Sendrecv(x, 1 - comm.rank, 0, np.zeros(2), 1 - comm.rank)
        other.Free()
        getattr(other, call)(x, 1 - comm.rank)

    with pytest.raises(ranks.InvalidHandleError, match="a communicator that was freed"):
        ranks.run(program, 2)


def test_errors_are_the_builtin_kind_that_they_are() -> None:
    kinds = {
        ranks.InvalidRankError: ValueError, ranks.InvalidTagError: ValueError, ranks.InvalidHandleError: ValueError,
        ranks.InvalidBufferError: TypeError, ranks.DatatypeMismatchError: TypeError,
    }  # fmt: skip
    for kind, builtin in kinds.items():
        assert issubclass(kind, builtin)
        assert issubclass(kind, ranks.RanksError)


def test_an_error_names_the_line_of_its_call() -> None:
    def program(comm: ranks.Comm) -> None:
        comm.Send(X, comm.size)  # here

    lines, first = inspect.getsourcelines(program)
    line = first + next(i for i, text in enumerate(lines) if "# here" in text)
    with pytest.raises(ranks.InvalidRankError) as caught:
        ranks.run(program, 2)
    assert caught.value.site == f"test_errors.py:{line}"


def test_a_request_that_was_never_completed_is_named_by_the_line_that_made_it() -> None:
    def program(comm: ranks.Comm) -> None:
        for call in (comm.isend, comm.issend):
            call(1, comm.rank).Wait() if call == comm.issend and comm.rank else comm.irecv(source=0)  # here

    first = inspect.getsourcelines(program)[1]
    with pytest.raises(ranks.UnfinishedRequestError) as caught:
        ranks.run(program, 1)
    assert caught.value.site == f"test_errors.py:{first + 2}"


def test_a_send_buffer_that_is_written_too_early_is_found_by_the_check() -> None:
    ranks.run(changed_too_early, 2)
    with pytest.raises(ranks.SendBufferChangedError) as caught:
        ranks.run(changed_too_early, 2, check=True)
    error = caught.value
    assert (error.rank, error.call) == (0, "nonblocking send to rank 1, tag 3")
    assert error.got == "a buffer whose element 2 was written before the Wait"
    line = inspect.getsourcelines(changed_too_early)[1] + 3
    assert error.site == f"test_errors.py:{line}"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((3, 2), TypeError, "got program=3, expected a function of comm"),
        ((print, 0), ValueError, "got size=0, expected a number of ranks from 1 up"),
        ((print, True), ValueError, "got size=True"), ((print, 2.0), ValueError, "got size=2.0"),
    ],
)  # fmt: skip
def test_wrong_arguments_of_run_are_refused(arguments: Any, kind: Any, message: str) -> None:
    with pytest.raises(kind, match=message):
        ranks.run(*arguments)


def test_an_unknown_buffering_and_a_missing_trace_are_refused() -> None:
    with pytest.raises(ValueError, match="got buffering='some', expected none, eager, infinite"):
        ranks.run(print, 1, buffering="some")
    with pytest.raises(ValueError, match="remedy: run it with trace=True"):
        ranks.run(lambda comm: None, 1).trace  # noqa: B018
