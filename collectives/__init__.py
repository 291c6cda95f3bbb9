"""Collective operations by hand, from sends and receives alone: on simulated ranks and on real MPI.

    import numpy as np, ranks
    from collectives import ring_allreduce

    ranks.run(lambda comm: ring_allreduce(comm, np.array([comm.rank + 1])), 3).results
    # [array([6]), array([6]), array([6])]

Letters: p ranks, n bytes on each rank, alpha seconds a message, beta seconds a byte, gamma seconds a reduced byte.
"""

from collectives.all_to_all import bruck_alltoall, linear_alltoall, pairwise_alltoall
from collectives.alltoallv import alltoall, alltoallv
from collectives.barriers import (
    butterfly_barrier,
    central_barrier,
    dissemination_barrier,
    tournament_barrier,
    tree_barrier,
)
from collectives.broadcast import binomial_broadcast, chain_broadcast, scatter_allgather_broadcast
from collectives.catalogue import CATALOGUE, Algorithm, cost
from collectives.costs import Cost, Machine
from collectives.halving import halving_doubling_allreduce, rabenseifner_reduce, recursive_doubling_allreduce
from collectives.naive import naive_allreduce
from collectives.reduce import binomial_reduce
from collectives.reduction import commutative
from collectives.ring import ring_allgather, ring_allreduce, ring_reduce_scatter
from collectives.schedules import Step, scheduled_cost
from collectives.shared import flag_barrier, shared_allreduce, staged_allreduce

__all__ = [
    "CATALOGUE",
    "Algorithm",
    "Cost",
    "Machine",
    "Step",
    "alltoall",
    "alltoallv",
    "binomial_broadcast",
    "binomial_reduce",
    "bruck_alltoall",
    "butterfly_barrier",
    "central_barrier",
    "chain_broadcast",
    "commutative",
    "cost",
    "dissemination_barrier",
    "flag_barrier",
    "halving_doubling_allreduce",
    "linear_alltoall",
    "naive_allreduce",
    "pairwise_alltoall",
    "rabenseifner_reduce",
    "recursive_doubling_allreduce",
    "ring_allgather",
    "ring_allreduce",
    "ring_reduce_scatter",
    "scatter_allgather_broadcast",
    "scheduled_cost",
    "shared_allreduce",
    "staged_allreduce",
    "tournament_barrier",
    "tree_barrier",
]
