"""Which part of each parameter a tensor-parallel rank has, and which of that it counts as its own."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from collectives.arrays import Array
from parallel.attention.heads import split_heads
from parallel.parameters import feature_columns
from parallel.tensor.vocabulary import vocabulary_rows
from training.sizes import GPTSizes, is_of_experts

_COLUMNS = {"w_qkv": "qkv", "b_qkv": "qkv", "w_up": "up", "b_up": "up"}
_ROWS = {"w_out": "out", "w_down": "up"}


class Part(NamedTuple):
    """A rank's part of a parameter of `shape`: what lies at `places` along `axis`; everything if axis is None.

    own: for each place, or for all at once, whether this rank is the one that counts it. Others may have a copy: of
    what is not cut, and of K/V heads that serve query heads of several ranks.
    """

    shape: tuple[int, ...]
    axis: int | None
    places: Array
    own: Array

    @property
    def here(self) -> tuple[int, ...]:
        """The shape of this rank's part."""
        if self.axis is None:
            return self.shape
        return (*self.shape[: self.axis], len(self.places), *self.shape[self.axis + 1 :])

    def of(self, whole: Array) -> Array:
        """Return this rank's part of the whole."""
        return whole if self.axis is None else np.take(whole, self.places, self.axis)

    def meets(self, box: tuple[slice, ...]) -> bool:
        """Return whether a box of the whole, one slice an axis, has something of this rank's part."""
        if self.axis is None:
            return True
        cut = box[self.axis]
        return bool(((self.places >= cut.start) & (self.places < cut.stop)).any())

    def is_own(self) -> Array:
        """Return for each number of this rank's part whether this rank counts it."""
        if self.axis is None:
            return np.broadcast_to(self.own, self.here)
        along = self.own.reshape([-1 if axis == self.axis else 1 for axis in range(len(self.shape))])
        return np.broadcast_to(along, self.here)


def part_of(sizes: GPTSizes, unit: str, name: str, p: int, rank: int) -> Part:
    """Return the part of a parameter that `rank` of p tensor-parallel ranks has."""
    shape, name = sizes.units()[unit][name], _in_block(name)
    kind = _COLUMNS.get(name) or _ROWS.get(name)
    if unit == "table":
        places = np.arange(*vocabulary_rows(sizes.vocab, p, rank))
        return Part(shape, 0, places, np.ones(len(places), np.bool_))
    if kind is None or p == 1:
        return Part(shape, None, np.empty(0, np.int64), np.asarray(rank == 0))
    if is_of_experts(unit):
        places = np.arange(*vocabulary_rows(sizes.ffn, p, rank))
    else:
        places = feature_columns(sizes.block, p, rank)[kind]
    own = _first_has_it(sizes, p, rank) if kind == "qkv" else np.ones(len(places), np.bool_)
    return Part(shape, 0 if name in _ROWS else len(shape) - 1, places, own)


def initial(sizes: GPTSizes, unit: str, name: str, seed: int) -> Array:
    """Return a parameter as training begins: a function of its name, its shape and the seed, whoever asks.

    Weights of deviation 0.02; those that add to the residual stream by 1/sqrt(2 layers) less; gains 1, biases 0.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019.
    """
    shape = sizes.units()[unit][name]
    if "gain" in name:
        return np.ones(shape)
    if len(shape) == 1:
        return np.zeros(shape)
    deviation = 0.02 / np.sqrt(2 * sizes.layers) if _in_block(name) in _ROWS else 0.02
    rng = np.random.default_rng([seed, zlib.crc32(f"{unit}.{name}".encode())])
    return rng.standard_normal(shape) * deviation


def _in_block(name: str) -> str:
    """Return a parameter's name without the number of its expert: "w_up" of "3.w_up"."""
    return name.rpartition(".")[2]


def _first_has_it(sizes: GPTSizes, p: int, rank: int) -> Array:
    """Return for each column of this rank's w_qkv whether no rank before it has the same."""
    every = split_heads(sizes.heads, sizes.kv_heads, p)
    mine = every[rank]
    before = max((each.kv_hi for each in every[:rank]), default=0)
    of_kv = np.arange(mine.kv_lo, mine.kv_hi) >= before
    return np.concatenate([np.ones(mine.hi - mine.lo, np.bool_), of_kv, of_kv]).repeat(sizes.block.head_dim)
