"""Wrong variants of broadcasts, reductions and all-reduces in trees, by halves and in segments; none may pass."""

from __future__ import annotations

from typing import Any

import numpy as np

import collectives
import ranks
from collectives.arrays import block_bounds
from collectives.trees import binomial_children, binomial_parent
from collectives.two_level import Places

# -- broadcast ---------------------------------------------------------------------------------------------------


def broadcast_to_wrapped_peers(comm: Any, x: Any, *, root: int = 0, out: Any = None) -> Any:
    """Everybody sends to rank + 2^k modulo p: the next collective reads the stale messages."""
    p, v = comm.size, (comm.rank - root) % comm.size
    whole = np.array(x) if out is None else out
    if v:
        comm.Recv(whole, (binomial_parent(v) + root) % p)
    elif out is not None:
        out[...] = x
    lowest = v & -v if v else 1 << (p - 1).bit_length()
    while lowest > 1:
        lowest //= 2
        comm.Send(whole, (v + lowest + root) % p)
    return whole


def broadcast_for_powers_of_two(comm: Any, x: Any, *, root: int = 0, out: Any = None) -> Any:
    """Ranks beyond the largest power of two get nothing."""
    v = (comm.rank - root) % comm.size
    group = comm.Split(int(v >= 1 << (comm.size.bit_length() - 1)), v)
    return collectives.binomial_broadcast(group, x, out=out)


def scatter_allgather_in_rank_order(comm: Any, x: Any, *, root: int = 0, out: Any = None) -> Any:
    """Blocks are counted from rank 0, though they were scattered from the root."""
    whole = collectives.scatter_allgather_broadcast(comm, x, root=root, out=out)
    bounds = block_bounds(whole.size, comm.size)
    if root and comm.rank == root:
        flat = whole.reshape(-1)
        flat[bounds[0] : bounds[1]], flat[bounds[root] : bounds[root] + bounds[1]] = 0, 0
    return whole


def broadcast_that_returns_the_roots_own_array(comm: Any, x: Any, *, root: int = 0, out: Any = None) -> Any:
    """Right, but writing to the result changes the root's argument."""
    whole = collectives.binomial_broadcast(comm, x, root=root, out=out)
    return x if comm.rank == root and out is None else whole


def broadcast_into_the_argument(comm: Any, x: Any, *, root: int = 0, out: Any = None) -> Any:
    """As MPI's: what was in x is lost."""
    return collectives.binomial_broadcast(comm, x, root=root, out=x if x.flags.writeable else out).copy()


BROADCASTS = [
    broadcast_to_wrapped_peers, broadcast_for_powers_of_two, scatter_allgather_in_rank_order,
    broadcast_that_returns_the_roots_own_array, broadcast_into_the_argument,
]  # fmt: skip

# -- reduce ------------------------------------------------------------------------------------------------------


def reduce_always_to_rank_0(comm: Any, x: Any, op: Any = np.add, *, root: int = 0, out: Any = None) -> Any:
    """Does not look at root."""
    return collectives.binomial_reduce(comm, x, op, root=0, out=out)


def reduce_that_returns_something_everywhere(
    comm: Any, x: Any, op: Any = np.add, *, root: int = 0, out: Any = None
) -> Any:
    """Ranks that are not the root get their partial result."""
    result = collectives.binomial_reduce(comm, x, op, root=root, out=out)
    return x.copy() if result is None else result


def reduce_that_leaves_out_the_last_rank(comm: Any, x: Any, op: Any = np.add, *, root: int = 0, out: Any = None) -> Any:
    """Right for powers of two: there the last rank has no children of its own to forget."""
    p, v = comm.size, (comm.rank - root) % comm.size
    whole, came = np.array(x), np.empty_like(x)
    for child in reversed(binomial_children(v, p)):
        comm.Recv(came, (child + root) % p)
        if child != p - 1 or p & (p - 1) == 0:
            whole = op(whole, came)
    if v:
        comm.Send(whole, (binomial_parent(v) + root) % p)
        return None
    if out is None:
        return whole
    out[...] = whole
    return out


