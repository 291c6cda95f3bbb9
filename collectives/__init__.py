"""Collective operations by hand, from sends and receives alone: on simulated ranks and on real MPI.

    import numpy as np, ranks
    from collectives import ring_allreduce

    ranks.run(lambda comm: ring_allreduce(comm, np.array([comm.rank + 1])), 3).results
    # [array([6]), array([6]), array([6])]

`collectives.arrays` cuts arrays into blocks as all algorithms here do; `calls.py` has the code with which all of them
begin and end.

Letters: p ranks, n bytes on each rank, alpha seconds a message, beta seconds a byte, gamma seconds a reduced byte.
"""

# Algorithms enter the catalogue in this order; the first of several equally fast ones is chosen.
# isort: off
from loggp import Cost, Machine, Step, scheduled_cost
from collectives.naive import naive_allreduce
from collectives.ring import ring_allgather, ring_allreduce, ring_reduce_scatter
from collectives.reduce import binomial_reduce
from collectives.barriers import (
    butterfly_barrier,
    central_barrier,
    dissemination_barrier,
    tournament_barrier,
    tree_barrier,
)
from collectives.halving import halving_doubling_allreduce, rabenseifner_reduce, recursive_doubling_allreduce
from collectives.shared import flag_barrier, shared_allreduce, staged_allreduce
from collectives.segmented import segmented_ring_allreduce
from collectives.bcube import bcube_allreduce
from collectives.two_level import two_level_allreduce
from collectives.double_tree import double_tree_allreduce
from collectives.broadcast import binomial_broadcast, chain_broadcast, scatter_allgather_broadcast
from collectives.reduce_scatter import pairwise_reduce_scatter, recursive_halving_reduce_scatter
from collectives.allgather import bruck_allgather, neighbour_exchange_allgather, recursive_doubling_allgather
from collectives.gather import binomial_gather, binomial_scatter, linear_gather, linear_scatter
from collectives.all_to_all import bruck_alltoall, linear_alltoall, pairwise_alltoall
from collectives.scan import linear_exscan, linear_scan, recursive_doubling_exscan, recursive_doubling_scan

# isort: on
from collectives.alltoallv import alltoall, alltoallv
from collectives.catalogue import CATALOGUE, Algorithm, cost
from collectives.choice import Choice, choose, explain, machine_of
from collectives.nonblocking import iallreduce, ialltoall, ibroadcast
from collectives.operations import (
    allgather,
    allreduce,
    barrier,
    broadcast,
    exscan,
    gather,
    reduce,
    reduce_scatter,
    scan,
    scatter,
)
from collectives.reduction import commutative

__all__ = [
    "CATALOGUE", "Algorithm", "Choice", "Cost", "Machine", "Step", "allgather", "allreduce", "alltoall",
    "alltoallv", "barrier", "bcube_allreduce", "binomial_broadcast", "binomial_gather", "binomial_reduce",
    "binomial_scatter", "broadcast", "bruck_allgather", "bruck_alltoall", "butterfly_barrier", "central_barrier",
    "chain_broadcast", "choose", "commutative", "cost", "dissemination_barrier", "double_tree_allreduce", "explain",
    "exscan", "flag_barrier", "gather", "halving_doubling_allreduce", "iallreduce", "ialltoall", "ibroadcast",
    "linear_alltoall", "linear_exscan", "linear_gather", "linear_scan", "linear_scatter", "machine_of",
    "naive_allreduce", "neighbour_exchange_allgather", "pairwise_alltoall", "pairwise_reduce_scatter",
    "rabenseifner_reduce", "recursive_doubling_allgather", "recursive_doubling_allreduce",
    "recursive_doubling_exscan", "recursive_doubling_scan", "recursive_halving_reduce_scatter", "reduce",
    "reduce_scatter", "ring_allgather", "ring_allreduce", "ring_reduce_scatter", "scan", "scatter",
    "scatter_allgather_broadcast", "scheduled_cost", "segmented_ring_allreduce", "shared_allreduce",
    "staged_allreduce", "tournament_barrier", "tree_barrier", "two_level_allreduce",
]  # fmt: skip
