"""Wrong variants of all-to-all, all-gather, gather, scatter and scan; none may pass the claims."""

from __future__ import annotations

from typing import Any

import numpy as np

import collectives

# -- all-to-all ------------------------------------------------------------------------------------------------


def alltoall_with_partners_by_xor(comm: Any, x: Any, *, out: Any = None) -> Any:
    """Pairs of rank and rank ^ step: right for powers of two only, otherwise some blocks never move."""
    result = np.array(x)
    for step in range(1, comm.size):
        partner = comm.rank ^ step
        if partner < comm.size:
            came = np.empty_like(result[partner])
            comm.Sendrecv(np.ascontiguousarray(x[partner]), partner, 0, came, partner)
            result[partner] = came
    return result


def alltoall_that_sends_before_it_receives(comm: Any, x: Any, *, out: Any = None) -> Any:
    """Passes while sends are buffered; hangs when blocks grow."""
    result = np.array(x)
    for step in range(1, comm.size):
        dest, source = (comm.rank + step) % comm.size, (comm.rank - step) % comm.size
        comm.Send(np.ascontiguousarray(x[dest]), dest)
        came = np.empty_like(result[source])
        comm.Recv(came, source)
        result[source] = came
    return result


def alltoall_in_order_of_arrival(comm: Any, x: Any, *, out: Any = None) -> Any:
    """Bruck's without its last turn: rows lie by how far they came, not by whence."""
    result = collectives.bruck_alltoall(comm, x)
    return np.roll(result[::-1], comm.rank + 1, axis=0)


def alltoall_into_its_argument(comm: Any, x: Any, *, out: Any = None) -> Any:
    """Right, but uses x as its workspace."""
    return collectives.pairwise_alltoall(comm, x, out=x).copy()


def alltoall_that_overwrites_what_it_has_to_send(comm: Any, x: Any, *, out: Any = None) -> Any:
    """Right, unless out is x."""
    result = np.empty_like(x) if out is None else out
    result[comm.rank] = x[comm.rank]
    for step in range(1, comm.size):
        dest, source = (comm.rank + step) % comm.size, (comm.rank - step) % comm.size
        came = np.empty_like(result[source])
        comm.Sendrecv(np.ascontiguousarray(x[dest]), dest, 0, came, source)
        result[source] = came
    return result


ALLTOALLS = [
    alltoall_with_partners_by_xor, alltoall_that_sends_before_it_receives, alltoall_in_order_of_arrival,
    alltoall_into_its_argument, alltoall_that_overwrites_what_it_has_to_send,
]  # fmt: skip


def alltoallv_that_expects_what_it_sends(
    comm: Any, x: Any, counts: Any, receive_counts: Any = None, **more: Any
) -> Any:
    """Takes its own counts for those of the others: right only if the matrix of counts is symmetric."""
    return collectives.alltoallv(comm, x, counts, counts, **more)


