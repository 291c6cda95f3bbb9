"""Cases of the gallery that fail otherwise: races, faults, lost handles, and results that would be wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

import ranks
from collectives import binomial_broadcast, dissemination_barrier, ring_allreduce
from experiments.lab.gallery import case


@case(
    3, ranks.DeadlockError, [0], explored=True,
    story="Rank 0 takes whatever comes first, then waits for the configuration from rank 2. It passes all tests.",
    why="If rank 2 is faster, the wildcard steals its configuration, and the next receive waits for ever. Tests "
    "draw one schedule; exploring tries all. Messages of different meaning need different tags.",
    says=("rank 0 waits for rank 2, which has returned", "nearly: rank 1 has sent"),
)  # fmt: skip
def wildcard_steals(comm: Any) -> Any:
    if comm.rank:
        return comm.send(("progress", "configuration")[comm.rank - 1], 0)
    first = comm.recv()
    return first, comm.recv(source=2)  # here


@wildcard_steals.mend
def _(comm: Any) -> Any:
    if comm.rank:
        return comm.send(("progress", "configuration")[comm.rank - 1], 0, tag=comm.rank)
    first = comm.recv(tag=1)
    return first, comm.recv(source=2, tag=2)


@case(
    3, ranks.DeadlockError, [0], explored=True,
    story="Rank 2 may send only after rank 1's message was received: rank 1 says so when its Send returns.",
    why="That Send has returned says that the buffer is free, not that anybody has received. Without buffering "
    "this works; with it, rank 2 may come first and its message is taken in the other's place. Ssend returns "
    "when it is received.",
    says=("rank 0 waits for rank 2, which has returned",),
)  # fmt: skip
def fails_only_when_buffered(comm: Any) -> None:
    if comm.rank == 0:
        comm.recv()
        comm.recv(source=2)  # here
    elif comm.rank == 1:
        comm.send("first", 0)
        comm.send("go", 2)
    else:
        comm.recv(source=1)
        comm.send("second", 0)


@fails_only_when_buffered.mend
def _(comm: Any) -> None:
    if comm.rank == 0:
        comm.recv()
        comm.recv(source=2)
    elif comm.rank == 1:
        comm.ssend("first", 0)
        comm.send("go", 2)
    else:
        comm.recv(source=1)
        comm.send("second", 0)


@case(
    4, ranks.CollectiveMismatchError, [3],
    story="The ranks add up their losses; one branch of the code broadcasts instead.",
    why="Rank 3 calls a broadcast while the others reduce. Both send messages, so without a check each would take "
    "the other's for its own. The report names the majority and the outlier.",
    says=("majority  ranks 0-2: ring_allreduce", "outlier   rank 3: binomial_broadcast"),
)  # fmt: skip
def mismatched_collectives(comm: Any) -> Any:
    loss = np.ones(4)
    if comm.rank < 3:
        return ring_allreduce(comm, loss)
    return binomial_broadcast(comm, loss)


@mismatched_collectives.mend
def _(comm: Any) -> Any:
    return ring_allreduce(comm, np.ones(4))


@case(
    4, ranks.RankFailedError, [2],
    story="Four ranks add up gradients. In the middle of it, one machine dies.",
    why="The others wait for messages that will never come. On a real cluster that is a silent hang until some "
    "time-out; restart the job without the dead rank, from a checkpoint.",
    says=("rank 2 has crashed", "crashed in its send number 3"),
    options={"faults": [ranks.Crash(rank=2, send=3)]}, mended_options={},
)  # fmt: skip
def one_rank_crashes(comm: Any) -> Any:
    return ring_allreduce(comm, np.ones(8))  # here


@one_rank_crashes.mend
def _(comm: Any) -> Any:
    survivors = comm.Split(0 if comm.rank != 2 else ranks.UNDEFINED)
    return ring_allreduce(survivors, np.ones(8)) if survivors else None


@case(
    2, ranks.DeadlockError, [1],
    story="A stream of results over a network that loses the last one.",
    why="Rank 0 is done: it believes that its message has left. Rank 1 waits for it. The report lists what was "
    "lost. A protocol over such a network must acknowledge.",
    says=("lost: 8 B from rank 0 to rank 1, tag 0",),
    options={"faults": [ranks.Drop(source=0, dest=1, nth=3, tolerated=True)]},
)  # fmt: skip
def a_message_is_lost(comm: Any) -> None:
    result = np.zeros(1)
    for _ in range(3):
        if comm.rank == 0:
            comm.Send(result, 1)
        else:
            comm.Recv(result, 0)  # here


@a_message_is_lost.mend
def _(comm: Any) -> None:
    result, other = np.zeros(1), 1 - comm.rank
    for number in range(3):
        arrived = False
        while comm.rank == 0 and not arrived:
            comm.Send(result, other, tag=number)
            for _ in range(100):
                arrived = arrived or comm.Iprobe(other, number)
        if comm.rank == 1:
            comm.Recv(result, other, number)
            comm.Send(result, other, number)  # the acknowledgement
        else:
            comm.Recv(result, other, number)
    dissemination_barrier(comm)
    while comm.Iprobe(other):  # sent again although it had arrived
        comm.Recv(result, other)


@case(
    2, ranks.SendBufferChangedError, [0],
    story="Rank 0 sends its buffer, and uses the time to prepare the next block in it.",
    why="Until Wait, the buffer of an Isend belongs to MPI: what arrives may be the old block, the new one, or a "
    "mixture. check=True compares the buffer in Wait with what was sent.",
    says=("element 0 was written before the Wait",),
    options={"check": True},
)  # fmt: skip
def buffer_reused_too_early(comm: Any) -> Any:
    block = np.arange(4.0)
    if comm.rank == 0:
        request = comm.Isend(block, 1)  # here
        block[:] = 7
        request.Wait()
    else:
        comm.Recv(block, 0)
    return block


@buffer_reused_too_early.mend
def _(comm: Any) -> Any:
    block = np.arange(4.0)
    if comm.rank == 0:
        request = comm.Isend(block, 1)
        request.Wait()
        block[:] = 7
    else:
        comm.Recv(block, 0)
    return block


@case(
    2, ranks.UnfinishedRequestError, [0],
    story="Rank 0 starts a send and goes on; rank 1 receives. The result is right.",
    why="Nobody waits for the request. MPI may not have sent anything yet, and the handle is lost with its "
    "memory.",
    says=("a request that was never completed",),
)  # fmt: skip
def request_forgotten(comm: Any) -> None:
    if comm.rank == 0:
        comm.Isend(np.zeros(3), 1)  # here
    else:
        comm.Recv(np.zeros(3), 0)


@request_forgotten.mend
def _(comm: Any) -> None:
    if comm.rank == 0:
        comm.Isend(np.zeros(3), 1).Wait()
    else:
        comm.Recv(np.zeros(3), 0)


@case(
    3, ranks.UnreceivedMessageError, [2],
    story="A broadcast along a chain, by hand: rank r sends to r+1, modulo p.",
    why="The index wraps: rank 2 sends to rank 0, which never receives. The next collective would take that "
    "message for its own, and the wrong result would show up far from here.",
    says=("rank 2: send to rank 0, tag 0", "nobody had received"),
)  # fmt: skip
def stale_message(comm: Any) -> Any:
    x = np.array([42]) if comm.rank == 0 else np.empty(1, np.int64)
    if comm.rank:
        comm.Recv(x, comm.rank - 1)
    comm.Send(x, (comm.rank + 1) % comm.size)
    return x


@stale_message.mend
def _(comm: Any) -> Any:
    x = np.array([42]) if comm.rank == 0 else np.empty(1, np.int64)
    if comm.rank:
        comm.Recv(x, comm.rank - 1)
    if comm.rank + 1 < comm.size:
        comm.Send(x, comm.rank + 1)
    return x


@case(
    2, ranks.TruncationError, [1],
    story="Rank 0 sends as many elements as it has; rank 1 expects an equal share.",
    why="The message is longer than the buffer. Unequal shares need their sizes first: Probe tells before "
    "receiving.",
    says=("got 6 float64 (48 B) from rank 0", "at most 5 float64 (40 B)"),
)  # fmt: skip
def unequal_shares(comm: Any) -> Any:
    shares = np.array_split(np.arange(11.0), 2)
    if comm.rank == 0:
        return comm.Send(shares[0], 1)
    x = np.empty(11 // 2)
    comm.Recv(x, 0)  # here
    return x


@unequal_shares.mend
def _(comm: Any) -> Any:
    shares = np.array_split(np.arange(11.0), 2)
    if comm.rank == 0:
        return comm.Send(shares[0], 1)
    status = ranks.Status()
    comm.Probe(0, status=status)
    x = np.empty(status.Get_count(ranks.DOUBLE))
    comm.Recv(x, 0)
    return x


@case(
    2, ranks.DatatypeMismatchError, [1],
    story="One side computes in float32, the other one in float64.",
    why="MPI would copy the bytes: two float32 become one float64 that means nothing. Both sides must name one "
    "type.",
    says=("got 4 float32 (16 B) from rank 0", "expected float64"),
)  # fmt: skip
def another_dtype(comm: Any) -> Any:
    if comm.rank == 0:
        return comm.Send(np.ones(4, np.float32), 1)
    x = np.zeros(4)
    comm.Recv(x, 0)  # here
    return x


@another_dtype.mend
def _(comm: Any) -> Any:
    if comm.rank == 0:
        return comm.Send(np.ones(4, np.float32), 1)
    x = np.zeros(4, np.float32)
    comm.Recv(x, 0)
    return x
