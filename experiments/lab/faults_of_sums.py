"""Faults of training code in what is summed when, and divided by what.

Each is in force inside of a `with`, for training on simulated ranks, which share one process.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from collectives import ring_allreduce
from experiments.lab.changing import Present, changed, together
from parallel import SequenceParallel
from parallel.precision import BFLOAT16, rounded, wide
from training import model, runner
from training.states import UnitState
from training.text import IGNORED
from training.trainer import Trainer

# -- what is summed, and when ------------------------------------------------------------------------------------------


def keep_unsummed(original: Any) -> Any:
    def ready(self: UnitState) -> None:
        self.unsummed = self.gradient.copy()  # type: ignore[attr-defined]
        original(self)

    return ready


def _tie_unsummed(original: Any) -> Any:
    def sum_ties(self: Trainer) -> None:
        for unit, comm in self.ties.items():
            mine = self.states[unit].unsummed  # type: ignore[attr-defined]
            self.states[unit].sum[:] += ring_allreduce(comm, mine) - mine

    return sum_ties


def tie_before_sum() -> AbstractContextManager[None]:
    """The table's other half is added before it was summed over the copies of the model."""
    return together(changed(UnitState, ready=keep_unsummed), changed(Trainer, _sum_ties=_tie_unsummed))


def first_is_last(original: Any) -> Any:
    """Make a unit ready after the first microbatch that gives it a gradient."""

    def units_ready(operations: Any, stages: Any) -> Any:
        return original(operations[::-1], stages)

    return units_ready


def sum_too_early() -> AbstractContextManager[None]:
    """A sum over ranks begins while later microbatches still add to it."""

    def at_once(original: Any) -> Any:
        def ready(self: UnitState) -> None:
            original(self)
            self.end()

        return ready

    return together(changed(runner, units_ready=first_is_last), changed(UnitState, ready=at_once))


def _local_parts_only(original: Any) -> Any:
    return ()


def norms_not_summed() -> AbstractContextManager[None]:
    """Under sequence parallelism gradients of norms stay those of a rank's own tokens."""
    return together(
        changed(SequenceParallel, replicated=_local_parts_only),
        changed(Trainer, _finish=lambda original: lambda self, unit, gradients: gradients),
    )


def _without_rows(original: Any) -> Any:
    def weight_backward(self: Any, states: Any, waiting: Any) -> None:
        tokens, d_rows, d_y = waiting
        original(self, states, (tokens, 0 * d_rows, d_y))

    return weight_backward


def table_counted_once() -> AbstractContextManager[None]:
    """A weight that is used twice gets the gradient of one use: the split into halves forgets the other."""
    return changed(model.Embedding, weight_backward=_without_rows)


# -- what is divided by what -------------------------------------------------------------------------------------------


def only_the_printed_loss(microbatches: int) -> Present:
    """Divide the loss that is shown by the number of microbatches, but not the gradients."""

    def make(original: Any) -> Any:
        def loss(*args: Any, **keywords: Any) -> Any:
            share, d_logits = original(*args, **keywords)
            return share, d_logits * microbatches

        return loss

    return lambda: changed(model, vocabulary_loss=make)


def divide_each_time(microbatches: int) -> Present:
    """Divide the sum so far by the number of microbatches whenever another one is added."""

    def make(original: Any) -> Any:
        def add(self: UnitState, gradients: Any) -> None:
            original(self, {name: each * microbatches for name, each in gradients.items()})
            self.gradient /= microbatches

        return add

    return lambda: changed(UnitState, add=make)


def mean_of_means(parts: int) -> Present:
    """Average each microbatch over its own tokens, then average the averages."""

    def make(original: Any) -> Any:
        def loss(comm: Any, logits: Any, first: int, labels: Any, total: int, smoothing: float) -> Any:
            return original(comm, logits, first, labels, int((labels != IGNORED).sum()) * parts, smoothing=smoothing)

        return loss

    return lambda: changed(model, vocabulary_loss=make)


def bf16_sums() -> AbstractContextManager[None]:
    """Keep the sum of microbatches in bfloat16."""

    def make(original: Any) -> Any:
        def add(self: UnitState, gradients: Any) -> None:
            original(self, gradients)
            self.gradient[:] = wide(rounded(self.gradient.astype(np.float32), BFLOAT16))

        return add

    return changed(UnitState, add=make)
