"""Optimisers: how they update a flat array of parameters when its gradient is known.

An optimiser holds only settings. The state belongs to the owner of the parameters, which may have any part of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from collectives.arrays import Array
from parallel.arguments import refuse

# A learning rate: a number, or a function of the step, which counts from 1.
Rate = float | Callable[[int], float]


class Optimizer(Protocol):
    """What training needs from an optimiser. clip: the largest global norm of a gradient, or None."""

    @property
    def clip(self) -> float | None:
        """The largest global norm that a gradient may have; a longer gradient is scaled down to it."""

    @property
    def moments(self) -> tuple[str, ...]:
        """The names of the arrays that it keeps for each parameter."""

    def update(
        self, step: int, x: Array, gradient: Array, state: Mapping[str, Array], decayed: Sequence[slice]
    ) -> None:
        """Change `x` and `state` in place; `decayed`: the parts of x that decay."""


@dataclass(frozen=True, slots=True)
class SGD:
    """Steps against the gradient, with momentum if asked for; decayed parameters shrink by rate * decay a step.

    nesterov: look ahead by one more step of momentum.

    Source: Sutskever et al., ICML 2013 (Nesterov's momentum in this form).
    """

    rate: Rate = 0.1
    momentum: float = 0.0
    decay: float = 0.0
    clip: float | None = None
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check("SGD", self.rate, self.clip, momentum=self.momentum, decay=self.decay)
        if self.nesterov and not self.momentum:
            refuse(ValueError, "SGD", "nesterov without momentum", "both", "set momentum, or leave nesterov out")

    @property
    def moments(self) -> tuple[str, ...]:
        """The running sum of gradients, if there is momentum."""
        return ("momentum",) if self.momentum else ()

    def update(
        self, step: int, x: Array, gradient: Array, state: Mapping[str, Array], decayed: Sequence[slice]
    ) -> None:
        """Change x and state in place."""
        rate = rate_at(self.rate, step)
        _shrink(x, rate * self.decay, decayed)
        if self.momentum:
            running = state["momentum"]
            running *= self.momentum
            running += gradient
            gradient = gradient + self.momentum * running if self.nesterov else running
        x -= rate * gradient


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam, with decay that is separate from the gradient.

    Source: Kingma & Ba, arXiv 1412.6980; Loshchilov & Hutter, arXiv 1711.05101.
    """

    rate: Rate = 3e-3
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    decay: float = 0.1
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        _check("AdamW", self.rate, self.clip, beta1=self.beta1, beta2=self.beta2, decay=self.decay)
        if not self.epsilon > 0:
            refuse(ValueError, "AdamW", f"epsilon={self.epsilon!r}", "a number above 0", "leave it out")
        if max(self.beta1, self.beta2) >= 1:
            refuse(ValueError, "AdamW", f"betas {self.beta1}, {self.beta2}", "numbers below 1", "leave them out")

    @property
    def moments(self) -> tuple[str, ...]:
        """The running means of the gradient and of its square."""
        return ("mean", "square")

    def update(
        self, step: int, x: Array, gradient: Array, state: Mapping[str, Array], decayed: Sequence[slice]
    ) -> None:
        """Change x and state in place. Bias is corrected by the step, which a checkpoint carries on."""
        rate = rate_at(self.rate, step)
        _shrink(x, rate * self.decay, decayed)
        mean, square = state["mean"], state["square"]
        change = gradient - mean
        change *= 1 - self.beta1
        mean += change
        np.multiply(gradient, gradient, out=change)
        change -= square
        change *= 1 - self.beta2
        square += change
        # rate * mean / corrected / (sqrt(square) / root + epsilon), with the numbers of all in one factor
        root = math.sqrt(1 - self.beta2**step)
        np.sqrt(square, out=change)
        change += self.epsilon * root
        np.divide(mean, change, out=change)
        change *= rate * root / (1 - self.beta1**step)
        x -= change


@dataclass(frozen=True, slots=True)
class WarmupCosine:
    """A learning rate that rises to `peak` in `warmup` steps and falls to `end` by step `steps`, as a cosine.

    WarmupCosine(1.0, 10, 110)(5)  # 0.5
    """

    peak: float
    warmup: int
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _check("WarmupCosine", 0.0, None, peak=self.peak, end=self.end)
        if not 0 <= self.warmup < self.steps:
            refuse(ValueError, "WarmupCosine", str(self), "0 <= warmup < steps", "change one")

    def __call__(self, step: int) -> float:
        if step <= self.warmup:
            return self.peak * step / self.warmup
        done = min((step - self.warmup) / (self.steps - self.warmup), 1)
        return self.end + (self.peak - self.end) * (1 + math.cos(math.pi * done)) / 2


def rate_at(rate: Rate, step: int) -> float:
    """Return the learning rate of a step; raise, before anything has changed, if a function gives none."""
    value = rate(step) if callable(rate) else rate
    if not _is_number(value):
        refuse(
            ValueError, "train", f"rate {value!r} in step {step}", "a number from 0 up", "change the rate's function"
        )
    return value


def _shrink(x: Array, by: float, decayed: Sequence[slice]) -> None:
    if by:
        for part in decayed:
            x[part] *= 1 - by


def _is_number(value: Any) -> bool:
    """Return whether a setting is a number from 0 up."""
    return isinstance(value, (int, float, np.floating)) and 0 <= float(value) < math.inf


def _check(who: str, rate: Any, clip: Any, **numbers: Any) -> None:
    """Raise unless all settings are numbers from 0 up, and clip, if given, above 0."""
    for name, value in {**numbers, "rate": 0.0 if callable(rate) else rate}.items():
        if not _is_number(value):
            refuse(ValueError, who, f"{name}={value!r}", "a number from 0 up", f"change {name}")
    if clip is not None and not (isinstance(clip, (int, float, np.floating)) and clip > 0):
        refuse(ValueError, who, f"clip={clip!r}", "a number above 0, or None", "leave it out to clip nothing")
