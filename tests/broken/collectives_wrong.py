"""Wrong variants of the collectives, most of them seen in hand-written code; none may pass the claims."""

from __future__ import annotations

from typing import Any

import numpy as np

import collectives

# -- all-reduce ------------------------------------------------------------------------------------------------


def ring_that_sends_before_it_receives(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Passes while sends are buffered; hangs when messages grow."""
    p, rank = comm.size, comm.rank
    whole = np.array(x).reshape(-1)
    blocks = np.array_split(whole, p)
    for step in range(2 * (p - 1)):
        comm.Send(blocks[(rank - 1 - step) % p], (rank + 1) % p)
        came = np.empty_like(blocks[(rank - 2 - step) % p])
        comm.Recv(came, (rank - 1) % p)
        mine = blocks[(rank - 2 - step) % p]
        mine[...] = op(came, mine) if step < p - 1 else came
    return whole.reshape(x.shape)


def broadcast_to_a_wrapped_peer(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """A binomial tree in which ranks that are no parents send too: the next collective reads the stale message."""
    p, rank = comm.size, comm.rank
    result = np.array(x)
    if rank == 0:
        for source in range(1, p):
            came = np.empty_like(result)
            comm.Recv(came, source)
            result = np.asarray(op(result, came))
    else:
        comm.Send(result, 0)
    distance = 1
    while distance < p:
        if rank < distance:
            comm.Send(result, (rank + distance) % p)
        elif rank < 2 * distance:
            comm.Recv(result, rank - distance)
        distance *= 2
    return result


def without_the_last_allgather_step(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """One block is missing at one neighbour."""
    whole = collectives.ring_allreduce(comm, x, op, out=out)
    if comm.size > 1 and whole.size:
        np.array_split(whole.reshape(-1), comm.size)[(comm.rank + 1) % comm.size][...] = 0
    return whole


def counts_itself_twice(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """The first block is reduced with its own rank's share once more."""
    return op(collectives.ring_allreduce(comm, x, op), x if comm.rank == 0 else np.zeros_like(x))


def changes_its_argument(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Right, but uses x as its workspace."""
    return collectives.ring_allreduce(comm, x, op, out=x).copy()


def ignores_out(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Right, but out stays empty."""
    return collectives.ring_allreduce(comm, x, op) if out is not None else ring_that_sends_before_it_receives(comm, x)


def drops_what_p_does_not_divide(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Only x.size // p * p elements are reduced."""
    whole = np.array(x)
    part = whole[: x.size // comm.size * comm.size]
    part[...] = collectives.ring_allreduce(comm, part.copy(), op)
    return whole


ALLREDUCES = [
    ring_that_sends_before_it_receives, broadcast_to_a_wrapped_peer, without_the_last_allgather_step,
    counts_itself_twice, changes_its_argument, ignores_out, drops_what_p_does_not_divide,
]  # fmt: skip

# -- reduce-scatter and all-gather -------------------------------------------------------------------------------


def reduce_scatter_in_place(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Overwrites its caller's array."""
    p, rank = comm.size, comm.rank
    blocks = np.array_split(x, p)
    for step in range(p - 1):
        mine = blocks[(rank - 2 - step) % p]
        came = np.empty_like(mine)
        sent = blocks[(rank - 1 - step) % p]
        comm.Sendrecv(sent, (rank + 1) % p, 0, came, (rank - 1) % p)
        mine[...] = op(came, mine)
    return blocks[rank].copy()


def reduce_scatter_off_by_one(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Rank r gets the block of rank r+1."""
    whole = collectives.ring_allreduce(comm, x, op)
    return np.array_split(whole, comm.size)[(comm.rank + 1) % comm.size].copy()


def reduce_scatter_with_an_extra_round(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Right, but sends its result round once more: only the cost shows it."""
    result = collectives.ring_reduce_scatter(comm, x, op, out=out)
    comm.sendrecv(result, (comm.rank + 1) % comm.size, source=(comm.rank - 1) % comm.size)
    return result


REDUCE_SCATTERS = [reduce_scatter_in_place, reduce_scatter_off_by_one]


def allgather_in_arrival_order(comm: Any, x: Any, *, counts: Any = None, out: Any = None) -> Any:
    """Puts blocks where they arrive, not where they belong."""
    blocks = [x]
    for _ in range(comm.size - 1):
        blocks.append(comm.sendrecv(blocks[-1], (comm.rank + 1) % comm.size, source=(comm.rank - 1) % comm.size))
    return np.stack(blocks) if counts is None else np.concatenate(blocks)


ALLGATHERS = [allgather_in_arrival_order]

# -- barriers ----------------------------------------------------------------------------------------------------

_NOTHING = np.empty(0, np.uint8)


def butterfly_without_virtual_ranks(comm: Any) -> None:
    """Brooks' exchanges with partners that do not exist left out: right for powers of two only."""
    distance = 1
    while distance < comm.size:
        if comm.rank ^ distance < comm.size:
            comm.Sendrecv(_NOTHING, comm.rank ^ distance, 0, _NOTHING, comm.rank ^ distance)
        distance *= 2


def dissemination_with_a_round_too_few(comm: Any) -> None:
    """Stops while half of the ranks are still unknown."""
    distance = 1
    while 2 * distance < comm.size:
        comm.Sendrecv(_NOTHING, (comm.rank + distance) % comm.size, 0, _NOTHING, (comm.rank - distance) % comm.size)
        distance *= 2


def counter_that_is_never_reset(comm: Any) -> None:
    """Rank 0 counts arrivals of anybody: one that comes twice is taken for somebody else."""
    if comm.rank == 0:
        for _ in range(comm.size - 1):
            comm.Recv(_NOTHING)
        for other in range(1, comm.size):
            comm.Send(_NOTHING, other)
        return
    comm.Send(_NOTHING, 0)
    if comm.Iprobe(0):
        comm.Recv(_NOTHING, 0)


def gather_without_release(comm: Any) -> None:
    """Rank 0 knows that all have entered, and tells nobody."""
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.Recv(_NOTHING, other)
    else:
        comm.Send(_NOTHING, 0)


def no_barrier(comm: Any) -> None:
    """Does nothing."""


BARRIERS = [
    butterfly_without_virtual_ranks, dissemination_with_a_round_too_few, counter_that_is_never_reset,
    gather_without_release, no_barrier,
]  # fmt: skip