def axes_without_the_remainder(comm: Any, x: Any, split_axis: int, concat_axis: int, **more: Any) -> Any:
    """Cuts parts of n // p and forgets the rest, as a reshape does."""
    whole = x.shape[split_axis]
    more["split_sizes"] = [whole // comm.size] * comm.size
    cut = np.take(x, range(whole // comm.size * comm.size), axis=split_axis)
    return collectives.alltoall(comm, cut, split_axis, concat_axis, **more)


def axes_joined_along_the_first_one(comm: Any, x: Any, split_axis: int, concat_axis: int, **more: Any) -> Any:
    """Lays the parts that come one after the other in memory, whatever axis they belong along."""
    result = collectives.alltoall(comm, x, split_axis, concat_axis, **more)
    lengths = more.get("concat_sizes") or [result.shape[concat_axis] // comm.size] * comm.size
    parts = np.split(result, np.cumsum(lengths)[:-1], axis=concat_axis)
    return np.concatenate([part.reshape(-1) for part in parts]).reshape(result.shape)


AXES = [axes_without_the_remainder, axes_joined_along_the_first_one]

# -- all-gather, gather, scatter -------------------------------------------------------------------------------


def doubling_allgather_without_folding(comm: Any, x: Any, *, counts: Any = None, out: Any = None) -> Any:
    """Right for powers of two only: partners that do not exist are left out."""
    blocks: dict[int, Any] = {comm.rank: x}
    distance = 1
    while distance < comm.size:
        if comm.rank ^ distance < comm.size:
            blocks |= comm.sendrecv(blocks, comm.rank ^ distance, source=comm.rank ^ distance)
        distance *= 2
    joined = [blocks.get(rank, np.zeros_like(x)) for rank in range(comm.size)]
    return np.stack(joined) if counts is None else np.concatenate(joined)


def bruck_allgather_without_the_last_turn(comm: Any, x: Any, *, counts: Any = None, out: Any = None) -> Any:
    """Every rank's own block comes first."""
    whole = collectives.bruck_allgather(comm, x, counts=counts)
    return np.roll(whole, -comm.rank, axis=0)


ALLGATHERS = [doubling_allgather_without_folding, bruck_allgather_without_the_last_turn]


def gather_in_order_from_the_root(comm: Any, x: Any, *, root: int = 0, counts: Any = None, out: Any = None) -> Any:
    """A tree whose blocks are never turned back: right for root 0."""
    whole = collectives.binomial_gather(comm, x, root=root, counts=counts)
    return None if whole is None else np.roll(whole, -root, axis=0)


def gather_to_everybody(comm: Any, x: Any, *, root: int = 0, counts: Any = None, out: Any = None) -> Any:
    """Right on the root, but the others get something too."""
    return collectives.ring_allgather(comm, x, counts=counts)


GATHERS = [gather_in_order_from_the_root, gather_to_everybody]


def scatter_from_rank_0(comm: Any, x: Any, *, root: int = 0, counts: Any = None, out: Any = None) -> Any:
    """Sends from the root as if ranks were counted from it: everybody gets the block of another one."""
    mine = collectives.linear_scatter(comm, x, root=root, counts=counts, out=out)
    return comm.sendrecv(mine, (comm.rank + root) % comm.size, source=(comm.rank - root) % comm.size)


def scatter_down_a_tree_of_wrapped_peers(
    comm: Any, x: Any, *, root: int = 0, counts: Any = None, out: Any = None
) -> Any:
    """Right, but the root sends something more to a rank that never receives it."""
    if comm.rank == root and comm.size & (comm.size - 1):
        comm.Send(np.zeros(1), (root + 4) % comm.size)
    return collectives.binomial_scatter(comm, x, root=root, counts=counts, out=out)


SCATTERS = [scatter_from_rank_0, scatter_down_a_tree_of_wrapped_peers]

# -- scan ------------------------------------------------------------------------------------------------------


def scan_that_wraps_around(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Low ranks take in what comes from the highest ones."""
    result, came = np.array(x), np.empty_like(x)
    distance = 1
    while distance < comm.size:
        to, source = (comm.rank + distance) % comm.size, (comm.rank - distance) % comm.size
        comm.Sendrecv(result, to, 0, came, source)
        result = np.asarray(op(came, result))
        distance *= 2
    return result


def exscan_instead_of_scan(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Leaves out the rank itself."""
    return collectives.linear_exscan(comm, x, op, out=out)


def scan_with_left_and_right_changed(comm: Any, x: Any, op: Any = np.add, *, out: Any = None) -> Any:
    """Right for ops that commute."""
    return collectives.linear_scan(comm, x, lambda a, b: op(b, a), out=out)


SCANS = [scan_that_wraps_around, exscan_instead_of_scan]


def exscan_whose_rank_0_gets_its_own(comm: Any, x: Any, op: Any = np.add, *, first: Any = None, out: Any = None) -> Any:
    """What MPI leaves undefined is whatever was in the buffer."""
    result = collectives.linear_exscan(comm, x, op, first=first, out=out)
    return np.array(x) if comm.rank == 0 else result


def scan_instead_of_exscan(comm: Any, x: Any, op: Any = np.add, *, first: Any = None, out: Any = None) -> Any:
    """Takes in the rank itself."""
    return collectives.linear_scan(comm, x, op, out=out)


EXSCANS = [exscan_whose_rank_0_gets_its_own, scan_instead_of_exscan]
