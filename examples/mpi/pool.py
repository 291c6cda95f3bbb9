"""How do ranks work through a list of tasks if I write no message myself?

`mpi4py.futures` turns all ranks but the first into workers, and `map` gives each the next task when it is done.

    $ python -m mpi -n 4 -m mpi4py.futures examples/mpi/pool.py
    3 workers: 1 is 0, 27 is 111, 97 is 118, 871 is 178, 6171 is 261
"""

from mpi4py.futures import MPIPoolExecutor

STARTS = [1, 27, 97, 871, 6171]


def collatz_steps(n):
    """Return after how many steps n -> n/2 or 3n+1 comes to 1."""
    steps = 0
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        steps = executor.map(collatz_steps, STARTS)
        found = ", ".join(f"{start} is {n}" for start, n in zip(STARTS, steps, strict=True))
        print(f"{executor.num_workers} workers: {found}")
