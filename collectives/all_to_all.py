"""All-to-all: rank s has a block for each rank d, and each rank d gets its blocks from all ranks s, in rank order.

Linear and pairwise send every block straight to its destination, p-1 messages a rank. Bruck sends blocks on through
other ranks: few rounds, but each block travels as often as its distance has ones in binary.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds
from collectives.kit import Out, algorithm, cost_of, new_tag
from loggp import Cost, Machine, Rounds, can_be_played, cost_in_step, cost_of_rounds, serve_in_turn
from loggp.patterns import shift
from ranks import mpi_of

_TAG = new_tag()


@algorithm("alltoall")
def linear_alltoall(comm: Any, x: Array, *, out: Out = None) -> Array:
    """Return block `rank` of the `x` of every rank of `comm`, in rank order; all messages are posted at once.

        ranks.run(lambda comm: linear_alltoall(comm, np.arange(3) + 10 * comm.rank), 3).results
        # [array([ 0, 10, 20]), array([ 1, 11, 21]), array([ 2, 12, 22])]

    Shape:   x (p, ...), the same on all ranks -> same shape: result[s] is x[rank] of rank s. `x` is kept unless out
             overlaps it.
    Cost:    each rank sends p-1 messages, (p-1)/p n bytes in all. No message waits for another, so the time is about
             alpha + (p-1)/p n beta.
    Raises:  TypeError, ValueError if x or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    bounds = block_bounds(x.size, comm.size)
    return exchange_at_once("linear_alltoall", comm, x, bounds, out, bounds)


@algorithm("alltoall")
def pairwise_alltoall(comm: Any, x: Array, *, out: Out = None) -> Array:
    """Return block `rank` of the `x` of every rank of `comm`, in rank order; step s goes from rank-s to rank+s.

        ranks.run(lambda comm: pairwise_alltoall(comm, np.arange(3) + 10 * comm.rank), 3).results
        # [array([ 0, 10, 20]), array([ 1, 11, 21]), array([ 2, 12, 22])]

    Shape:   x (p, ...), the same on all ranks -> same shape: result[s] is x[rank] of rank s. `x` is kept unless out
             overlaps it.
    Cost:    each rank sends p-1 messages, (p-1)/p n bytes in all, which is the minimum. The time is
             (p-1)(alpha + n/p beta).
    Raises:  TypeError, ValueError if x or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Thakur, Rabenseifner, Gropp, IJHPCA 19(1), 2005.
    """
    bounds = block_bounds(x.size, comm.size)
    return exchange_in_turn("pairwise_alltoall", comm, x, bounds, out, bounds)


@algorithm("alltoall")
def bruck_alltoall(comm: Any, x: Array, *, out: Out = None) -> Array:
    """Return block `rank` of the `x` of every rank of `comm`, in rank order; in few rounds, through other ranks.

        ranks.run(lambda comm: bruck_alltoall(comm, np.arange(3) + 10 * comm.rank), 3).results
        # [array([ 0, 10, 20]), array([ 1, 11, 21]), array([ 2, 12, 22])]

    Shape:   x (p, ...), the same on all ranks -> same shape: result[s] is x[rank] of rank s. `x` is kept unless out
             overlaps it.
    Cost:    each rank sends ceil(lg p) messages. The time is lg p (alpha + n/2 beta) if p is a power of two.
    Raises:  TypeError, ValueError if x or out do not fit; CollectiveMismatchError if simulated ranks differ.
    Source:  Bruck, Ho, Kipnis, Upfal, Weathersby, IEEE TPDS 8(11), 1997.
    """
    bounds = block_bounds(x.size, comm.size)
    return exchange_by_bruck("bruck_alltoall", comm, x, bounds, out, bounds)


# -- exchanges: blocks of one flat array, cut at `bounds`, to blocks of another --------------------------------------


