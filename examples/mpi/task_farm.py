"""How do workers share tasks of different sizes without waiting for a slow worker?

The master sends a task to whoever answers, whom it learns from the `Status` of a receive from ANY_SOURCE.

    $ python -m mpi -n 4 examples/mpi/task_farm.py
    3 workers did 12 tasks: 1 1 2 6 24 120 720 5040 40320 362880 3628800 39916800
"""

import math

from mpi4py import MPI

TASKS = list(range(12))
WORK, STOP = 1, 2

comm = MPI.COMM_WORLD
status = MPI.Status()
if comm.size == 1:
    raise SystemExit("got 1 rank, expected 2 or more: a master and workers")

if comm.rank == 0:
    results, tasks = {}, iter(TASKS)
    n_busy = comm.size - 1
    while n_busy:
        answer = comm.recv(source=MPI.ANY_SOURCE, status=status)
        if answer is not None:
            results[answer[0]] = answer[1]
        task = next(tasks, None)
        if task is None:
            n_busy -= 1
        comm.send(task, dest=status.Get_source(), tag=STOP if task is None else WORK)
    print(f"{comm.size - 1} workers did {len(results)} tasks:", *(results[task] for task in TASKS))
else:
    answer = None  # the first message only asks for work
    while True:
        comm.send(answer, dest=0)
        task = comm.recv(source=0, status=status)
        if status.Get_tag() == STOP:
            break
        answer = task, math.factorial(task)
