"""What does the Mandelbrot set look like, if each rank draws every p-th row?

Rows in the middle take longer than those at the edge; dealt out like cards, they are shared fairly.

    $ python -m mpi -n 4 examples/mpi/mandelbrot.py
                                             ..:...
                                           .....:=:...
                                       ......:@@@@@=:.....
                                  ...::::.::::-@@@@-:::....:..
                           ...........-@@@@@@@@@@@@@@@@@@@@+:..
                     ..:...........:-@@@@@@@@@@@@@@@@@@@@@@@::..
                 ......::@@++@==:::@@@@@@@@@@@@@@@@@@@@@@@@@#...
              ......:::-@@@@@@@@@@+@@@@@@@@@@@@@@@@@@@@@@@@@@...
       @@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@::....
              ......:::-@@@@@@@@@@+@@@@@@@@@@@@@@@@@@@@@@@@@@...
                 ......::@@++@==:::@@@@@@@@@@@@@@@@@@@@@@@@@#...
                     ..:...........:-@@@@@@@@@@@@@@@@@@@@@@@::..
                           ...........-@@@@@@@@@@@@@@@@@@@@+:..
                                  ...::::.::::-@@@@-:::....:..
                                       ......:@@@@@=:.....
                                           .....:=:...
                                             ..:...
"""

import numpy as np
from mpi4py import MPI

WIDTH, HEIGHT, STEPS = 64, 17, 40


def row(y):
    """Return a row of the picture: after how many steps each point has left."""
    c = np.linspace(-2.1, 0.7, WIDTH) + 1j * y
    z, steps = np.zeros_like(c), np.zeros(WIDTH, int)
    for _ in range(STEPS):
        inside = np.abs(z) <= 2
        z[inside] = z[inside] ** 2 + c[inside]
        steps += inside
    return steps


comm = MPI.COMM_WORLD
ys = np.linspace(-1.1, 1.1, HEIGHT)
mine = [(number, row(ys[number])) for number in range(comm.rank, HEIGHT, comm.size)]
parts = comm.gather(mine, root=0)
if comm.rank == 0:
    for _, steps in sorted((each for part in parts for each in part), key=lambda part: part[0]):
        print("".join(" .:-=+*#%@"[min(9, s * 10 // (STEPS + 1))] for s in steps).rstrip())
