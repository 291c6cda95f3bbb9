"""Compute_dims: the dimensions of a grid of ranks, as close to each other as can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from mpi.errors import ERR_ARG, ERR_DIMS, WrongValueError, wrong
from mpi.simulated import whole


def Compute_dims(nnodes: int, dims: Any) -> list[int]:
    """Return dimensions of a grid of `nnodes` ranks that are as close to each other as can be; others are kept."""
    nnodes = int(whole(nnodes))
    given = [whole(n) for n in dims] if isinstance(dims, Sequence) or np.ndim(dims) else [0] * _count(dims)
    if not given:
        return []
    fixed = prod(n for n in given if n)
    if nnodes < 1:
        raise wrong(ERR_ARG, f"{nnodes} ranks", "1 or more", "correct nnodes")
    if any(n < 0 for n in given) or nnodes % fixed or (0 not in given and fixed != nnodes):
        raise wrong(
            ERR_DIMS, f"{nnodes} ranks and dims={given}", "dimensions whose product divides them", "correct dims"
        )
    free = _balanced(nnodes // fixed, given.count(0))
    return [n or free.pop(0) for n in given]


def _count(dims: Any) -> int:
    if whole(dims) < 0:
        raise wrong(WrongValueError, f"{dims} dimensions", "0 or more", "correct dims")
    return int(dims)


def _balanced(n: int, count: int) -> list[int]:
    """Return `count` factors of n, largest first, whose largest and smallest are as close as can be."""
    if count < 2:
        return [n] * count
    best: list[int] = []

    def search(left: int, chosen: list[int]) -> None:
        nonlocal best
        if len(chosen) == count - 1:
            factors = sorted([*chosen, left], reverse=True)
            if left >= (chosen[-1] if chosen else 1) and (not best or _spread(factors) < _spread(best)):
                best = factors
            return
        low = chosen[-1] if chosen else 1
        for factor in range(low, int(left ** (1 / (count - len(chosen)))) + 2):
            if left % factor == 0:
                search(left // factor, [*chosen, factor])

    search(n, [])
    return best


def _spread(factors: list[int]) -> tuple[int, int]:
    return factors[0] - factors[-1], factors[0]
