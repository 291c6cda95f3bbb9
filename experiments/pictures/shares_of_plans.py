"""Which rank has which part of a training: for each plan and rank a picture of the model and one of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from experiments.lab.shares_of_plans import ShareOfPlan
from ranks import look
from training import GPTSizes

Box = tuple[float, float, float, float, str, float]  # left, width, top, height, colour, alpha
_BATCH = 1.12  # where the batch begins, right of the model; both are 1 wide and 1 high
_RANK, _PLAN = 2.4, 1.14  # from one rank to the next, from one plan to the next
_FULL = 0.85  # how much of its line a unit or a sequence fills


def shares_of_plans(plans: Mapping[str, Sequence[ShareOfPlan]], sizes: GPTSizes, batch: int) -> Any:
    """Return a Figure with a line of pictures for each plan, one picture for each rank.

    On the left is the model, a line for each unit; on the right is the batch, a line for each sequence. What a rank
    has is in its colour, paler where it keeps parameters that another rank updates.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    columns = max(map(len, plans.values()))
    figure = look.figure(2.2 * columns + 1.4, 0.95 * len(plans) + 0.5)
    axes = look.axes(figure, bare=True)
    boxes = []
    for line, (name, every) in enumerate(plans.items()):
        axes.text(-0.1, _PLAN * line + 0.5, name, ha="right", va="center", fontsize=9, color=look.INK)
        for rank, share in enumerate(every):
            boxes += [
                (_RANK * rank + left, width, _PLAN * line + top, *rest)
                for left, width, top, *rest in _boxes(share, sizes, batch, look.rank_colour(rank))
            ]
    for rank in range(columns):
        for left, word in ((0.5, "model"), (_BATCH + 0.5, "batch")):
            text = f"rank {rank}: {word}"
            axes.text(_RANK * rank + left, -0.08, text, ha="center", va="bottom", fontsize=8, color=look.INK)
    patches = [Rectangle((left, top), width, height) for left, width, top, height, *_ in boxes]
    axes.add_collection(PatchCollection(patches, facecolors=[each[4:] for each in boxes], linewidths=0))
    axes.set_xlim(-0.05, _RANK * columns - _RANK + _BATCH + 1.05)
    axes.set_ylim(_PLAN * len(plans), -0.3)
    return figure


def _boxes(share: ShareOfPlan, sizes: GPTSizes, batch: int, colour: str) -> Iterator[Box]:
    units = [*sizes.units()]
    for line, unit in enumerate(units):
        place = line / len(units), _FULL / len(units)
        yield 0, 1, *place, look.EMPTY[:7], 0.22
        for (begin, end), alpha in zip(share.units.get(unit, ()), (0.35, 1), strict=False):
            yield begin, end - begin, *place, colour, alpha
    for row in range(batch):
        place = row / batch, _FULL / batch
        yield _BATCH, 1, *place, look.EMPTY[:7], 0.22
        for token in share.tokens if row in share.rows else ():
            yield _BATCH + token / sizes.context, 1 / sizes.context, *place, colour, 1
