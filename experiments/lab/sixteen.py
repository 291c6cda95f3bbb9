"""What is lost where numbers have 16 bits: operations that round after each step, and trainings that are watched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from collectives.arrays import Array
from experiments.lab.changing import changed
from parallel import layers
from parallel.attention import local
from parallel.precision import rounded
from training import AdamW, model

# -- operations of which each step is rounded ------------------------------------------------------------------------


def rough_sum(x: Array) -> Array:
    """Return the sums along the last axis, one number added after the other, and each sum rounded."""
    return np.asarray(np.add.accumulate(x, -1)[..., -1:])


def rough_product(x: Array, w: Array) -> Array:
    """Return x @ w, each product and each sum rounded."""
    total = np.zeros((len(x), w.shape[1]), x.dtype)
    for k in range(len(w)):
        total += x[:, k, None] * w[k]
    return total


def rough_norm(x: Array) -> Array:
    """Return x with mean 0 and variance 1 along its last axis, each step rounded."""
    n = np.array(x.shape[-1], x.dtype)
    centred = x - rough_sum(x) / n
    return np.asarray(centred / np.sqrt(rough_sum(centred * centred) / n))


def rough_attention(q: Array, k: Array, v: Array) -> Array:
    """Return the attention of one head, each step rounded; q is scaled."""
    scores = rough_product(q, k.T)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return rough_product(weights / rough_sum(weights), v)


# -- trainings -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """How many numbers there were, and how many of them were lost."""

    numbers: int = 0
    lost: int = 0

    def add(self, lost: Array, among: Array) -> None:
        """Count those of `among` that are lost."""
        self.numbers += int(np.count_nonzero(among))
        self.lost += int(np.count_nonzero(lost & among))

    @property
    def share(self) -> float:
        """The share that was lost."""
        return self.lost / max(self.numbers, 1)


@dataclass
class WithoutMaster:
    """An optimiser of parameters that have 16 bits and no copy of more: small updates are lost."""

    inner: AdamW
    dtype: np.dtype[Any]
    by_step: dict[int, Tally] = field(default_factory=dict, repr=False)

    @property
    def clip(self) -> float | None:
        """The largest norm."""
        return self.inner.clip

    @property
    def moments(self) -> tuple[str, ...]:
        """Those of Adam."""
        return self.inner.moments

    def update(
        self, step: int, x: Array, gradient: Array, state: Mapping[str, Array], decayed: Sequence[slice]
    ) -> None:
        """Change x and state, and round x."""
        before = x.copy()
        self.inner.update(step, x, gradient, state, decayed)
        updated, x[:] = x != before, rounded(x, self.dtype)
        self.by_step.setdefault(step, Tally()).add(x == before, updated)


@dataclass
class Gradients:
    """Gradients of activations as they come out of operations, before they are rounded.

    exponents: How many there were of each size, by the exponent of two; what is 0 is not in it.
    rounding:  How many became 0 when they were rounded.
    """

    exponents: dict[int, int] = field(default_factory=dict)
    rounding: Tally = field(default_factory=Tally)

    def see(self, x: Array, y: Array) -> None:
        """Count numbers x, of which rounding has made y."""
        there = np.isfinite(x) & (x != 0)
        self.rounding.add(y == 0, there)
        found, counts = np.unique(np.frexp(x[there])[1] - 1, return_counts=True)
        for exponent, n in zip(found.tolist(), counts.tolist(), strict=True):
            self.exponents[exponent] = self.exponents.get(exponent, 0) + n

    def below(self, exponent: float) -> float:
        """Return the share of numbers whose exponent is lower."""
        total = sum(self.exponents.values())
        return sum(n for each, n in self.exponents.items() if each < exponent) / max(total, 1)


@contextmanager
def watched(gradients: Gradients) -> Iterator[None]:
    """Have all trainings of this process show the gradients of their activations."""
    is_backward = [False]

    def backward(original: Any) -> Any:
        def input_backward(*args: Any) -> Any:
            is_backward[0] = True
            try:
                return original(*args)
            finally:
                is_backward[0] = False

        return input_backward

    def seen(original: Any, always: bool = False) -> Any:
        def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
            y: Array = original(x, dtype)
            if always or is_backward[0]:
                gradients.see(x, y)
            return y

        return rounded

    with (
        changed(model.Block, input_backward=backward),
        changed(model.Head, input_backward=backward),
        changed(model, rounded=lambda original: seen(original, always=True)),  # the gradient of logits
        changed(layers, rounded=seen),
        changed(local, rounded=seen),
    ):
        yield
