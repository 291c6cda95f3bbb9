"""How long does a message take, as the OSU latency test measures it?

The times are those of the simulated network; real MPI prints its own.

    $ python -m mpi -n 2 examples/mpi/latency.py
    # bytes  microseconds
          1          2.70
         16          2.70
        256          2.72
       4096          3.04
      65536          8.16
"""

import numpy as np
from mpi4py import MPI

SKIP, ROUNDS = 5, 50

comm = MPI.COMM_WORLD
if comm.size != 2:
    raise SystemExit(f"got {comm.size} ranks, expected 2")
if comm.rank == 0:
    print("# bytes  microseconds")
for size in (1, 16, 256, 4096, 65536):
    sent, received = np.zeros(size, "B"), np.empty(size, "B")
    comm.Barrier()
    for number in range(SKIP + ROUNDS):
        if number == SKIP:
            began = MPI.Wtime()
        if comm.rank == 0:
            comm.Send([sent, MPI.BYTE], dest=1, tag=1)
            comm.Recv([received, MPI.BYTE], source=1, tag=1)
        else:
            comm.Recv([received, MPI.BYTE], source=0, tag=1)
            comm.Send([sent, MPI.BYTE], dest=0, tag=1)
    took = MPI.Wtime() - began
    if comm.rank == 0:
        print(f"{size:7}{took / (2 * ROUNDS) * 1e6:14.2f}")
