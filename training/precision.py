"""The precision of a training: in which numbers it computes and keeps its state, and how the loss is scaled.

    bytes of a number                    float64  float32  bfloat16, float16
    activations, and their gradients     8        4        2
    parameters, as layers use them       8        4        2
    gradients of parameters, their sums  8        4        4
    master copy of the parameters                          4
    each moment of the optimiser         8        4        4

With 16 bits an update is made to the master copy, from which the parameters are rounded anew: most updates are smaller
than half the distance between two numbers of 16 bits, and would be lost.

Source: Micikevicius et al., arXiv 1710.03740.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from parallel.arguments import refuse
from parallel.precision import FLOAT16, SIXTEEN, sum_dtype

# Among float16's numbers, 2**-24 to 65504, gradients of 1e-9 to 1 have room if they are so much larger.
_START, _LARGEST = 2.0**16, 2.0**24


@dataclass(frozen=True, slots=True)
class DynamicScale:
    """A loss scale that is halved when a gradient overflows, and doubled after `every` steps in which none has.

    start: the scale of the first step.
    """

    start: float = _START
    every: int = 2000

    def __post_init__(self) -> None:
        if not _is_scale(self.start) or not 1 <= self.start <= _LARGEST:
            refuse(ValueError, "DynamicScale", f"start={self.start!r}", f"1 to {_LARGEST:.0f}", "leave it out")
        if type(self.every) is not int or self.every < 1:
            refuse(ValueError, "DynamicScale", f"every={self.every!r}", "a whole number from 1 up", "leave it out")

    def after(self, scales: Sequence[float], overflowed: bool) -> float:
        """Return the scale of the next step, given those of all steps so far, and whether the last one overflowed.

        DynamicScale(every=2).after([8.0, 4.0, 4.0], False)  # 8.0
        """
        scale, last = scales[-1], scales[-self.every :]
        if overflowed:
            return scale / 2
        # An overflow changes the scale, so there was none as long as the scale stayed.
        return min(2 * scale, _LARGEST) if last == [scale] * self.every else scale


class Widths(NamedTuple):
    """Bytes of a number: as layers compute with it, as a sum of gradients, and of what the optimiser keeps.

    sums:   Also of statistics, such as the logarithms of attention's sums.
    master: Of the master copy, 0 if there is none. moment: of each moment.
    """

    compute: int
    sums: int
    master: int
    moment: int


# With these, formulas of bytes give numbers.
NUMBERS = Widths(1, 1, 0, 1)


def checked_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the dtype in which a training computes; raise unless it is one of four."""
    found: np.dtype[Any]
    try:
        found = np.dtype(object if dtype is None else dtype)  # None would be float64
    except TypeError:
        found = np.dtype(object)
    if found not in (np.float32, np.float64, *SIXTEEN):
        expected = "float64, float32, bfloat16 or float16"
        refuse(TypeError, "train", f"dtype={dtype!r}", expected, "pass 'bfloat16'")
    return found


def checked_scale(loss_scale: Any, dtype: np.dtype[Any]) -> float | DynamicScale:
    """Return how the loss is scaled: None stands for DynamicScale() with float16, and else for 1."""
    if loss_scale is None:
        return DynamicScale() if dtype == FLOAT16 else 1.0
    if isinstance(loss_scale, DynamicScale):
        return loss_scale
    if not _is_scale(loss_scale):
        expected = "a finite number above 0, a DynamicScale or None"
        refuse(ValueError, "train", f"loss_scale={loss_scale!r}", expected, "leave it out")
    return float(loss_scale)


def widths_of(dtype: Any) -> Widths:
    """Return the bytes of a number in a training of this dtype, which may also be Widths, or the bytes of all numbers.

    widths_of("bfloat16")  # Widths(compute=2, sums=4, master=4, moment=4)
    """
    if isinstance(dtype, Widths):
        return dtype
    if isinstance(dtype, int):
        return Widths(dtype, dtype, 0, dtype)
    checked = checked_dtype(dtype)
    kept = sum_dtype(checked).itemsize
    return Widths(checked.itemsize, kept, kept if checked in SIXTEEN else 0, kept)


def _is_scale(value: Any) -> bool:
    return isinstance(value, (int, float, np.floating)) and 0 < float(value) < math.inf and value is not True
