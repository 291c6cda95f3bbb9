"""How do I write a program that runs on simulated ranks and, unchanged, on real MPI?

    $ python examples/distributed_sort.py
    3 simulated ranks: 300 numbers in order

    $ mpiexec -n 2 python -m mpi4py examples/distributed_sort.py
    2 MPI processes: 200 numbers in order

`-m mpi4py` lets a process that raises end the others; without it, they would wait for that process for ever. With
--launch, the program starts its own processes. They end when it ends, however that happens.
"""

import sys

import numpy as np

import ranks
from collectives import allreduce
from ranks import real
from sorting import partition_sort


def program(comm, n):
    """Return whether all ranks' numbers are in order once they are sorted; each rank draws n of them."""
    mine = np.random.default_rng(comm.rank).standard_normal(n)
    block = partition_sort(comm, mine)
    first_of_right = comm.sendrecv(block[0], (comm.rank - 1) % comm.size, source=(comm.rank + 1) % comm.size)
    is_last = comm.rank == comm.size - 1
    in_order = np.all(block[:-1] <= block[1:]) and (is_last or block[-1] <= first_of_right)
    return bool(allreduce(comm, np.array([in_order]), np.logical_and)[0])


if __name__ == "__main__":
    if real.under_mpi():  # this process is one of those that mpiexec has started
        comm = real.world()  # mpi4py.MPI.COMM_WORLD
        in_order, p, kind = program(comm, 100), comm.size, "MPI processes"
        if comm.rank > 0:
            sys.exit()
    elif "--launch" in sys.argv:
        sys.exit(real.launch(2, [__file__], capture=False).returncode)
    else:
        p, kind = 3, "simulated ranks"
        in_order = all(ranks.run(program, p, 100).results)
    print(f"{p} {kind}: {100 * p} numbers {'in order' if in_order else 'OUT OF ORDER'}")
