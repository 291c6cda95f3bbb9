"""What the messages of a communicator cost, measured by ping-pong: the network model of the MPI underneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ranks.constants import mpi_of
from ranks.network import PS_PER_S, Link, Network

_TAG = 32_031
# From nothing to 4 MiB: alpha shows in the small ones, beta in the large ones.
SIZES = (0, 1024, 16_384, 262_144, 1_048_576, 4_194_304)


def calibrate(comm: Any, repeats: int = 30) -> Network:
    """Return, on every rank of `comm`, the network without ports that best explains a ping-pong of ranks 0 and 1.

        network = ranks.calibrate(mpi4py.MPI.COMM_WORLD)
        network.inter  # Link(latency_ps=..., fs_per_byte=...)

    alpha and beta minimise the relative errors of the median times of messages of 0 B to 4 MiB; gamma is the time
    of np.add on 1 MiB of float64, o is part of alpha. Takes about 0.1 s on shared memory.
    Raises:  ValueError if comm has one rank, or repeats is below 1.
    """
    if comm.size < 2 or repeats < 1:
        raise ValueError(
            f"ranks.calibrate: got {comm.size} ranks and repeats={repeats}, expected at least 2 and 1; remedy: start "
            "more processes"
        )
    times_s = [_one_way_s(comm, np.zeros(n_bytes, np.uint8), repeats) for n_bytes in SIZES]
    if comm.rank == 0:
        alpha_s, beta_s = _fit(np.array(SIZES), np.array(times_s))
        gamma_s = _reduction_s(mpi_of(comm).Wtime, repeats)
        network = Network(
            name="calibrated",
            inter=Link(round(alpha_s * PS_PER_S), round(beta_s * PS_PER_S * 1000)),
            reduce_fs_per_byte=round(gamma_s * PS_PER_S * 1000),
            ports=False,
            source=f"ping-pong of {comm.size} ranks",
        )
        for other in range(1, comm.size):
            comm.send(network, other, _TAG)
        return network
    received: Network = comm.recv(source=0, tag=_TAG)
    return received


def _one_way_s(comm: Any, buffer: np.ndarray[Any, Any], repeats: int) -> float:
    """Return the median of half a round trip between ranks 0 and 1, the first one left out."""
    if comm.rank > 1:
        return 0.0
    wtime, other = mpi_of(comm).Wtime, 1 - comm.rank
    half_trips = []
    for _ in range(repeats + 1):
        begin_s = wtime()
        if comm.rank == 0:
            comm.Send(buffer, other, _TAG)
            comm.Recv(buffer, other, _TAG)
        else:
            comm.Recv(buffer, other, _TAG)
            comm.Send(buffer, other, _TAG)
        half_trips.append((wtime() - begin_s) / 2)
    return float(np.median(half_trips[1:]))


def _fit(sizes: np.ndarray[Any, Any], times_s: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the alpha and beta, neither below 0, for which alpha + n*beta is relatively nearest to the times."""
    weights = 1 / times_s
    (alpha_s, beta_s), *_ = np.linalg.lstsq(np.column_stack([weights, sizes * weights]), np.ones(len(sizes)))
    return max(float(alpha_s), 0.0), max(float(beta_s), 0.0)


def _reduction_s(wtime: Callable[[], float], repeats: int) -> float:
    """Return the seconds that reducing one byte takes."""
    left, right = np.zeros(131_072), np.zeros(131_072)
    times = []
    for _ in range(repeats):
        begin_s = wtime()
        np.add(left, right, out=left)
        times.append(wtime() - begin_s)
    return float(np.median(times)) / left.nbytes
