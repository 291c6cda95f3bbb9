"""The rank programs that more than one benchmark runs. They use what `ranks` and `collectives` export, nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import ranks
from collectives import dissemination_barrier, ring_allreduce

Array = NDArray[np.float64]


def ring(comm: ranks.Comm, data: Array) -> Array:
    """Return the sum of the rows of `data`, one row a rank, by a ring all-reduce."""
    result: Array = ring_allreduce(comm, data[comm.rank])
    return result


def barriers(comm: ranks.Comm, count: int) -> None:
    """Pass `count` dissemination barriers in a row."""
    for _ in range(count):
        dissemination_barrier(comm)


def fan_in(comm: ranks.Comm, rounds: int) -> None:
    """Every worker sends `rounds` numbers; rank 0 takes them as they come and checks their sum."""
    number = np.array([comm.rank])
    if comm.rank:
        for _ in range(rounds):
            comm.Send(number, 0)
        return
    total = 0
    for _ in range(rounds * (comm.size - 1)):
        comm.Recv(number, ranks.ANY_SOURCE)
        total += int(number[0])
    expect("fan-in", total, rounds * comm.size * (comm.size - 1) // 2)


def task_farm(comm: ranks.Comm, rounds: int) -> None:
    """Every worker asks `rounds` times; rank 0 answers whoever asked first, and checks who asked."""
    number = np.array([comm.rank])
    if comm.rank:
        for _ in range(rounds):
            comm.Send(number, 0)
            comm.Recv(number, 0)
        return
    status, total = ranks.Status(), 0
    for _ in range(rounds * (comm.size - 1)):
        comm.Recv(number, ranks.ANY_SOURCE, status=status)
        total += status.Get_source()
        comm.Send(number, status.Get_source())
    expect("task farm", total, rounds * comm.size * (comm.size - 1) // 2)


def expect(name: str, got: int, expected: int) -> None:
    """Raise RuntimeError if a benchmark counted something else than it must."""
    if got != expected:
        raise RuntimeError(f"{name}: got {got}, expected {expected}; a figure for it would mean nothing")


def fan_in_once(comm: Any) -> Any:
    """Let rank 0 receive one message of each of the others, in any order. To be explored, as those below."""
    return [comm.recv() for _ in range(1, comm.size)] if comm.rank == 0 else comm.send(comm.rank, 0)


def neighbours(comm: Any) -> Any:
    """Take a message of each neighbour in a ring, in any order: choices of different ranks commute."""
    requests = [comm.isend(comm.rank, (comm.rank + side) % comm.size) for side in (-1, 1)]
    got = [comm.recv(), comm.recv()]
    ranks.Request.waitall(requests)
    return got


def pairs(comm: Any) -> Any:
    """Let each even rank wait for the first of two requests from its neighbour."""
    if comm.rank % 2:
        return [comm.send(tag, comm.rank - 1, tag) for tag in (0, 1)]
    requests = [comm.irecv(source=comm.rank + 1, tag=tag) for tag in (0, 1)]
    first = ranks.Request.waitany(requests)[0]
    ranks.Request.waitall(requests)
    return first


def polls(comm: Any) -> Any:
    """Poll for a message of each of the others."""
    if comm.rank:
        return comm.send(comm.rank, 0)
    got = []
    while len(got) < comm.size - 1:
        if comm.iprobe():
            got.append(comm.recv())
    return got


def master(comm: Any) -> Any:
    """Hand out four tasks to whoever asks."""
    if comm.rank:
        done = []
        while (task := comm.sendrecv(comm.rank, 0, source=0)) is not None:
            done.append(task)
        return done
    for task in [*range(4), *[None] * (comm.size - 1)]:
        comm.send(task, comm.recv())
    return None
