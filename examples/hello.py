"""Who is there, and how do ranks talk to each other?

`ranks.run` calls the program once for each rank, with that rank's communicator. All ranks live in this process.

    $ python examples/hello.py
    rank 0 hears: hello from 1, hello from 2, hello from 3
    rank 3 hears: welcome, all 4 of you
    6.2 µs of virtual time, 6 messages
"""

import ranks


def program(comm):
    """Return what this rank hears: rank 0 hears each other one, and they hear rank 0."""
    if comm.rank > 0:
        comm.send(f"hello from {comm.rank}", 0)
        return comm.recv(source=0)
    heard = [comm.recv(source=other) for other in range(1, comm.size)]
    for other in range(1, comm.size):
        comm.send(f"welcome, all {comm.size} of you", other)
    return ", ".join(heard)


if __name__ == "__main__":
    run = ranks.run(program, 4)
    for rank in (0, 3):
        print(f"rank {rank} hears: {run.results[rank]}")
    print(f"{run.time_ps / 1e6:.1f} µs of virtual time, {sum(run.sends)} messages")
