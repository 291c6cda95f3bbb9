"""Timing to be trusted: contenders take turns, a ratio comes with an interval, tools are tried where truth is known."""

from __future__ import annotations

import gc
import resource
import statistics
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

Work = dict[str, Callable[[], Any]]
Seconds = dict[str, list[float]]
RESAMPLES = 2000


def interleaved(
    work: Work, rounds: int, *, seed: int = 0, shown: Callable[[range], Iterable[int]] = lambda rounds: rounds
) -> Seconds:
    """Return the seconds of each function in every round: they take turns, in an order drawn anew each round.

        interleaved({"sorted": lambda: sorted(x), "np.sort": lambda: np.sort(x)}, 9)

    What drifts hits all alike, and nobody always comes after the same neighbour, who leaves caches cold or warm.
    shown: It is given the rounds, and may show how many are done.
    """
    order, seconds = np.random.default_rng(seed), {name: [] for name in work}  # type: tuple[Any, Seconds]
    for _ in shown(range(rounds)):
        for name in order.permutation(list(work)).tolist():
            seconds[name].append(once_s(work[name]))
    return seconds


def one_after_the_other(work: Work, rounds: int) -> Seconds:
    """Return the seconds of each function: all calls of the first, then all of the second, as it is usually done."""
    return {name: [once_s(call) for _ in range(rounds)] for name, call in work.items()}


def once_s(call: Callable[[], Any]) -> float:
    """Return the seconds of one call, which starts with nothing for the garbage collector to do."""
    gc.collect(0)
    begin = perf_counter()
    call()
    return perf_counter() - begin


def page_faults(call: Callable[[], Any]) -> int:
    """Return how many pages of memory a call touched that the system had not yet given to this process."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


# -- ratios ----------------------------------------------------------------------------------------------------


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times as long the first takes: the median over the rounds of the ratio of each.

    ratio([2, 4, 9], [1, 2, 3])  # 2.0
    """
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def interval(
    slow: Sequence[float], fast: Sequence[float], *, share: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return between which values the ratio lies, bootstrapped: rounds are drawn again and again, with repetition.

        interval([2, 4, 9], [1, 2, 3])  # (2.0, 3.0)

    share: how many of the ratios of drawn rounds lie within; the others are cut off on both sides alike.
    Source:  Efron, Annals of Statistics 7(1), 1979.
    """
    each = np.asarray(slow, float) / np.asarray(fast, float)
    drawn = np.random.default_rng(seed).integers(0, each.size, (RESAMPLES, each.size))
    low, high = np.quantile(np.median(each[drawn], axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


# -- a machine whose truth is known --------------------------------------------------------------------------------


def imagined(times_s: Sequence[float], calls: Sequence[int], *, drift: float, spikes: float, rng: Any) -> NDArray[Any]:
    """Return what a stopwatch would show for calls of functions that really take times_s.

    calls: which function is called, in order. drift: by what share the machine is slower at the end than at the start.
    spikes: how often something else comes in between, which costs up to as long again; jitter of a percent is always.
    """
    true = np.asarray(times_s, float)[np.asarray(calls)]
    slower = 1 + drift * np.linspace(0, 1, len(true))
    extra = (rng.random(len(true)) < spikes) * rng.random(len(true))
    return true * slower * (1 + extra) * (1 + 0.01 * np.abs(rng.standard_normal(len(true))))
