"""The same ring all-reduce on other people's machinery, so that our messages per second have a neighbour.

Every module here has the same three names, and the driver needs no others:

    NAME                           how the tables call it
    missing() -> str               "" if it can run here, else how to install it
    ring_allreduce(data, calls)    -> (seconds, results): `calls` all-reduces in a row, timed together

`data` and `results` have one row per rank, (p, 4p) float64. Every peer copies a chunk when it sends it and
adds or stores it when it arrives, as a message-passing library must; only what carries the message differs.
"""

from collections.abc import Callable
from time import perf_counter
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VALUES_PER_CHUNK = 4
ALPHA_PS = 1_000_000
BETA_PS_PER_BYTE = 100


class Peer(Protocol):
    """What every module of this package looks like to the driver."""

    NAME: str

    @staticmethod
    def missing() -> str: ...

    @staticmethod
    def ring_allreduce(data: Array, calls: int) -> tuple[float, Array]: ...


def ring_input(p: int) -> Array:
    """Return the input of all ranks, one row each: (p, 4p) float64 of whole numbers, so that sums are exact.

    smpi_ring.c computes the same numbers; change both or neither.
    """
    rank, index = np.ogrid[:p, : VALUES_PER_CHUNK * p]
    return ((31 * rank + 17 * index) % 1000).astype(np.float64)


def ring_ps(p: int) -> int:
    """Return the virtual time of the all-reduce of ring_input(p): 2(p-1) messages of α + nβ in a row."""
    return 2 * (p - 1) * (ALPHA_PS + BETA_PS_PER_BYTE * VALUES_PER_CHUNK * 8)


def check_time(name: str, p: int, time_ps: int) -> None:
    """Raise RuntimeError unless a simulated all-reduce took exactly the time of the closed form."""
    if time_ps != ring_ps(p):
        raise RuntimeError(f"{name}: p={p} took {time_ps} ps of virtual time, expected {ring_ps(p)} ps")


def timed(name: str, simulate: Callable[[Array], tuple[Array, int]], data: Array, calls: int) -> tuple[float, Array]:
    """Return the seconds of `calls` simulations, each (results, time_ps), and the last results; check the time."""
    start = perf_counter()
    for _ in range(calls):
        results, time_ps = simulate(data)
    seconds = perf_counter() - start
    check_time(name, len(data), time_ps)
    return seconds, results


def check(name: str, data: Array, results: Array) -> None:
    """Raise RuntimeError unless every row of `results` is NumPy's sum of the rows of `data`."""
    expected = np.broadcast_to(data.sum(axis=0), data.shape)
    if results.shape != data.shape or not np.array_equal(results, expected):
        raise RuntimeError(
            f"{name}: wrong all-reduce at p={len(data)}: got {results!r}, expected {expected[0]!r} on every "
            "rank; a figure for it would mean nothing, so the benchmark stops"
        )
