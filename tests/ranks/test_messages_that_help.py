"""Claims about what people do who come from mpi4py or slip: each gets the result of mpi4py, or words that help."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from ways import line_of

# What mpi4py calls it, and the function here.
COLLECTIVES = {
    "Barrier": "barrier", "barrier": "barrier", "Bcast": "broadcast", "bcast": "broadcast", "Reduce": "reduce",
    "reduce": "reduce", "Allreduce": "allreduce", "allreduce": "allreduce", "Gather": "gather", "gather": "gather",
    "Gatherv": "gather", "Scatter": "scatter", "scatter": "scatter", "Scatterv": "scatter", "Allgather": "allgather",
    "allgather": "allgather", "Allgatherv": "allgather", "Alltoall": "alltoall", "alltoall": "alltoall",
    "Alltoallv": "alltoallv", "Scan": "scan", "scan": "scan", "Exscan": "exscan", "exscan": "exscan",
    "Reduce_scatter": "reduce_scatter", "Reduce_scatter_block": "reduce_scatter", "Iallreduce": "iallreduce",
    "Ibcast": "ibroadcast", "Ialltoall": "ialltoall",
}  # fmt: skip


@pytest.mark.parametrize("name", COLLECTIVES)
def test_a_collective_as_a_method_names_the_function(name: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        assert not hasattr(comm, name)
        assert getattr(comm, name, "default") == "default"
        return getattr(comm, name)(np.zeros(1))

    assert hasattr(collectives, COLLECTIVES[name])
    for make in (program, lambda comm: program(comm.Dup())):
        with pytest.raises(AttributeError) as caught:
            ranks.run(make, 2)
        text = str(caught.value)
        assert f"collectives.{COLLECTIVES[name]}" in text
        assert name in text


def test_any_other_name_that_a_communicator_does_not_have_is_an_ordinary_error() -> None:
    def program(comm: ranks.Comm) -> Any:
        return comm.no_such_call

    with pytest.raises(AttributeError, match="no_such_call") as caught:
        ranks.run(program, 1)
    assert "collectives" not in str(caught.value)


# -- arguments of another kind ----------------------------------------------------------------------------------------

LISTS = ["Waitall", "Waitany", "Waitsome", "Testall", "Testany", "Testsome"]
LISTS += [name.lower() for name in LISTS]


@pytest.mark.parametrize(
    "wrong",
    [None, [None], [ranks.REQUEST_NULL, None], [1], 3, "ab", [[]], ranks.REQUEST_NULL, "generator", [np.zeros(2)]],
)
def test_what_is_no_list_of_requests_is_refused_with_the_remedy(wrong: Any) -> None:
    def program(comm: ranks.Comm, name: str) -> Any:
        requests = (comm.isend(n, ranks.PROC_NULL) for n in range(2)) if wrong == "generator" else wrong
        return getattr(ranks.Request, name)(requests)

    for name in LISTS:
        said = f"{name} took it"
        try:
            ranks.run(program, 2, name)
        except (TypeError, ranks.InvalidHandleError) as error:
            said = str(error)
        assert "remedy: " in said
        assert name in said
        assert "list" in said or "request" in said


@pytest.mark.parametrize("wrong", [None, "a", 1.5, [0], float("nan")], ids=repr)
def test_a_color_or_key_that_is_no_integer_is_refused_with_the_remedy(wrong: Any) -> None:
    for what, call in {"color": lambda comm: comm.Split(wrong), "key": lambda comm: comm.Split(0, wrong)}.items():
        with pytest.raises((ValueError, TypeError), match="remedy: ") as caught:
            ranks.run(call, 2)
        assert f"{what}={wrong!r}" in str(caught.value)


FAULTS = [
    ranks.Crash(rank=1, send=1),
    ranks.Drop(source=1),
    ranks.Delay(by_ps=10**9),
    ranks.Straggler(rank=0, factor=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_single_fault_is_a_list_of_one(fault: Any) -> None:
    def ending(faults: Any) -> Any:
        try:
            run = ranks.run(lambda comm: comm.sendrecv(comm.rank, 1 - comm.rank), 2, faults=faults)
        except ranks.RanksError as problem:
            return str(problem)
        return run.results, run.times_ps

    assert ending(fault) == ending([fault]) == ending((fault,))


@pytest.mark.parametrize("wrong", ["Crash", 3, [None], [ranks.Crash], ranks.Crash, {"rank": 1}], ids=repr)
def test_what_is_no_list_of_faults_is_refused_with_the_remedy(wrong: Any) -> None:
    with pytest.raises(TypeError, match="remedy: ") as caught:
        ranks.run(lambda comm: None, 2, faults=wrong)
    assert "fault" in str(caught.value)


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda comm: copy.deepcopy([comm])[0]])
def test_a_copy_of_the_world_is_the_world(how: Callable[[Any], Any]) -> None:
    def program(comm: ranks.Comm) -> Any:
        other = how(comm)
        return other is comm, other == comm, other.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    assert ranks.run(program, 3).results == [(True, True, (rank - 1) % 3) for rank in range(3)]


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_other_handles_are_not_copied_and_the_remedy_says_what_to_do(how: Callable[[Any], Any]) -> None:
    makes: list[Callable[[Any], Any]] = [
        lambda comm: comm.Dup(), lambda comm: comm.Split(0), lambda comm: comm.isend(1, comm.rank),
        lambda comm: comm.Recv_init(bytearray(1), 0),
    ]  # fmt: skip
    for make in makes:
        with pytest.raises(ValueError, match="remedy: "):
            ranks.run(lambda comm, make=make: how(make(comm)), 2)


# -- requests that are not open ---------------------------------------------------------------------------------------


def done(comm: ranks.Comm) -> Any:
    request = comm.isend(1, ranks.PROC_NULL)
    request.wait()
    return request


def freed(comm: ranks.Comm) -> Any:
    request = comm.isend(1, ranks.PROC_NULL)
    request.Free()
    return request


def freed_persistent(comm: ranks.Comm) -> Any:
    request = comm.Send_init(b"", ranks.PROC_NULL)
    request.Free()
    return request


def inactive(comm: ranks.Comm) -> Any:
    return comm.Recv_init(bytearray(1), 0)


def finished(comm: ranks.Comm) -> Any:
    request = comm.Send_init(b"", ranks.PROC_NULL)
    request.Start()
    request.Wait()
    return request


NOT_OPEN = [
    lambda comm: ranks.REQUEST_NULL,
    lambda comm: ranks.Request(),
    done,
    freed,
    freed_persistent,
    inactive,
    finished,
]
CALLS = [(make, call) for make in NOT_OPEN for call in ("Cancel", "cancel", "Free", "free")]
CALLS = [(make, call) for make, call in CALLS if not (make in (inactive, finished) and call.lower() == "free")]


@pytest.mark.parametrize(("make", "call"), CALLS, ids=lambda each: getattr(each, "__name__", each))
def test_cancel_and_free_of_what_is_not_open_are_refused(make: Any, call: str) -> None:
    with pytest.raises(ranks.InvalidHandleError, match="remedy: ") as caught:
        ranks.run(lambda comm: getattr(make(comm), call)(), 1)
    assert caught.value.rank == 0


# -- with check -------------------------------------------------------------------------------------------------------


def starts_and_writes(comm: ranks.Comm) -> None:
    x = np.ones(8)
    request = collectives.iallreduce(comm, x)  # the start
    x[:] = 5
    request.Wait()


def test_a_buffer_of_a_started_collective_that_is_written_early_names_the_line_of_the_program() -> None:
    with pytest.raises(ranks.SendBufferChangedError) as caught:
        ranks.run(starts_and_writes, 3, check=True)
    assert line_of(starts_and_writes, "the start") in str(caught.value)


EDGES: dict[str, Callable[[Any, int], Any]] = {
    "send": lambda comm, to: comm.send(1, to),
    "Send": lambda comm, to: comm.Send(np.zeros(1), to),
    "Isend": lambda comm, to: comm.Isend(np.zeros(1), to).Wait(),
    "isend": lambda comm, to: comm.isend(1, to).wait(),
    "Ssend": lambda comm, to: comm.Ssend(np.zeros(1), to),
    "Sendrecv": lambda comm, to: comm.Sendrecv(np.zeros(1), to, 0, np.zeros(1), ranks.PROC_NULL),
    "sendrecv": lambda comm, to: comm.sendrecv(1, to, source=ranks.PROC_NULL),
}


@pytest.mark.parametrize("name", EDGES)
def test_minus_one_as_a_destination_that_was_not_written_as_proc_null_is_told_of_with_check(name: str) -> None:
    call = EDGES[name]
    for arithmetic in (lambda comm: comm.rank - 1, lambda comm: np.int64(comm.rank) - 1):
        with pytest.warns(UserWarning, match=r"-1.*PROC_NULL") as caught:
            ranks.run(lambda comm, to=arithmetic: call(comm, to(comm)), 1, check=True)
        assert "test_messages_that_help.py" in str(caught[0].message) or "test_messages_that_help" in caught[0].filename
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranks.run(lambda comm: call(comm, ranks.PROC_NULL), 2, check=True)
        ranks.run(lambda comm: call(comm, comm.rank - 1), 1)


def test_proc_null_is_still_minus_one() -> None:
    assert ranks.PROC_NULL == -1
    assert isinstance(ranks.PROC_NULL, int)
    assert pickle.loads(pickle.dumps(ranks.PROC_NULL)) == -1


BUFFER = np.zeros(3)
TAKES: dict[str, Callable[..., Any]] = {
    "Recv": lambda comm, status: comm.Recv(BUFFER, 0, status=status),
    "Recv from anybody": lambda comm, status: comm.Recv(BUFFER, status=status),
    "Recv from nobody": lambda comm, status: comm.Recv(BUFFER, ranks.PROC_NULL, status=status),
    "Sendrecv": lambda comm, status: comm.Sendrecv(np.ones(3), ranks.PROC_NULL, 0, BUFFER, 0, status=status),
    "Wait": lambda comm, status: comm.Irecv(BUFFER, 0).Wait(status),
    "Wait for nothing": lambda comm, status: ranks.REQUEST_NULL.Wait(status),
    "Waitall": lambda comm, status: ranks.Request.Waitall([comm.Irecv(BUFFER, 0)], [status]),
    "Test": lambda comm, status: comm.Probe(0) and comm.Irecv(BUFFER, 0).Test(status),
    "Probe": lambda comm, status: comm.Probe(0, status=status),
    "Iprobe": lambda comm, status: comm.Probe(0) and comm.Iprobe(0, status=status),
    "Improbe": lambda comm, status: comm.Probe(0) and comm.Improbe(0, status=status),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_status_of_another_world_is_told_how_to_make_one_that_fits(name: str) -> None:
    class Status:  # as mpi4py's: only its own library can fill it in
        source = tag = 0

    def program(comm: ranks.Comm) -> None:
        request = comm.Isend(np.zeros(3), comm.rank)
        TAKES[name](comm, Status())
        request.Wait()

    with pytest.raises(ranks.InvalidStatusError, match=r"Status as status, expected a ranks\.Status") as caught:
        ranks.run(program, 1)
    assert isinstance(caught.value, TypeError)
    assert "ranks.mpi_of(comm).Status()" in caught.value.remedy
