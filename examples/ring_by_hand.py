"""How do all ranks get the sum of their numbers if each talks only to its two neighbours?

The first way relies on buffered sends. It hangs as soon as nobody buffers, and the report says why.

    $ python examples/ring_by_hand.py
    buffered:     [10, 10, 10, 10, 10]
    not buffered: ranks 0-4 wait for each other
    both at once: [10, 10, 10, 10, 10], 4 messages from each rank
"""

import numpy as np

import ranks


def send_first(comm):
    """Return the sum; every rank sends before it receives."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    passed, came = np.array([comm.rank]), np.empty(1, int)
    total = comm.rank
    for _ in range(comm.size - 1):
        comm.Send(passed, right)
        comm.Recv(came, left)
        total += int(came[0])
        passed, came = came, passed  # what came goes on to the right
    return total


def both_at_once(comm):
    """Return the sum; every rank sends and receives in one call, which needs no buffers."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    passed, came = np.array([comm.rank]), np.empty(1, int)
    total = comm.rank
    for _ in range(comm.size - 1):
        comm.Sendrecv(passed, right, recvbuf=came, source=left)
        total += int(came[0])
        passed, came = came, passed
    return total


if __name__ == "__main__":
    print("buffered:    ", ranks.run(send_first, 5).results)
    try:
        ranks.run(send_first, 5, buffering="none")
    except ranks.DeadlockError as error:
        print("not buffered:", str(error).partition(": ")[2].partition(" (")[0])  # print(error) shows all of it
    run = ranks.run(both_at_once, 5, buffering="none")
    print("both at once:", run.results, end=f", {run.sends[0]} messages from each rank\n")
