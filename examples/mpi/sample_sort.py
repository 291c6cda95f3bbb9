"""How do ranks sort numbers that none of them could hold alone?

Samples decide which numbers go where, and `Alltoallv` takes them there.

    $ python -m mpi -n 4 examples/mpi/sample_sort.py
    4,000 numbers are sorted, none is lost; the largest share is 1.02 times the mean
"""

import numpy as np
from mpi4py import MPI

N, OVERSAMPLING = 1000, 32

comm = MPI.COMM_WORLD
p = comm.size
x = np.sort(np.random.default_rng(comm.rank).integers(0, 10**6, N))

samples = np.sort(np.concatenate(comm.allgather(x[:: max(1, N // OVERSAMPLING)])))
splitters = samples[np.arange(1, p) * len(samples) // p]
ends = np.searchsorted(x, [*splitters, 10**6])
counts = np.diff(ends, prepend=0)

from_others = np.empty(p, counts.dtype)
comm.Alltoall(counts, from_others)
mine = np.empty(from_others.sum(), x.dtype)
comm.Alltoallv([x, counts], [mine, from_others])
mine.sort()

shares = comm.gather(mine, root=0)
before = comm.gather(x, root=0)
if comm.rank == 0:
    is_right = np.array_equal(np.concatenate(shares), np.sort(np.concatenate(before)))
    imbalance = max(map(len, shares)) / N
    print(f"{N * p:,} numbers are {'sorted, none is lost' if is_right else 'wrong'}; ", end="")
    print(f"the largest share is {imbalance:.2f} times the mean")
