"""Does a glider cross the borders when each rank holds some rows of the world?

Each rank has some rows, and borders of its neighbours' rows, which `Sendrecv` keeps up to date.

    $ python -m mpi -n 4 examples/mpi/game_of_life.py
    ............
    ............
    ............
    ............
    ............
    ......#.....
    .......#....
    .....###....
    ............
    ............
    ............
    ............
"""

import numpy as np
from mpi4py import MPI

SIZE, STEPS = 12, 20

comm = MPI.COMM_WORLD
up, down = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
world = np.zeros((SIZE, SIZE), "i4")
for row, column in ((0, 1), (1, 2), (2, 0), (2, 1), (2, 2)):
    world[row, column] = 1

ends = [SIZE * rank // comm.size for rank in range(comm.size + 1)]
cells = np.zeros((ends[comm.rank + 1] - ends[comm.rank] + 2, SIZE), "i4")
cells[1:-1] = world[ends[comm.rank] : ends[comm.rank + 1]]
for _ in range(STEPS):
    comm.Sendrecv(cells[1], dest=up, recvbuf=cells[-1], source=down)
    comm.Sendrecv(cells[-2], dest=down, recvbuf=cells[0], source=up)
    rows = cells + np.roll(cells, 1, axis=1) + np.roll(cells, -1, axis=1)
    around = rows[:-2] + rows[1:-1] + rows[2:] - cells[1:-1]
    cells[1:-1] = (around == 3) | ((around == 2) & (cells[1:-1] == 1))

whole = comm.gather(cells[1:-1], root=0)
if comm.rank == 0:
    for row in np.concatenate(whole):
        print("".join(".#"[cell] for cell in row))
