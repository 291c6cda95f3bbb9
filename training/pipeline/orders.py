"""The schedules that have names: each says, for one rank, the order of its passes.

A chunk is what a rank holds of the model in one piece: one stage, or several under the schedules that loop. Some
papers' orders are for numbers of microbatches that p divides, or from 2p up. Here they serve any number: the order
for the next number that fits is made, and the passes of microbatches that do not exist are left out. What remains is
causal and free of deadlock, since operations of different microbatches never need each other.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from training.pipeline.schedule import Op, Schedule

Order = list[Op]


def make_schedule(name: str, p: int, microbatches: int, chunks: int = 1) -> Schedule:
    """Return the schedule of that name for p ranks.

        make_schedule("interleaved", p=2, microbatches=4, chunks=3).stages_of(0)  # (0, 2, 4)

    name:    One of SCHEDULES.
    chunks:  The stages of each rank. Only "interleaved" and "breadth-first" take more than one: rank r has stages
             r, r + p, r + 2p, ... "zb-v" and "dualpipe-v" have two anyway, r and 2p - 1 - r; under "dualpipe" rank r
             has stages r and p - 1 - r, each for half of the microbatches, so that the gradients of two ranks add up.
    Raises:  ValueError if the numbers make no schedule.
    """
    if name not in SCHEDULES:
        raise ValueError(
            f"make_schedule: got name={name!r}, expected one of {', '.join(SCHEDULES)}; remedy: choose one of them"
        )
    p, m, v = (
        _whole("p", p, "ranks"),
        _whole("microbatches", microbatches, "microbatches"),
        _whole("chunks", chunks, "stages of a rank"),
    )
    if v > 1 and name not in LOOPED:
        raise ValueError(
            f"make_schedule: got chunks={v} with {name!r}, expected 1; remedy: leave chunks out, or choose "
            f"{' or '.join(map(repr, LOOPED))}"
        )
    operations = [[op for op in ops if op.microbatch < m] for ops in _MAKERS[name](p, m, v)]
    stages = 1 + max(op.stage for ops in operations for op in ops)
    return Schedule(name, p, stages, m, tuple(map(tuple, operations)))


def _whole(name: str, number: Any, of: str) -> int:
    try:
        whole = 0 if isinstance(number, bool) else operator.index(number)
    except TypeError:
        whole = 0
    if whole < 1:
        raise ValueError(
            f"make_schedule: got {name}={number!r}, expected a whole number from 1 up; remedy: pass the number of {of}"
        )
    return whole


# -- forward and backward in turn --------------------------------------------------------------------------------


def _in_turn(forwards: Order, backwards: list[Order], warm_up: int) -> Order:
    """Return `warm_up` forwards, then a forward and a backward in turn while there are forwards, then the rest."""
    warm_up = min(warm_up, len(forwards))
    ops = forwards[:warm_up]
    for i, backward in enumerate(backwards):
        ops += forwards[warm_up + i : warm_up + i + 1] + backward
    return ops


def _looped(p: int, r: int, v: int, groups: Iterable[range], warm_up: int) -> Order:
    """Return the order of rank r if each group of microbatches goes through its chunks, one after the other."""
    groups = list(groups)
    forwards = [Op("F", r + p * chunk, j) for group in groups for chunk in range(v) for j in group]
    backwards = [[Op("B", r + p * chunk, j)] for group in groups for chunk in reversed(range(v)) for j in group]
    return _in_turn(forwards, backwards, warm_up)


def _gpipe(p: int, m: int, v: int) -> list[Order]:
    """All forwards, then all backwards (Huang et al., arXiv 1811.06965)."""
    return [_looped(p, r, 1, [range(m)], m) for r in range(p)]


def _one_f_one_b(p: int, m: int, v: int) -> list[Order]:
    """A backward as soon as it can be: rank r has at most p - r activations (Narayanan et al., arXiv 2006.09503)."""
    return [_looped(p, r, 1, [range(m)], p - 1 - r) for r in range(p)]


def _interleaved(p: int, m: int, v: int) -> list[Order]:
    """1F1B with v chunks a rank and p microbatches at a time (Narayanan et al., arXiv 2104.04473)."""
    groups = [range(start, start + p) for start in range(0, m, p)]
    return [_looped(p, r, v, groups, 2 * (p - 1 - r) + (v - 1) * p) for r in range(p)]


def _breadth_first(p: int, m: int, v: int) -> list[Order]:
    """GPipe with v chunks: all microbatches go through one, then the next (Lamy-Poirier, arXiv 2211.05953)."""
    return [_looped(p, r, v, [range(m)], m * v) for r in range(p)]


# -- weight gradients later --------------------------------------------------------------------------------------


def _zero_bubble(p: int, m: int, h: int) -> list[Order]:
    """1F1B whose weight gradients fill the bubbles (Qi et al., arXiv 2401.10241): H1 if h = 1, H2 if h = 2.

    Rank r starts with h(p - 1 - r) forwards, and its weight gradients come h r microbatches after its input gradients.
    """
    orders = []
    for r in range(p):
        lag = h * r
        late = [[Op("W", r, i - lag)] if i >= lag else [] for i in range(m)]
        backwards = [[Op("I", r, i), *late[i]] for i in range(m)]
        left = [Op("W", r, i) for i in range(max(0, m - lag), m)]
        orders.append(_in_turn([Op("F", r, i) for i in range(m)], backwards, h * (p - 1 - r)) + left)
    return orders


# -- two chunks a rank: 0 on the way there, 1 on the way back ----------------------------------------------------


def _zero_bubble_v(p: int, m: int, v: int) -> list[Order]:
    """Zero bubble with stages that go down the ranks and up again: ZB-V (Qi et al., arXiv 2405.15362)."""
    n = max(m, 2 * p - 1)
    orders = []
    for r in range(p):
        passes = ["F0"] * (2 * (p - r) - 1) + ["F1", "F0"] * r + ["F1", "I1", "W"] * (p - r)
        passes += ["F0", "I0", "W", "F1", "I1", "W"] * (n - 2 * p + r + 1) + ["I0", "W", "F1", "I1", "W"] * (p - r - 1)
        passes += ["I0", "I1"] * r + ["I0", "W"] * (p - r) + ["W"] * (2 * r)
        orders.append(_numbered(passes, (r, 2 * p - 1 - r), (range(n), range(n))))
    return orders


def _dualpipe_v(p: int, m: int, v: int) -> list[Order]:
    """DualPipe folded in half, so that each rank has parameters once (README of DeepSeek's DualPipe)."""
    n = max(m, 2 * p)
    return [_numbered(_dual(p, r, n), (r, 2 * p - 1 - r), (range(n), range(n))) for r in range(p)]


def _dualpipe(p: int, m: int, v: int) -> list[Order]:
    """Half of the microbatches go down the ranks, half go up (DeepSeek-V3, arXiv 2412.19437).

    The paper's p is even. If p is odd, the rank in the middle has one stage, which both halves pass.
    """
    half = (p + 1) // 2
    down = (m + 1) // 2
    n = max(down, 2 * half)
    numbers = [[*range(down)] + [m] * (n - down), [*range(down, m)] + [m] * (n - m + down)]
    orders = []
    for r in range(p):
        near, far = (0, 1) if r < half else (1, 0)
        stages = (r, p - 1 - r)
        passes = _dual(half, min(r, p - 1 - r), n)
        orders.append(_numbered(passes, (stages[near], stages[far]), (numbers[near], numbers[far])))
    return orders


def _dual(p: int, r: int, n: int) -> list[str]:
    """Return the passes of DualPipe on rank r of a half of p ranks: chunk 0 starts at its end, chunk 1 comes back."""
    ends = ["B1", "B0"] * (r + 1)
    ends[r + 1 :] = ["I" + each[1] for each in ends[r + 1 :]]
    return [
        *["F0"] * (2 * (p - 1 - r)), *["F0", "F1"] * (r + 1), *["I1", "W", "F1"] * (p - 1 - r),
        *["F0", "B1", "F1", "B0"] * (n - 2 * p + r + 1), *["B1", "F1", "B0"] * (p - 1 - r),
        *ends, *["W", "I0"] * (p - 1 - r), *["W"] * (r + 1),
    ]  # fmt: skip


def _numbered(passes: Iterable[str], stages: Sequence[int], microbatches: Sequence[Sequence[int]]) -> Order:
    """Return the operations of passes such as F0: chunk c is stages[c], and its i-th is of microbatches[c][i].

    W, without a chunk, is the weight half of the first I whose W has not yet been.
    """
    nexts = {(kind, chunk): iter(numbers) for chunk, numbers in enumerate(microbatches) for kind in "FB"}
    waiting: deque[Op] = deque()
    ops = []
    for each in passes:
        if each == "W":
            ops.append(waiting.popleft()._replace(kind="W"))
        else:
            kind, c = each[0], int(each[1])
            ops.append(Op(kind, stages[c], next(nexts["F" if kind == "F" else "B", c])))
            if kind == "I":
                waiting.append(ops[-1])
    return ops


_MAKERS: dict[str, Callable[[int, int, int], list[Order]]] = {
    "gpipe": _gpipe,
    "1f1b": _one_f_one_b,
    "interleaved": _interleaved,
    "breadth-first": _breadth_first,
    "zb-h1": lambda p, m, v: _zero_bubble(p, m, 1),
    "zb-h2": lambda p, m, v: _zero_bubble(p, m, 2),
    "zb-v": _zero_bubble_v,
    "dualpipe": _dualpipe,
    "dualpipe-v": _dualpipe_v,
}
LOOPED = ("interleaved", "breadth-first")
SCHEDULES = tuple(_MAKERS)
