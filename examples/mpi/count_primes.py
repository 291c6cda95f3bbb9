"""How many primes are below a number, if each rank sieves a piece of the line?

Each rank sieves its piece; `allreduce` adds up the counts, and finds the largest prime.

    $ python -m mpi -n 3 examples/mpi/count_primes.py
    1,229 primes below 10,000, the last one 9,973
"""

import math

import numpy as np
from mpi4py import MPI

BELOW = 10_000

comm = MPI.COMM_WORLD
first = max(2, BELOW * comm.rank // comm.size)
end = BELOW * (comm.rank + 1) // comm.size

is_prime = np.ones(max(0, end - first), bool)
for factor in range(2, math.isqrt(BELOW) + 1):
    start = max(factor * factor, -(-first // factor) * factor)
    is_prime[start - first :: factor] = False
own = np.flatnonzero(is_prime) + first

count = comm.allreduce(len(own))
largest = comm.allreduce(int(own[-1]) if len(own) else 0, op=MPI.MAX)
if comm.rank == 0:
    print(f"{count:,} primes below {BELOW:,}, the last one {largest:,}")