def exchange_in_turn(who: str, comm: Any, x: Array, bounds: list[int], came: Array, came_bounds: list[int]) -> Array:
    """Send block d of `x` to each rank d and receive block s of `came` from each s, one pair after the other."""
    p, rank = comm.size, comm.rank
    status = mpi_of(comm).Status()
    came[came_bounds[rank] : came_bounds[rank + 1]] = x[bounds[rank] : bounds[rank + 1]]
    for step in range(1, p):
        dest, source = (rank + step) % p, (rank - step) % p
        block, target = x[bounds[dest] : bounds[dest + 1]], came[came_bounds[source] : came_bounds[source + 1]]
        comm.Sendrecv(block, dest, _TAG, target, source, _TAG, status)
        _check_came(who, comm, source, target, status)
    return came


def exchange_at_once(who: str, comm: Any, x: Array, bounds: list[int], came: Array, came_bounds: list[int]) -> Array:
    """Do what exchange_in_turn does, with all messages under way at the same time."""
    p, rank, mpi = comm.size, comm.rank, mpi_of(comm)
    came[came_bounds[rank] : came_bounds[rank + 1]] = x[bounds[rank] : bounds[rank + 1]]
    # A rank sends to more distant ranks later, so no two ranks send to the same one at the same time.
    sources = [(rank - step) % p for step in range(1, p)]
    dests = [(rank + step) % p for step in range(1, p)]
    targets = [came[came_bounds[source] : came_bounds[source + 1]] for source in sources]
    receives = [comm.Irecv(target, source, _TAG) for target, source in zip(targets, sources, strict=True)]
    sends = [comm.Isend(x[bounds[dest] : bounds[dest + 1]], dest, _TAG) for dest in dests]
    statuses = [mpi.Status() for _ in receives]
    mpi.Request.Waitall(receives, statuses)
    mpi.Request.Waitall(sends)
    for source, target, status in zip(sources, targets, statuses, strict=True):
        _check_came(who, comm, source, target, status)
    return came


def _check_came(who: str, comm: Any, source: int, target: Array, status: Any) -> None:
    """Raise ValueError if a message was shorter than its place: MPI itself only refuses longer ones."""
    if status.Get_count() != target.nbytes:
        raise ValueError(
            f"{who}: got {status.Get_count()} bytes from rank {source} on rank {comm.rank}, expected {target.nbytes}; "
            "remedy: let this rank expect the sizes that the other sends"
        )


def exchange_by_bruck(who: str, comm: Any, x: Array, bounds: list[int], came: Array, came_bounds: list[int]) -> Array:
    """Do what exchange_in_turn does, for blocks that are all of one size, passing them on through other ranks."""
    p, rank = comm.size, comm.rank
    blocks, index = x.reshape(p, bounds[1]), np.arange(p)
    # Row i is for rank+i at first. It travels right by the ones of i in binary, and is from rank-i at last.
    rows = blocks[(rank + index) % p]
    distance = 1
    while distance < p:
        moving = index & distance != 0
        sent = rows[moving]
        arrived = np.empty_like(sent)
        dest, source = (rank + distance) % p, (rank - distance) % p
        comm.Sendrecv(sent.reshape(-1), dest, _TAG, arrived.reshape(-1), source, _TAG)
        rows[moving] = arrived
        distance *= 2
    came.reshape(p, bounds[1])[(rank - index) % p] = rows
    return came


# -- costs ---------------------------------------------------------------------------------------------------------


