"""Collective operations by hand, from sends and receives alone: on simulated ranks and on real MPI.

    import numpy as np, ranks
    from collectives import ring_allreduce

    ranks.run(lambda comm: ring_allreduce(comm, np.array([comm.rank + 1])), 3).results
    # [array([6]), array([6]), array([6])]

Letters: p ranks, n bytes on each rank, alpha seconds a message, beta seconds a byte, gamma seconds a reduced byte.
"""

from collectives.all_to_all import bruck_alltoall, linear_alltoall, pairwise_alltoall
from collectives.alltoallv import alltoall, alltoallv
from collectives.barriers import butterfly_barrier, central_barrier, dissemination_barrier
from collectives.catalogue import CATALOGUE, Algorithm, cost
from collectives.costs import Cost, Machine
from collectives.naive import naive_allreduce
from collectives.reduction import commutative
from collectives.ring import ring_allgather, ring_allreduce, ring_reduce_scatter
from collectives.schedules import Step, scheduled_cost

__all__ = [
    "CATALOGUE",
    "Algorithm",
    "Cost",
    "Machine",
    "Step",
    "alltoall",
    "alltoallv",
    "bruck_alltoall",
    "butterfly_barrier",
    "central_barrier",
    "commutative",
    "cost",
    "dissemination_barrier",
    "linear_alltoall",
    "naive_allreduce",
    "pairwise_alltoall",
    "ring_allgather",
    "ring_allreduce",
    "ring_reduce_scatter",
    "scheduled_cost",
]
