"""How many bytes a second go over a link, as the OSU bandwidth test measures it?

Many `Isend` are under way at once, so that the latency is paid once.

    $ python -m mpi -n 2 examples/mpi/bandwidth.py
    # bytes       MB/s
       1024    1930.84
      16384    9621.62
     262144   11800.02
    1048576   11949.41
"""

import numpy as np
from mpi4py import MPI

WINDOW, ROUNDS = 16, 4

comm = MPI.COMM_WORLD
if comm.size != 2:
    raise SystemExit(f"got {comm.size} ranks, expected 2")
if comm.rank == 0:
    print("# bytes       MB/s")
for size in (1024, 16384, 262144, 1048576):
    data, done = np.zeros(size, "B"), np.zeros(1, "B")
    comm.Barrier()
    began = MPI.Wtime()
    for _ in range(ROUNDS):
        if comm.rank == 0:
            MPI.Request.Waitall([comm.Isend(data, dest=1) for _ in range(WINDOW)])
            comm.Recv(done, source=1)
        else:
            MPI.Request.Waitall([comm.Irecv(np.empty_like(data), source=0) for _ in range(WINDOW)])
            comm.Send(done, dest=0)
    took = MPI.Wtime() - began
    if comm.rank == 0:
        print(f"{size:7}{size * WINDOW * ROUNDS / took / 1e6:11.2f}")
