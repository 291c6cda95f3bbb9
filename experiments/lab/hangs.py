"""Cases of the gallery in which ranks wait for ever: orders, counts, tags and communicators that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np

import ranks
from collectives import dissemination_barrier, ring_allreduce
from experiments.lab.gallery import case

LARGE = 100_000  # bytes, above the eager limit


@case(
    4, ranks.DeadlockError, [0, 1, 2, 3],
    story="Each rank passes its gradients to the right and takes those from the left. It worked with a small model.",
    why="All send before anyone receives. While messages are small, MPI buffers them and Send returns; above the "
    "eager limit a Send waits for its receive, and no rank ever gets to one. Never rely on buffering: "
    "Sendrecv does both.",
    says=('passes with buffering="infinite": the program relies on buffered sends',),
)  # fmt: skip
def send_first_ring(comm: Any) -> None:
    gradients, came = np.zeros(LARGE, np.uint8), np.empty(LARGE, np.uint8)
    comm.Send(gradients, (comm.rank + 1) % comm.size)  # here
    comm.Recv(came, (comm.rank - 1) % comm.size)


@send_first_ring.mend
def _(comm: Any) -> None:
    gradients, came = np.zeros(LARGE, np.uint8), np.empty(LARGE, np.uint8)
    comm.Sendrecv(gradients, (comm.rank + 1) % comm.size, 0, came, (comm.rank - 1) % comm.size)


@case(
    2, ranks.DeadlockError, [0, 1],
    story="Rank 0 sends a header with tag 1 and waits for an answer with tag 9; rank 1 was written by someone else.",
    why="The tags are part of the match: a message with tag 1 waits for ever beside a receive with tag 0. The "
    "report shows what nearly matched.",
    says=("nearly: rank 0 has sent 8 B of int64 (tag=1)",),
)  # fmt: skip
def wrong_tag(comm: Any) -> None:
    header = np.array([3])
    if comm.rank == 0:
        comm.Send(header, 1, tag=1)
        comm.Recv(header, 1, tag=9)  # here
    else:
        comm.Recv(header, 0, tag=0)  # here
        comm.Send(header, 0, tag=9)


@wrong_tag.mend
def _(comm: Any) -> None:
    header = np.array([3])
    if comm.rank == 0:
        comm.Send(header, 1, tag=1)
        comm.Recv(header, 1, tag=9)
    else:
        comm.Recv(header, 0, tag=1)
        comm.Send(header, 0, tag=9)


@case(
    5, ranks.DeadlockError, [4],
    story="Neighbours exchange: even ranks send first, odd ones receive first. Tested with 4 ranks.",
    why="With an odd number of ranks the last even one has no partner: it exchanges with rank 0, which already "
    "has one. Give PROC_NULL as the partner at an edge: sends to it and receives from it do nothing.",
    says=("rank 4 waits for rank 0, which has returned",),
    options={"buffering": "none"},
)  # fmt: skip
def odd_even_pairs(comm: Any) -> None:
    x = np.zeros(1)
    if comm.rank % 2 == 0:
        partner = (comm.rank + 1) % comm.size
        comm.Send(x, partner)  # here
        comm.Recv(x, partner)
    else:
        comm.Recv(x, comm.rank - 1)
        comm.Send(x, comm.rank - 1)


@odd_even_pairs.mend
def _(comm: Any) -> None:
    x = np.zeros(1)
    if comm.rank % 2 == 0:
        partner = comm.rank + 1 if comm.rank + 1 < comm.size else ranks.PROC_NULL
        comm.Send(x, partner)
        comm.Recv(x, partner)
    else:
        comm.Recv(x, comm.rank - 1)
        comm.Send(x, comm.rank - 1)


@case(
    3, ranks.DeadlockError, [0],
    story="The root collects one result from each of the others.",
    why="The loop runs p times, and there are p-1 others. The last receive waits for a message that nobody sends.",
    says=("rank 0 waits for ranks 1-2, which have returned",),
)  # fmt: skip
def one_receive_too_many(comm: Any) -> Any:
    if comm.rank:
        return comm.send(comm.rank, 0)
    return sum(comm.recv() for _ in range(comm.size))  # here


@one_receive_too_many.mend
def _(comm: Any) -> Any:
    if comm.rank:
        return comm.send(comm.rank, 0)
    return sum(comm.recv() for _ in range(comm.size - 1))


@case(
    4, ranks.DeadlockError, [1],
    story="Each rank iterates until its own error is small; each step begins with an all-reduce.",
    why="Whether to stop is decided on data that differs between ranks. Rank 0 is content at once and leaves; the "
    "others wait for it in their all-reduce. Decide together: stop on the reduced value, which is the same "
    "everywhere.",
    says=("which has returned", "behind them: ranks 2-3 in Sendrecv of ring_allreduce"),
)  # fmt: skip
def early_exit(comm: Any) -> Any:
    error = np.array([2.0**comm.rank])
    while error[0] > 1:
        ring_allreduce(comm, error)  # here
        error /= 2
    return error


@early_exit.mend
def _(comm: Any) -> Any:
    error = np.array([2.0**comm.rank])
    while ring_allreduce(comm, error, np.maximum)[0] > 1:
        error /= 2
    return error


@case(
    2, ranks.DeadlockError, [0, 1],
    story="Two groups of layers synchronise on communicators of their own.",
    why="Rank 0 is in the barrier of one communicator, rank 1 in that of the other. Collectives of several "
    "communicators must be called in one global order on all ranks, like locks.",
    says=("communicator 1", "communicator 2"),
)  # fmt: skip
def opposite_order(comm: Any) -> None:
    first, second = comm.Dup(), comm.Dup()
    for part in (first, second) if comm.rank == 0 else (second, first):
        dissemination_barrier(part)  # here


@opposite_order.mend
def _(comm: Any) -> None:
    first, second = comm.Dup(), comm.Dup()
    for part in (first, second):
        dissemination_barrier(part)


@case(
    4, ranks.DeadlockError, [1],
    story="The ranks synchronise, then rank 0 writes a checkpoint.",
    why="Rank 0 returns before the barrier, so only the others call it. A collective must be called by all ranks of "
    "its communicator.",
    says=("rank 1 waits for rank 0, which has returned",),
)  # fmt: skip
def barrier_in_a_branch(comm: Any) -> str:
    if comm.rank == 0:
        return "checkpoint written"
    dissemination_barrier(comm)  # here
    return "ready"


@barrier_in_a_branch.mend
def _(comm: Any) -> str:
    dissemination_barrier(comm)
    return "checkpoint written" if comm.rank == 0 else "ready"


@case(
    3, ranks.LivelockError, [0],
    story="Rank 0 looks for results now and then, and would do other work between.",
    why="It polls for tag 7 while results have tag 1, so Iprobe returns False for ever. No rank is blocked, and still "
    "nothing can happen any more: a livelock.",
    says=("rank 0 polls for something that can no longer come",),
)  # fmt: skip
def polls_for_nothing(comm: Any) -> Any:
    if comm.rank:
        return comm.send(comm.rank, 0, tag=1)
    results = []
    while len(results) < comm.size - 1:
        if comm.iprobe(tag=7):  # here
            results.append(comm.recv(tag=7))
    return results


@polls_for_nothing.mend
def _(comm: Any) -> Any:
    if comm.rank:
        return comm.send(comm.rank, 0, tag=1)
    results = []
    while len(results) < comm.size - 1:
        if comm.iprobe(tag=1):
            results.append(comm.recv(tag=1))
    return results


@case(
    3, ranks.DeadlockError, [2],
    story="A master hands out tasks; a worker asks, works, and asks again until it is told to stop.",
    why="Once the last task is handed out, the master tells rank 1 to stop, takes one more message of rank 2, and "
    "returns without an answer to it. Each worker needs its own end.",
    says=("rank 2 waits for rank 0, which has returned",),
)  # fmt: skip
def worker_never_told_to_stop(comm: Any) -> None:
    if comm.rank:
        task = comm.sendrecv(comm.rank, 0, source=0)
        while task is not None:
            task = comm.sendrecv(comm.rank, 0, source=0)  # here
        return
    tasks = ["a", "b", "c"]
    while True:
        worker = comm.recv()
        comm.send(tasks.pop() if tasks else None, worker)
        if not tasks:
            break
    comm.recv(source=1)
    comm.send(None, 1)
    comm.recv(source=2)


@worker_never_told_to_stop.mend
def _(comm: Any) -> None:
    if comm.rank:
        task = comm.sendrecv(comm.rank, 0, source=0)
        while task is not None:
            task = comm.sendrecv(comm.rank, 0, source=0)
        return
    tasks, n_working = ["a", "b", "c"], comm.size - 1
    while n_working:
        worker = comm.recv()
        task = tasks.pop() if tasks else None
        comm.send(task, worker)
        n_working -= task is None