@cost_of(linear_alltoall)
def linear_alltoall_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Where all links are alike, messages queue at their sender's port alone, and each finds its receiver's free."""
    p, n_bytes = machine.p, n_items // machine.p * itemsize
    time_ps = None
    if p == 1 or machine.is_exact():
        network, o = machine.network, machine.network.overhead_ps
        link = machine.link(0, p - 1)
        transfer_ps = link.transfer_ps(n_bytes)
        slot_ps = max(o, transfer_ps) if network.ports else o
        # The last message arrives, or all were there and the receiver is busy taking them.
        time_ps = max(2 * (p - 1) * o, 2 * o + (p - 2) * slot_ps + link.latency_ps + transfer_ps) if p > 1 else 0
    elif can_be_played(n_rounds=p - 1) and not machine.network.jitter_ps:
        time_ps = _all_at_once_ps(machine, n_bytes)
    about_ps = machine.slowest_ps(0) + _port_ps(machine, n_bytes)
    return Cost(min(p - 1, 1), [p - 1] * p, [(p - 1) * n_bytes] * p, time_ps, time_ps, about_ps)


def _port_ps(machine: Machine, n_bytes: int) -> int:
    """Return how long the busiest port is, with n_bytes from each rank to each other one."""
    width = machine.nodes.count(machine.nodes[0])
    far_ps = (machine.p - width) * machine.network.inter.transfer_ps(n_bytes)
    own_ps = (width - 1) * machine.network.intra.transfer_ps(n_bytes) + far_ps
    return max(own_ps, width * far_ps) if machine.network.shared_node_port else own_ps


def _all_at_once_ps(machine: Machine, n_bytes: int) -> int:
    """Return when all ranks have all messages, on any network: ports serve them in order, and none waits for another.

    A schedule does not say it: messages are taken as they come, not in the order of ranks.
    """
    p, network, o = machine.p, machine.network, machine.network.overhead_ps
    nodes = np.unique(machine.nodes, return_inverse=True)[1]
    source, step = np.repeat(np.arange(p), p - 1), np.tile(np.arange(1, p), p)
    dest = (source + step) % p
    is_far = nodes[source] != nodes[dest]
    latency_ps = np.where(is_far, network.inter.latency_ps, network.intra.latency_ps)
    transfer_ps = np.where(is_far, network.inter.transfer_ps(n_bytes), network.intra.transfer_ps(n_bytes))

    def serve(free_ps: Array, port: Array, time_ps: Array, busy_ps: Array) -> Array:
        order, begin_ps = np.lexsort((time_ps, port)), np.empty_like(time_ps)
        begin_ps[order] = serve_in_turn(free_ps, port[order], time_ps[order], busy_ps[order])
        return begin_ps

    def through_ports(rank: Array, time_ps: Array) -> Array:
        port = np.where(is_far & network.shared_node_port, p + nodes[rank], rank)
        return serve(np.zeros(2 * p, np.int64), port, time_ps, transfer_ps) if network.ports else time_ps

    left_ps = through_ports(source, step * o) + transfer_ps
    arrival_ps = through_ports(dest, left_ps - transfer_ps + latency_ps) + transfer_ps
    ends_ps = np.full(p, (p - 1) * o)
    serve(ends_ps, dest, arrival_ps, np.full(dest.size, o))
    return int(ends_ps.max() if machine.is_eager(n_bytes) else max(ends_ps.max(), left_ps.max()))


@cost_of(pairwise_alltoall)
def pairwise_alltoall_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Where all links are alike, ranks stay in step."""
    p, n_bytes = machine.p, n_items // machine.p * itemsize
    if machine.is_exact():
        return cost_in_step(machine, [(n_bytes, 0)] * (p - 1))
    if can_be_played(n_rounds=p - 1):
        return cost_of_rounds(machine, Rounds.of(p, [shift(p, step, n_bytes) for step in range(1, p)], n_bytes))
    about_ps = (p - 1) * machine.slowest_ps(0) + _port_ps(machine, n_bytes)
    return Cost(p - 1, [p - 1] * p, [(p - 1) * n_bytes] * p, None, None, about_ps)


@cost_of(bruck_alltoall)
def bruck_alltoall_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """The rounds of exchange_by_bruck, in each of which the same number of blocks moves everywhere."""
    p, n_bytes = machine.p, n_items // machine.p * itemsize
    distances = [1 << k for k in range((p - 1).bit_length())]
    sizes = [n_bytes * (p // (2 * d) * d + max(0, p % (2 * d) - d)) for d in distances]
    if machine.is_exact():
        return cost_in_step(machine, [(size, 0) for size in sizes])
    rounds = [shift(p, distance, size) for distance, size in zip(distances, sizes, strict=True)]
    return cost_of_rounds(machine, Rounds.of(p, rounds, n_items * itemsize))
