"""Unified sequence parallelism: Ulysses inside groups of neighbours, ring attention between the groups.

Ranks form a grid. Ulysses runs inside a row, because its all-to-alls need fast links and the heads limit its ranks.
After it, each rank has its heads of the row's tokens, and rings along the columns attend to the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import refuse
from parallel.attention.local import BLOCKWISE, Kernel
from parallel.sequence.ring import ring
from parallel.sequence.shards import agree, alike, check_shards, gather_tokens, shard, unshard
from parallel.sequence.ulysses import SavedUlysses, ulysses_attention, ulysses_attention_backward


@dataclass(frozen=True, slots=True)
class Grid:
    """Ranks as rows, each a communicator of neighbours, and columns, each of one rank of every row."""

    row: Any
    column: Any

    def shard(self, x: Array, layout: str = "plain", axis: int = 1) -> Array:
        """Return the tokens of `x` of this rank: those of its row, by `layout`, in equal blocks along the row."""
        of_row = shard(x, self.column.size, self.column.rank, layout, axis)
        return shard(of_row, self.row.size, self.row.rank, axis=axis)


def usp_grid(comm: Any, ulysses: int) -> Grid:
    """Return the ranks of `comm` as rows of `ulysses` neighbours, for Ulysses, and columns, for rings.

        ranks.run(lambda comm: usp_grid(comm, 2).column.size, 6).results  # [3, 3, 3, 3, 3, 3]

    Make the grid once: splitting a communicator is collective, and expensive on real MPI.

    Raises:  ValueError unless `ulysses` divides the number of ranks.
    """
    if not isinstance(ulysses, (int, np.integer)) or ulysses < 1 or comm.size % ulysses:
        expected = f"a number that divides the {comm.size} ranks"
        refuse(ValueError, "usp_grid", f"ulysses={ulysses!r}", expected, "choose another one, or other ranks")
    return Grid(comm.Split(comm.rank // ulysses, comm.rank), comm.Split(comm.rank % ulysses, comm.rank))


def unshard_grid(shards: Sequence[Array], ulysses: int, layout: str = "plain", axis: int = 1) -> Array:
    """Return the sequence, given its shards on a grid with rows of `ulysses` ranks, in rank order."""
    rows = [np.concatenate(shards[i : i + ulysses], axis) for i in range(0, len(shards), ulysses)]
    return unshard(rows, layout, axis)


def usp_attention(
    grid: Grid,
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    scale: float | None = None,
    segments: Array | None = None,
    layout: str = "plain",
    overlap: bool = True,
    lengths: Sequence[int] | None = None,
    kernel: Kernel = BLOCKWISE,
) -> tuple[Array, SavedUlysses]:
    """Return this rank's tokens of the attention over the whole sequence, and what the backward pass needs.

        def program(comm):
            grid = usp_grid(comm, 2)
            q, k, v = (grid.shard(x, "zigzag") for x in np.random.default_rng(0).random((3, 1, 16, 6, 8)))
            return usp_attention(grid, q, k, v, causal=True, layout="zigzag")[0].shape
        ranks.run(program, 4).results  # [(1, 4, 6, 8), (1, 4, 6, 8), (1, 4, 6, 8), (1, 4, 6, 8)]

    layout:   which tokens a row holds, as in `ring_attention`; `Grid.shard` cuts accordingly.
    lengths:  how many tokens each rank holds, row after row, if known. Other keywords as in `ring_attention`.

    Shape:   as `ulysses_attention`.
    Cost:    that of Ulysses on a row of u ranks, and of a ring over p/u ranks of their heads and the row's tokens.
    Raises:  TypeError, ValueError if arrays do not fit each other, or those of other ranks (on every rank).
    Source:  Fang & Zhao, arXiv 2405.07719.
    """
    who, row = "usp_attention", grid.row
    sizes = check_shards(who, q, k, v, segments)
    keywords = alike(who, sizes, q.dtype, causal, scale, segments, layout)
    by_row = None if lengths is None else _rows(who, grid, lengths)
    of_ranks = agree(row, who, q.shape[1], None if by_row is None else by_row[grid.column.rank], **keywords)
    of_row = None if segments is None else np.concatenate(gather_tokens(row, segments, of_ranks), 1)
    around = ring(
        grid.column, causal=causal, scale=scale, segments=of_row, layout=layout, overlap=overlap, kernel=kernel,
        lengths=None if by_row is None else [*map(sum, by_row)],
    )  # fmt: skip
    return ulysses_attention(row, q, k, v, lengths=of_ranks, attention=around)


def _rows(who: str, grid: Grid, lengths: Sequence[int]) -> list[Sequence[int]]:
    """Return the lengths of the shards, row by row."""
    u, p = grid.row.size, grid.row.size * grid.column.size
    if len(lengths) != p:
        remedy = "pass the same, true lengths on all ranks, or none"
        refuse(ValueError, who, f"lengths={lengths}", f"one for each of {p} ranks, row after row", remedy)
    return [lengths[i : i + u] for i in range(0, p, u)]


def usp_attention_backward(grid: Grid, saved: SavedUlysses, d_out: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of this rank's q, k and v, given that of what `usp_attention` returned."""
    return ulysses_attention_backward(grid.row, saved, d_out)