REDUCES = [reduce_always_to_rank_0, reduce_that_returns_something_everywhere, reduce_that_leaves_out_the_last_rank]

# -- all-reduce --------------------------------------------------------------------------------------------------


def doubling_without_folding(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Partners that do not exist are left out: right for powers of two only."""
    whole, came, distance = np.array(x), np.empty_like(x), 1
    while distance < comm.size:
        partner = comm.rank ^ distance
        if partner < comm.size:
            comm.Sendrecv(whole, partner, 0, came, partner)
            whole = op(whole, came)
        distance *= 2
    return whole


def doubling_that_does_not_unfold(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Ranks that handed their data over never get the result."""
    whole = collectives.recursive_doubling_allreduce(comm, x, op)
    n_pairs = comm.size - (1 << (comm.size.bit_length() - 1))
    return np.array(x) if comm.rank < 2 * n_pairs and comm.rank % 2 else whole


def halves_of_another_length(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Cuts into halves, rounded down: what is left over is not reduced."""
    if comm.size != 2:
        return collectives.halving_doubling_allreduce(comm, x, op)
    half, other = x.size // 2, 1 - comm.rank
    whole = np.array(x)
    mine, given = whole[comm.rank * half :][:half], whole[other * half :][:half]
    came = np.empty_like(mine)
    comm.Sendrecv(given, other, 0, came, other)
    mine[...] = op(mine, came)
    comm.Sendrecv(mine, other, 0, given, other)
    return whole


def two_levels_that_forget_ranks_of_larger_nodes(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Only as many ranks of a node as the smallest node has bring their share."""
    places = Places(ranks.nodes_of(comm))
    share = np.array(x) if places.index[comm.rank] < places.width else np.zeros_like(x)
    return collectives.two_level_allreduce(comm, share, op)


def segments_into_one_slot(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Receives into the slot that is still being sent: right only where the send was buffered."""
    p, left, right = comm.size, (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if p == 1:
        return np.array(x)
    whole, slot = np.array(x), np.array(x)
    for _ in range(p - 1):
        request = comm.Isend(slot, right)
        comm.Recv(slot, left)
        request.Wait()
        whole = op(whole, slot)
    return whole


ALLREDUCES = [
    doubling_without_folding, doubling_that_does_not_unfold, halves_of_another_length,
    two_levels_that_forget_ranks_of_larger_nodes,
]  # fmt: skip

# -- barriers ----------------------------------------------------------------------------------------------------

_NOTHING = np.empty(0, np.uint8)


def tournament_whose_winner_wakes_only_its_last_loser(comm: Any) -> None:
    """The others go on when they have told their winner."""
    children = binomial_children(comm.rank, comm.size)
    for child in reversed(children):
        comm.Recv(_NOTHING, child, 1)
    if comm.rank:
        comm.Send(_NOTHING, binomial_parent(comm.rank), 1)
        if binomial_parent(comm.rank) == 0:
            comm.Recv(_NOTHING, 0, 2)
    else:
        for child in children:
            comm.Send(_NOTHING, child, 2)


def tree_that_lets_the_left_child_go_first(comm: Any) -> None:
    """Tells the left child to go on before the right one has come."""
    left, right = 2 * comm.rank + 1, 2 * comm.rank + 2
    if left < comm.size:
        comm.Recv(_NOTHING, left, 1)
        comm.Send(_NOTHING, left, 2)
    if right < comm.size:
        comm.Recv(_NOTHING, right, 1)
        comm.Send(_NOTHING, right, 2)
    if comm.rank:
        comm.Send(_NOTHING, (comm.rank - 1) // 2, 1)
        comm.Recv(_NOTHING, (comm.rank - 1) // 2, 2)


BARRIERS = [tournament_whose_winner_wakes_only_its_last_loser, tree_that_lets_the_left_child_go_first]
