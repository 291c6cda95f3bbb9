"""Does an all-reduce of my own cost what I think it does?

Each array goes once round the ring. The schedule says so as data, and `scheduled_cost` works out what that takes; the
simulated clock must come to the same picosecond. NumPy's work takes no virtual time until the program charges for it:
`reduction_clock` charges for reduced bytes, `spend` for any other work.

    $ python examples/own_allreduce.py
    infiniband:   8 ranks,  23.9 µs as expected; ring_allreduce would take  39.0 µs
    dgx-h100:    16 ranks,  31.1 µs as expected; ring_allreduce would take  60.3 µs
    ethernet:     7 ranks, 158.7 µs as expected; ring_allreduce would take 251.0 µs
"""

import numpy as np

import ranks
from collectives import Machine, Step, cost, scheduled_cost

SCALE_PS = 250  # what dividing one element takes


def mean_of_all(comm, x):
    """Return the mean of `x` over all ranks."""
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    total, passed, came = x.copy(), x.copy(), np.empty_like(x)
    charge = ranks.reduction_clock(comm)  # None where there is nothing to charge, as on real MPI
    for _ in range(comm.size - 1):
        comm.Sendrecv(passed, right, recvbuf=came, source=left)
        total += came
        if charge:
            charge(came.nbytes)
        passed, came = came, passed
    ranks.spend(comm, x.size * SCALE_PS)
    return total / comm.size


def expected(network, p, x):
    """Return the bytes that ranks send, and how long all of it takes in picoseconds."""

    def steps(rank):
        return [Step((rank + 1) % p, x.nbytes, (rank - 1) % p, reduced=x.nbytes)] * (p - 1)

    found = scheduled_cost(Machine.of(network, p), steps)
    return found.bytes_sent, found.time_ps + x.size * SCALE_PS


if __name__ == "__main__":
    x = np.arange(1000)
    for name, p in (("infiniband", 8), ("dgx-h100", 16), ("ethernet", 7)):
        network = ranks.presets[name]
        run = ranks.run(mean_of_all, p, x, network=network)
        assert all(np.array_equal(result, x) for result in run.results)
        assert (run.bytes_sent, run.time_ps) == expected(network, p, x)
        ring_ps = cost("ring_allreduce", network, p, x.size, x.itemsize).time_ps
        print(
            f"{name + ':':<12} {p:>2} ranks, {run.time_ps / 1e6:5.1f} µs as expected; "
            f"ring_allreduce would take {ring_ps / 1e6:5.1f} µs"
        )
