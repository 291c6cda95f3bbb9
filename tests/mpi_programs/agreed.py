"""Calls of MPI whose results are written down: on real MPI, and on simulated ranks, which have to come to the same."""

from __future__ import annotations

import json
import sys

import numpy as np


def results(MPI, comm):  # noqa: N803  # the module of either world
    """Return what many calls come to on this rank, as JSON takes it."""
    p, r = comm.size, comm.rank
    right, left = (r + 1) % p, (r - 1) % p
    found = {}

    # floating-point sums of objects, in mpi4py's order
    found["allreduce"] = comm.allreduce(0.1 * (r + 1))
    found["scan"] = comm.scan(0.1 * (r + 1))
    found["exscan"] = comm.exscan(0.1 * (r + 1))
    found["reduce"] = comm.reduce(0.1 * (r + 1), root=p - 1)
    found["maxloc"] = comm.allreduce((r % 2, r), MPI.MAXLOC)

    # datatypes: bounds, sizes, what arrives where
    column = MPI.DOUBLE.Create_vector(3, 1, 4).Commit()
    pair = MPI.Datatype.Create_struct([1, 2], [0, 8], [MPI.INT, MPI.SHORT]).Commit()
    corner = MPI.INT.Create_subarray([4, 5], [2, 3], [1, 2], MPI.ORDER_F).Commit()
    dealt = MPI.INT.Create_darray(p, r, [7, 5], [MPI.DISTRIBUTE_CYCLIC, MPI.DISTRIBUTE_BLOCK],
                                  [2, MPI.DISTRIBUTE_DFLT_DARG], MPI.Compute_dims(p, 2)).Commit()  # fmt: skip
    for name, datatype in (("column", column), ("pair", pair), ("corner", corner), ("dealt", dealt),
                           ("resized", pair.Create_resized(-4, 32))):  # fmt: skip
        found[name] = [datatype.Get_size(), *datatype.Get_extent(), *datatype.Get_true_extent()]
    a, b = np.arange(12.0).reshape(3, 4) + r, np.zeros((3, 4))
    comm.Sendrecv([a, 1, column], right, 1, [b.ravel()[1:], 1, column], left, 1)
    found["came"] = b.tolist()
    whole, packed = np.arange(35, dtype="i"), np.zeros(35, "i")
    status = MPI.Status()
    comm.Sendrecv([whole, 1, dealt], r, 2, packed, r, 2, status)
    found["packed"] = [
        packed.tolist(),
        status.Get_count(MPI.INT),
        status.Get_elements(MPI.INT),
        status.Get_count(MPI.DOUBLE),
    ]

    # groups, communicators, grids
    found["dims"] = [MPI.Compute_dims(n, d) for n in (1, 6, 12, 30, 60, 72, 97) for d in (1, 2, 3)]
    grid = comm.Create_cart(MPI.Compute_dims(p, 2), [True, False])
    found["grid"] = [grid.coords, [grid.Shift(axis, 1) for axis in (0, 1)], grid.Sub([True, False]).rank]
    got = np.full((4, 1), -1.0)
    grid.Neighbor_alltoall(np.arange(4.0).reshape(4, 1) + 10 * r, got)
    found["neighbours"] = got.tolist()
    found["split"] = [
        comm.Split(r % 2, -r).rank,
        comm.Compare(comm.Dup()),
        comm.group.Incl([p - 1, 0][: min(p, 2)]).rank,
    ]

    # reductions, in place and in blocks
    x = np.arange(2 * p, dtype="i") + r
    block, y = np.zeros(2, "i"), x.copy()
    comm.Reduce_scatter_block(x, block, MPI.SUM)
    comm.Allreduce(MPI.IN_PLACE, y, MPI.MAX)
    found["reductions"] = [block.tolist(), y.tolist()]
    request = comm.Iallreduce(x, y, MPI.PROD)
    request.Wait()
    found["product"] = y.tolist()

    # errors: their classes
    errors = []
    for call in (lambda: comm.Send(x, p), lambda: comm.bcast(1, root=p), lambda: comm.Send([x, -1], 0),
                 lambda: comm.Send("text", 0), lambda: comm.Send(np.zeros((3, 3))[:, 1], 0),
                 lambda: MPI.COMM_NULL.Get_rank(), lambda: comm.Split(-3),
                 lambda: comm.Create_cart([p + 1])):  # fmt: skip
        try:
            call()
            errors.append([[], None])
        except Exception as problem:
            kinds = [k.__name__ for k in (BufferError, TypeError, ValueError, KeyError) if isinstance(problem, k)]
            errors.append([kinds, problem.Get_error_class() if isinstance(problem, MPI.Exception) else None])
    found["errors"] = errors
    return found


if __name__ == "__main__":
    from mpi4py import MPI

    gathered = MPI.COMM_WORLD.gather(results(MPI, MPI.COMM_WORLD))
    if gathered is not None:
        json.dump(gathered, sys.stdout)
