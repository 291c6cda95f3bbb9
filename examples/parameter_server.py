"""Does training with a parameter server depend on whose gradient comes first?

One run shows one order. `ranks.explore` tries every order that can differ, and has a replay for each outcome.

    $ python examples/parameter_server.py
    at_once: holds, different results: 6, weights 4.25 4.625 5.0 5.9375
    in_rounds: holds, different results: 1, weights 5.5
"""

import ranks

TARGETS = {1: 8.0, 2: -4.0}  # where the loss of each worker, (w - target)^2 / 2, is least
ROUNDS, RATE = 2, 0.25


def program(comm, server):
    """Return the weight that this rank has at the end; rank 0 is the server."""
    if comm.rank == 0:
        return server(comm)
    for _ in range(ROUNDS):
        gradient = comm.recv(source=0) - TARGETS[comm.rank]
        comm.send(gradient, 0)
    return comm.recv(source=0)


def at_once(comm):
    """Apply each gradient when it comes, and answer its worker."""
    mpi = ranks.mpi_of(comm)  # whose names fit: `ranks`, or mpi4py.MPI on real MPI
    weight, status = 16.0, mpi.Status()
    for worker in range(1, comm.size):
        comm.send(weight, worker)
    for _ in range(ROUNDS * (comm.size - 1)):
        weight -= RATE * comm.recv(source=mpi.ANY_SOURCE, status=status)
        comm.send(weight, status.Get_source())
    return weight


def in_rounds(comm):
    """Apply the sum of all workers' gradients, then answer all."""
    weight = 16.0
    for _ in range(ROUNDS):
        for worker in range(1, comm.size):
            comm.send(weight, worker)
        weight -= RATE * sum(comm.recv() for _ in range(1, comm.size))
    for worker in range(1, comm.size):
        comm.send(weight, worker)
    return weight


if __name__ == "__main__":
    for server in (at_once, in_rounds):
        found = ranks.explore(program, 3, server)  # "holds" says that no order fails, not that all agree
        weights = sorted({outcome.results[0] for outcome in found.outcomes})
        print(f"{server.__name__}: {found.verdict}, different results: {len(found.outcomes)}, weights", *weights)
        for outcome in found.outcomes:
            assert ranks.run(program, 3, server, replay=outcome.replay).results == outcome.results
