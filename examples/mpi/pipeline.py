"""How does work flow through stages, each of which is a rank?

`isend` passes an item on while the next one is read.

    $ python -m mpi -n 4 examples/mpi/pipeline.py
    item 0: read, parsed by 1, parsed by 2, written by 3
    item 1: read, parsed by 1, parsed by 2, written by 3
    item 2: read, parsed by 1, parsed by 2, written by 3
"""

from mpi4py import MPI

ITEMS = 3

comm = MPI.COMM_WORLD
first, last = comm.rank == 0, comm.rank == comm.size - 1
requests = []
for number in range(ITEMS):
    item = f"item {number}: read" if first else comm.recv(source=comm.rank - 1, tag=number)
    if not first:
        item += f", {'written' if last else 'parsed'} by {comm.rank}"
    if last:
        print(item)
    else:
        requests.append(comm.isend(item, dest=comm.rank + 1, tag=number))
MPI.Request.waitall(requests)
