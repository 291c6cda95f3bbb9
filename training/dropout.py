"""Dropout whose mask is a function of seed, step, place in the model, token and feature, whoever computes it.

No mask is kept or sent: every rank that has a token draws the same numbers for it, forward, backward, and when a block
runs again. Each token has a generator of its own, whose n-th number is a hash of its begin plus n steps.

Source: Srivastava et al., JMLR 15, 2014; Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.precision import rounded, sum_dtype, wide

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


class Dropout(NamedTuple):
    """Dropout of one rank.

    rate:      The share of numbers that become 0; the others are divided by 1 - rate.
    seed:      That of the training.
    context:   Tokens of a sequence.
    positions: Where in the sequence this rank's tokens are.
    """

    rate: float
    seed: int
    context: int
    positions: Array

    def __call__(self, step: int, first: int, place: int, x: Array) -> Array:
        """Return x, of which some numbers are 0: x is of sequences `first`, `first` + 1, ... of the step's batch.

            Dropout(0.5, 0, 2, np.arange(2))(1, 0, 0, np.ones((1, 2, 4)))  # 0s and 2s
            # place: which dropout of the model this is

        Shape: x (sequences, positions, features) -> same, in a new array.
        """
        sequences = np.arange(first, first + x.shape[0])
        tokens = sequences[:, None] * self.context + self.positions
        key = np.random.SeedSequence([self.seed, step, place]).generate_state(1, np.uint64)
        numbers = random_numbers(key, tokens, x.shape[2])
        factors = (numbers >= np.uint32(self.rate * 2**32)).astype(sum_dtype(x.dtype))
        factors *= factors.dtype.type(1 / (1 - self.rate))
        factors *= wide(x)
        return rounded(factors, x.dtype)


def random_numbers(key: Array, tokens: Array, n: int) -> Array:
    """Return n random numbers below 2**32 for each token; key: one number of 64 bits, other tokens' for another."""
    begins = _mixed((tokens.astype(np.uint64) + np.uint64(1)) * _STEP + key)
    words = begins[..., None] + np.arange(-(-n // 2), dtype=np.uint64) * _STEP
    return _mixed(words).view(np.uint32)[..., :n]


def _mixed(x: Array) -> Array:
    """Return a hash of each number, in place."""
    for shift, factor in _MIX:
        x ^= x >> np.uint64(shift)
        x *= np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x
