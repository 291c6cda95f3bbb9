"""Something to learn: sums in words, made on the spot, so that a batch is a function of seed and step alone.

sums(np.random.default_rng(1), 60)
# 'twenty-three and twenty-five make forty-eight. thirty-seven and forty-seven make eighty-four. '
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.arguments import refuse

ALPHABET = " .-abcdefghijklmnopqrstuvwxyz"
# The label of a token that does not count.
IGNORED = -1

_SMALL = [
    "nought",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


class Batch(NamedTuple):
    """Token numbers (sequences, tokens), and for each the token that follows it."""

    tokens: Array
    labels: Array


def in_words(n: int) -> str:
    """Return the name of a number from 0 to 99.

    in_words(42)  # 'forty-two'
    """
    if n < 20:
        return _SMALL[n]
    tens, ones = divmod(n, 10)
    return _TENS[tens - 2] + (f"-{_SMALL[ones]}" if ones else "")


def sums(rng: np.random.Generator, length: int) -> str:
    """Return at least `length` letters of sums."""
    text = ""
    while len(text) < length:
        a, b = (int(each) for each in rng.integers(0, 50, 2))
        text += f"{in_words(a)} and {in_words(b)} make {in_words(a + b)}. "
    return text


@lru_cache(maxsize=4)
def text_batch(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
    """Return the batch of a step: sequence i is a function of (seed, step, i), whoever makes it.

    A vocabulary smaller than the alphabet gives several letters one number. The arrays are read-only: simulated ranks
    share them.
    """
    number = {letter: i % vocab for i, letter in enumerate(ALPHABET)}
    rows = np.empty((sequences, context + 1), np.int64)
    for i, row in enumerate(rows):
        rng = np.random.default_rng([seed, step, i])
        begin = int(rng.integers(0, 16))  # not every sequence begins a sum
        row[:] = [number[letter] for letter in sums(rng, begin + context + 1)[begin : begin + context + 1]]
    rows.flags.writeable = False
    return Batch(rows[:, :-1], rows[:, 1:])


def checked_batch(batch: Any, step: int, shape: tuple[int, int], vocab: int) -> Batch:
    """Return what a data function gave for a step; raise unless it is a pair of whole numbers of the right shape."""
    if not isinstance(batch, tuple) or len(batch) != 2:
        got = f"{type(batch).__name__} from data in step {step}"
        refuse(TypeError, "train", got, "a Batch of tokens and labels", "return Batch(tokens, labels)")
    for name, x, lowest in (("tokens", batch[0], 0), ("labels", batch[1], IGNORED)):
        expected = f"integers from {lowest} to {vocab - 1} of shape {shape}"
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu" or x.shape != shape:
            kind = f"{x.dtype} of shape {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
            refuse(ValueError, "train", f"{name} {kind} from data in step {step}", expected, "return such an array")
        if x.min() < lowest or x.max() >= vocab:
            got = f"{name} from {x.min()} to {x.max()} from data in step {step}"
            refuse(ValueError, "train", got, expected, "raise vocab of GPTSizes, or change the data")
    return Batch(*batch)


def spelled(tokens: Array) -> str:
    """Return the letters that token numbers stand for."""
    if tokens.ndim != 1 or (tokens.size and not 0 <= int(tokens.min()) <= int(tokens.max()) < len(ALPHABET)):
        got = f"tokens of shape {tokens.shape}"
        refuse(ValueError, "spelled", got, f"numbers from 0 to {len(ALPHABET) - 1} in a row", "pass one sequence")
    return "".join(ALPHABET[int(i)] for i in tokens)
