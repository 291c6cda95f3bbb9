"""Faults of training code in norm, clipping, optimiser, vocabulary, experts, dropout and loss scale.

Each is in force inside of a `with`, for training on simulated ranks, which share one process.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from experiments.lab.changing import Present, changed, together
from experiments.lab.faults_of_sums import keep_unsummed
from parallel.experts import layer as expert_layer
from parallel.tensor import vocabulary
from training import model
from training.cut import Cut
from training.pipeline import Op
from training.runner import Mail, Runner
from training.states import UnitState
from training.trainer import Trainer

# -- norm, clipping, optimiser -----------------------------------------------------------------------------------------


def norm_counts_copies() -> AbstractContextManager[None]:
    """The norm counts what every tensor-parallel rank has as often as there are ranks."""
    return changed(UnitState, own=lambda original: lambda self: np.ones(self.updated.stop - self.updated.start, bool))


def norm_before_sum() -> AbstractContextManager[None]:
    """The norm is that of gradients not yet summed over the copies of the model."""

    def make(original: Any) -> Any:
        def square(self: UnitState) -> float:
            return float((self.unsummed.astype(np.float64) ** 2).sum())  # type: ignore[attr-defined]

        return square

    return together(changed(UnitState, ready=keep_unsummed), changed(UnitState, square=make))


def nothing_clipped() -> AbstractContextManager[None]:
    """The norm is computed, and shown, and not used."""
    return changed(Trainer, _clipping=lambda original: lambda self, norm: 1.0)


def everything_decays() -> AbstractContextManager[None]:
    """A flat shard forgets which of its parameters decay."""
    everything = property(lambda self: [slice(0, self.updated.stop - self.updated.start)])
    return changed(UnitState, decayed=lambda original: everything)


def padded_offsets() -> AbstractContextManager[None]:
    """Shards of parameters are cut with padding, those of gradients without: they are off by it."""

    def make(original: Any) -> Any:
        def updated(self: UnitState, step: int, factor: float) -> None:
            padding = -self.n % self.data.size
            self.sum[:] = np.roll(self.sum, padding)
            original(self, step, factor)

        return updated

    return changed(UnitState, update=make)


def restarted_bias(resumed: int) -> Present:
    """After a resume the optimiser counts its steps from 1 again."""

    def make(original: Any) -> Any:
        def update(self: UnitState, step: int, factor: float) -> None:
            original(self, step if step <= resumed else step - resumed, factor)

        return update

    return lambda: changed(UnitState, update=make)


def local_maximum() -> AbstractContextManager[None]:
    """Each rank subtracts the largest of its own logits, and the sums of exponentials are added all the same."""

    def make(original: Any) -> Any:
        def over_ranks(comm: Any, logits: Any, here: Any, label_places: Any) -> Any:
            _, of_label = original(comm, logits, here, label_places)
            return np.stack([logits.max(-1), of_label])

        return over_ranks

    return changed(vocabulary, _over_ranks=make)


def local_smoothing() -> AbstractContextManager[None]:
    """Each rank smooths labels over the classes that it has, and takes all ranks to have as many."""

    def make(original: Any) -> Any:
        def sums_over_ranks(comm: Any, sums: Any, all_logits: Any, classes: int) -> Any:
            return original(comm, sums, None, classes)[0], all_logits / classes, classes

        return sums_over_ranks

    return changed(vocabulary, _sums_over_ranks=make)


def experts_times_ep(ep: int) -> Present:
    """Gradients of experts, which have the tokens of ep ranks, are multiplied by ep, as for a mean over ranks."""

    def make(original: Any) -> Any:
        def add(self: UnitState, gradients: Any) -> None:
            factor = ep if any("." in name for name in gradients) else 1
            original(self, {name: each * factor for name, each in gradients.items()})

        return add

    return lambda: changed(UnitState, add=make)


def balance_weighs(factor: float) -> Present:
    """The losses of the router are shown, but their gradient counts `factor` times."""

    def make(original: Any) -> Any:
        return lambda *args: original(*args[:-1], factor * args[-1])

    return lambda: changed(expert_layer, route_backward=make)


def sends_that_wait() -> AbstractContextManager[None]:
    """Each stage sends before it receives, and waits until its neighbour has taken the message."""

    def make(original: Any) -> Any:
        def give(self: Mail, reader: Op, x: Any) -> None:
            original(self, reader, x)
            self._settle(self.schedule.places[reader], self.schedule.turns[reader])

        return give

    return changed(Mail, give=make)


def weight_half_twice() -> AbstractContextManager[None]:
    """The input half already adds the weights' gradients, and the weight half adds them once more."""

    def make(original: Any) -> Any:
        def weight(self: Runner, operation: Op) -> None:
            place = operation.stage, operation.microbatch
            waiting = [*self._waiting[place]]
            original(self, operation)
            self._waiting[place] = waiting
            original(self, operation)

        return weight

    return changed(Runner, _weight=make)


# -- dropout -----------------------------------------------------------------------------------------------------------


def masks_alike() -> AbstractContextManager[None]:
    """Each copy of the model numbers its own sequences from 0, and all copies drop the same."""
    return changed(Cut, drop=lambda original: lambda self, step, first, place: original(self, step, 0, place))


def masks_of_each_rank() -> AbstractContextManager[None]:
    """Tensor-parallel ranks, which have the same tokens, draw different masks for them."""

    def make(original: Any) -> Any:
        return lambda self, step, first, place: original(self, step, first, place + 1000 * self.comm.rank)

    return changed(Cut, drop=make)


def masks_redrawn() -> AbstractContextManager[None]:
    """A block that runs again for its backward draws new masks."""

    def make(original: Any) -> Any:
        def input_backward(self: Any, states: Any, saved: Any, d_y: Any) -> Any:
            x, drop = saved
            return original(self, states, (x, lambda after, y: drop(after + 1000, y)), d_y)

        return input_backward

    return changed(model.Block, input_backward=make)


def scaler_of_each_unit() -> AbstractContextManager[None]:
    """Where a gradient overflows, units whose own gradients are finite are updated all the same."""

    def make(original: Any) -> Any:
        def has_overflowed(self: Trainer, step: int, loss: float, norm: float) -> bool:
            overflowed: bool = original(self, step, loss, norm)
            for state in self.states.values() if overflowed else ():
                if np.isfinite(state.sum).all():
                    state.update(step, 1 / self.scale)
            return overflowed

        return has_overflowed

    return changed(Trainer, _has_overflowed=make)


def counter_in_bf16() -> AbstractContextManager[None]:
    """Adam counts its steps in a bfloat16, in which 256 + 1 is 256."""

    def make(original: Any) -> Any:
        def update(self: UnitState, step: int, factor: float) -> None:
            original(self, min(step, 256), factor)

        return update

    return changed(UnitState, update=make)
