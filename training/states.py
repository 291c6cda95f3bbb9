"""A unit's parameters, gradients and optimiser state on one rank, as flat arrays: whole, or this rank's shard.

    zero  parameters  gradients  state     what travels, in numbers, d ranks, n parameters, g microbatches (ring)
    0     n           n          n         all-reduce once               2n(d-1)/d
    1     n           n          n/d       reduce-scatter, all-gather    2n(d-1)/d
    2     n           n/d        n/d       reduce-scatter each microbatch, all-gather   (g+1)n(d-1)/d
    3     n/d         n/d        n/d       two all-gathers and a reduce-scatter each microbatch   3gn(d-1)/d

A rank that has both ends of the model scatters the table's gradient twice for each microbatch under zero=2 and 3: that
of the head comes first, and would have to be kept in whole until that of the vectors is there.

The state is the optimiser's: its moments and, beside parameters of 16 bits, their master copy in float32. Gradients are
summed and travel in float32 then, parameters in 16 bits.

Everything that one rank has of a unit lies in a row, so that it is one message, and a shard may begin and end inside of
any parameter.

Source: Rajbhandari et al., arXiv 1910.02054.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from collectives import ring_allgather, ring_allreduce, ring_reduce_scatter
from collectives.arrays import Array, block_bounds, block_sizes
from parallel.precision import SIXTEEN, rounded, sum_dtype
from ranks import start
from training.ledger import Ledger
from training.optimizers import Optimizer
from training.parts import Part

Arrays = dict[str, Array]
# Sums in the background, where `np.errstate` of the step does not reach: what overflows is found in the norm.
_quietly = np.errstate(over="ignore", invalid="ignore")
_sum, _scatter_sum = _quietly(ring_allreduce), _quietly(ring_reduce_scatter)
# Sums over tensor-parallel ranks what only a part of them has computed: gradients -> gradients.
Finish = Callable[[Arrays], Arrays]


class UnitState:
    """What one rank has of a unit. data: the ranks with the same parameters, which share it out as `zero` says."""

    def __init__(
        self, parts: Mapping[str, Part], data: Any, zero: int, optimizer: Optimizer, dtype: Any, finish: Finish
    ) -> None:
        self.parts, self.data, self.zero, self.optimizer, self.finish = parts, data, zero, optimizer, finish
        sizes = [prod(part.here) for part in parts.values()]
        ends = np.cumsum(sizes).tolist()
        self.places = {name: slice(end - n, end) for name, end, n in zip(parts, ends, sizes, strict=True)}
        self.n = ends[-1]
        bounds = block_bounds(self.n, data.size)
        shard = slice(bounds[data.rank], bounds[data.rank + 1])
        self.counts = block_sizes(self.n, data.size)
        everything = slice(0, self.n)
        # Where the arrays of this rank lie in the unit.
        self.held = shard if zero == 3 else everything
        self.summed = shard if zero >= 2 else everything
        self.updated = shard if zero >= 1 else everything
        self.x = np.empty(self.held.stop - self.held.start, dtype)
        kept = sum_dtype(dtype)
        self.gradient = np.zeros(self.summed.stop - self.summed.start, kept)
        n_updated = self.updated.stop - self.updated.start
        self.moments = {name: np.zeros(n_updated, kept) for name in optimizer.moments}
        self.master = np.empty(n_updated, kept) if dtype in SIXTEEN else None
        self.ledger: Ledger | None = None
        self._parameters = self.views(self.x) if zero < 3 else {}
        self._gradients = self.views(self.gradient) if zero < 2 else {}
        self._going: Any = None

    def listen(self, ledger: Ledger) -> None:
        """Tell a ledger of this unit's arrays, now and in all steps to come."""
        self.ledger = ledger
        state = [self.master, self.moments]
        for kind, lasting in (("parameters", self.x), ("gradients", self.gradient), ("optimiser", state)):
            self.note(kind, lasting)

    def note(self, kind: str, thing: Any) -> None:
        """Tell the ledger, if there is one, of arrays."""
        if self.ledger:
            self.ledger.note(kind, thing)

    # -- parameters ------------------------------------------------------------------------------------------------

    def fill(self, values: Mapping[str, Array], kind: str = "x") -> None:
        """Set the parameters ("x") or a moment of the optimiser, given this rank's part by name."""
        flat = np.concatenate([values[name].reshape(-1) for name in self.parts]).astype(self.gradient.dtype, copy=False)
        if kind == "x":
            self.x[:] = flat[self.held]
            if self.master is not None:
                self.master[:] = flat[self.updated]
        else:
            self.moments[kind][:] = flat[self.updated]

    def updated_arrays(self) -> Arrays:
        """Return what this rank updates, flat: the parameters as "x", or their master copy, and the moments."""
        return {"x": self._updated_here() if self.master is None else self.master, **self.moments}

    def _updated_here(self) -> Array:
        """Return the parameters that this rank updates, as layers use them."""
        begin = self.held.start
        return self.x[self.updated.start - begin : self.updated.stop - begin]

    def parameters(self) -> Arrays:
        """Return this rank's part of every parameter; under zero=3 it comes from all and is dropped after use.

        Cost: under zero=3 an all-gather of the unit.
        """
        if self.zero < 3:
            return self._parameters
        flat = np.empty(self.n, self.x.dtype)
        flat[self.held] = self.x
        self.note("gathered", flat)
        ring_allgather(self.data, flat[self.held], counts=self.counts, out=flat)
        return self.views(flat)

    def views(self, flat: Array) -> Arrays:
        """Return the parts of a flat array by their names and in their shapes."""
        return {name: flat[place].reshape(self.parts[name].here) for name, place in self.places.items()}

    # -- gradients -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin a step: no gradient yet."""
        self.gradient[:] = 0

    def add(self, gradients: Mapping[str, Array]) -> None:
        """Add the gradients that a microbatch gives.

        Cost: under zero=2 and 3 a reduce-scatter of the unit, since only a shard of the sum is kept.
        """
        if self.zero < 2:
            for name, view in self._gradients.items():
                view += gradients[name]
            return
        done = self.finish(dict(gradients))
        flat = np.concatenate([done[name].reshape(-1) for name in self.parts])
        self.note("gathered", flat)
        self.gradient += ring_reduce_scatter(self.data, flat, counts=self.counts)

    def ready(self) -> None:
        """Begin to sum over the data-parallel ranks: this unit's gradients are complete on this rank."""
        if self.zero >= 2:
            return
        views = self._gradients
        for name, done in self.finish(views).items():
            if done is not views[name]:
                views[name][...] = done
        if self.data.size > 1:
            flat = self.gradient
            if self.zero:
                self._going = start(_scatter_sum, self.data, flat, counts=self.counts, out=flat[self.updated])
            else:
                self._going = start(_sum, self.data, flat, out=flat)

    @property
    def is_summing(self) -> bool:
        """Whether a sum over the data-parallel ranks is under way."""
        return self._going is not None

    def progress(self) -> None:
        """Let the sum go on, if one is under way."""
        if self._going is not None and self._going.Test():
            self._going = None

    def end(self) -> None:
        """Wait until the sum is complete."""
        if self._going is not None:
            self._going.wait()
            self._going = None

    @property
    def sum(self) -> Array:
        """The gradient's sum over the ranks of `data`, where this rank updates."""
        begin = self.summed.start
        return self.gradient[self.updated.start - begin : self.updated.stop - begin]

    @property
    def is_counted_here(self) -> bool:
        """Whether this rank counts what it updates: without shards all ranks of `data` have it, and the first does."""
        return self.zero > 0 or self.data.rank == 0

    def own(self) -> Array:
        """Return for each number that this rank updates whether no tensor-parallel rank before it does."""
        flat = np.concatenate([part.is_own().reshape(-1) for part in self.parts.values()])
        return flat[self.updated]

    def square(self) -> float:
        """Return the sum of squares of the part of the gradient that only this rank counts."""
        if not self.is_counted_here:
            return 0.0
        mine = self.sum[self._counted].astype(np.float64, copy=False)
        return float(mine @ mine)

    @cached_property
    def _counted(self) -> Array | slice:
        """Where `own` is true; it takes longer to find out than to square."""
        own = self.own()
        return slice(None) if own.all() else own

    # -- the step --------------------------------------------------------------------------------------------------

    def update(self, step: int, factor: float) -> None:
        """Change the parameters by the gradient times `factor`.

        Cost: under zero=1 and 2 an all-gather of the unit.
        """
        gradient = self.sum
        if factor != 1:
            gradient *= factor
        self.optimizer.update(step, self.updated_arrays()["x"], gradient, self.moments, self.decayed)
        self.spread()

    def spread(self) -> None:
        """Bring what this rank has updated to where layers use it, and to the ranks that have not.

        Cost: under zero=1 and 2 an all-gather of the unit.
        """
        x = self._updated_here()
        if self.master is not None:
            x[:] = rounded(self.master, x.dtype)
        if self.zero in (1, 2):
            ring_allgather(self.data, x, counts=self.counts, out=self.x)

    @cached_property
    def decayed(self) -> list[slice]:
        """Return which parts of what this rank updates decay: those of matrices."""
        begin, end = self.updated.start, self.updated.stop
        matrices = [place for name, place in self.places.items() if len(self.parts[name].shape) == 2]
        inside = [slice(max(place.start, begin) - begin, min(place.stop, end) - begin) for place in matrices]
        return [each for each in inside if each.start < each.stop]
