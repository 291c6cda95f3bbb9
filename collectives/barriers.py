"""Barriers: no rank leaves before every rank has entered. Messages carry no data; only that they come matters."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import check_root
from collectives.costs import Cost, Machine
from collectives.naive import naive_allreduce_cost
from ranks import announce

_DISSEMINATION, _CENTRAL_IN, _CENTRAL_OUT, _BUTTERFLY = 32_021, 32_022, 32_023, 32_024


def dissemination_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered, with no centre and for any p.

        ranks.run(dissemination_barrier, 5).sends  # [3, 3, 3, 3, 3]

    Cost:    ceil(lg p) rounds, one send a rank in each; ceil(lg p) alpha.
    Source:  Hensgen, Finkel, Manber, Int. J. Parallel Programming 17(1), 1988.
    """
    announce(comm, "dissemination_barrier")
    p, rank = comm.size, comm.rank
    nothing = np.empty(0, np.uint8)
    distance = 1
    while distance < p:
        # Here it is known that ranks rank-distance+1 ... rank have entered; each round doubles their number.
        to, back = (rank + distance) % p, (rank - distance) % p
        comm.Sendrecv(nothing, to, _DISSEMINATION, nothing, back, _DISSEMINATION)
        distance *= 2


def central_barrier(comm: Any, root: int = 0) -> None:
    """Wait until all ranks of `comm` have entered: `root` counts them, then lets them go.

        ranks.run(central_barrier, 5).sends  # [4, 1, 1, 1, 1]

    Cost:    2(p-1) messages, all through the root: 2(L + p o), p > 1.
    Raises:  ValueError if root is no rank of comm.
    """
    p, rank = comm.size, comm.rank
    check_root("central_barrier", root, p)
    announce(comm, "central_barrier", root=root)
    nothing = np.empty(0, np.uint8)
    if rank != root:
        comm.Send(nothing, root, _CENTRAL_IN)
        comm.Recv(nothing, root, _CENTRAL_OUT)
        return
    others = [other for other in range(p) if other != root]
    for other in others:
        comm.Recv(nothing, other, _CENTRAL_IN)
    for other in others:
        comm.Send(nothing, other, _CENTRAL_OUT)


def butterfly_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm` have entered, by exchanges with partners at distances 1, 2, 4, ...

        ranks.run(butterfly_barrier, 4).sends  # [2, 2, 2, 2]

    If p is no power of two, the next one, q, is made up by virtual ranks: rank v - p plays rank v too.

    Cost:    ceil(lg p) rounds, one send a rank and virtual rank in each; lg p alpha if p is a power of two.
    Source:  Brooks, Int. J. Parallel Programming 15(4), 1986.
    """
    announce(comm, "butterfly_barrier")
    p, rank = comm.size, comm.rank
    nothing = np.empty(0, np.uint8)
    q = 1 << (p - 1).bit_length()
    played = [rank, rank + p] if rank + p < q else [rank]
    distance = 1
    while distance < q:
        # Virtual rank v knows of all that differ from it in the bits below `distance`, and tells v ^ distance.
        partners = [(v ^ distance) % p for v in played]
        others = [partner for partner in partners if partner != rank]
        requests = [comm.Isend(nothing, partner, _BUTTERFLY) for partner in others]
        for partner in others:
            comm.Recv(nothing, partner, _BUTTERFLY)
        for request in requests:
            request.Wait()
        distance *= 2


# -- costs: n_items and itemsize are there because every formula has them ------------------------------------------


def dissemination_barrier_cost(machine: Machine, n_items: int = 0, itemsize: int = 1) -> Cost:
    """Return the cost of `dissemination_barrier`."""
    p = machine.p
    rounds = (p - 1).bit_length()
    at_most_ps = rounds * machine.slowest_ps(0)
    return Cost(rounds, [rounds] * p, [0] * p, at_most_ps if machine.is_exact() else None, at_most_ps)


def central_barrier_cost(machine: Machine, n_items: int = 0, itemsize: int = 1) -> Cost:
    """Return the cost of `central_barrier`: that of reducing nothing through the root."""
    return naive_allreduce_cost(machine, 0, 1)


def butterfly_barrier_cost(machine: Machine, n_items: int = 0, itemsize: int = 1) -> Cost:
    """Return the cost of `butterfly_barrier`.

    A rank that plays a virtual one has two partners in a round, so time is claimed for powers of two only.
    """
    p = machine.p
    rounds = (p - 1).bit_length()
    q = 1 << rounds
    sends = [sum((v ^ (1 << k)) % p != rank for v in range(rank, q, p) for k in range(rounds)) for rank in range(p)]
    exact = rounds * machine.slowest_ps(0) if p == q and machine.is_exact() else None
    return Cost(rounds, sends, [0] * p, exact, exact)
