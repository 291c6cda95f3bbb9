"""One colour and one mark for each algorithm, in all pictures; algorithms of one idea share them.

No two algorithms of one operation share a colour. People who do not see red and green can tell them apart too, and
marks and letters say the same again.
"""

from __future__ import annotations

from collections.abc import Iterable

from ranks import look

BLUE, ORANGE, GREEN, PINK, SKY, RED, OLIVE, GREY = look.COLOURS
VIOLET = "#8f6fd6"
_MARKS = dict(zip((*look.COLOURS, VIOLET), (*look.MARKERS, "p"), strict=True))
_OF = {
    GREY: "naive linear central dense",
    BLUE: "ring chain odd_even_block_sort",
    ORANGE: "recursive_doubling butterfly blockwise bitonic_block_sort",
    GREEN: "halving_doubling rabenseifner scatter_allgather recursive_halving dissemination sample_sort Megatron",
    PINK: "two_level neighbour_exchange tournament partition_sort USP",
    SKY: "segmented_ring pairwise",
    RED: "bcube bruck Ulysses",
    OLIVE: "double_tree binomial tree broadcast",
    VIOLET: "staged flag barrier",
}
_COLOURS = {name: colour for colour, names in _OF.items() for name in names.split()}


def styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return a colour and a mark for each name; an algorithm may be named with its operation.

    styles(["ring_allreduce", "naive"])  # {'ring_allreduce': ('#0072b2', 'o'), 'naive': ('#7f7f7f', '*')}
    Other names get the colours that are left, in turn.
    """
    known = {name: _known(name) for name in names}
    left = [colour for colour in _MARKS if colour not in known.values()] or list(_MARKS)
    others = [name for name, colour in known.items() if colour is None]
    known |= {name: left[place % len(left)] for place, name in enumerate(others)}
    return {name: (colour, _MARKS[colour]) for name, colour in known.items() if colour is not None}


def _known(name: str) -> str | None:
    words = name.replace(" ", "_").replace("-", "_").split("_")
    beginnings = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((_COLOURS[each] for each in beginnings if each in _COLOURS), None)
