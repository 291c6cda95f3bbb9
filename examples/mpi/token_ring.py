"""Does a token that goes around a ring come back with a stamp from every rank?

Rank 0 begins with `sendrecv`; all others receive before they send, so that nobody waits for ever.

    $ python -m mpi -n 5 examples/mpi/token_ring.py
    round 1: stamps of ranks [0, 1, 2, 3, 4]
    round 2: stamps of ranks [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
"""

from mpi4py import MPI

comm = MPI.COMM_WORLD
left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size

token = []
for number in (1, 2):
    if comm.rank == 0:
        token = comm.sendrecv([*token, 0], dest=right, source=left)
        print(f"round {number}: stamps of ranks {token}")
    else:
        token = comm.recv(source=left)
        comm.send([*token, comm.rank], dest=right)
