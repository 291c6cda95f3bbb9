"""Faults of training code that public threads report, each put into our trainer by changing one step of it.

The fault is in force inside of `with fault.present():`, for training on simulated ranks, which share one process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from collectives import ring_allreduce
from parallel import SequenceParallel
from parallel.experts import layer as expert_layer
from parallel.precision import BFLOAT16, rounded, wide
from parallel.tensor import vocabulary
from training import Batch, DynamicScale, GPTSizes, Plan, model, runner, text_batch
from training.cut import Cut
from training.pipeline import Op
from training.runner import Mail, Runner
from training.states import UnitState
from training.text import IGNORED
from training.trainer import Trainer

Present = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """A fault: what is done wrong, the smallest plan that has it, how to put it in, and in which of SETTINGS."""

    name: str
    wrong: str
    plan: Plan
    present: Present
    setting: str = "plain"


@contextmanager
def changed(owner: Any, **by_name: Callable[..., Any]) -> Iterator[None]:
    """Replace attributes of a class or module; each value makes the new one from the original."""
    originals = {name: getattr(owner, name) for name in by_name}
    try:
        for name, make in by_name.items():
            setattr(owner, name, make(originals[name]))
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)


@contextmanager
def together(*several: AbstractContextManager[None]) -> Iterator[None]:
    """Put several changes in at once."""
    if not several:
        yield
        return
    with several[0], together(*several[1:]):
        yield


def unequal_batch(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
    """Return a batch whose sequences end early, each at its own length: the labels behind do not count."""
    batch = text_batch(seed, step, sequences, context, vocab)
    lengths = np.random.default_rng([seed, step, sequences]).integers(1, context + 1, (sequences, 1))
    return Batch(batch.tokens, np.where(np.arange(context) < lengths, batch.labels, IGNORED))


# -- what is summed, and when ------------------------------------------------------------------------------------------


def _keep_unsummed(original: Any) -> Any:
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
    return together(changed(UnitState, ready=_keep_unsummed), changed(Trainer, _sum_ties=_tie_unsummed))


def first_is_last(original: Any) -> Any:
    """Make a unit ready after its first gradient."""

    def units_ready(operations: Any, stages: Any) -> dict[int, list[str]]:
        ready: dict[int, list[str]] = {}
        seen: set[str] = set()
        for place, operation in enumerate(operations):
            for layer in reversed(stages[operation.stage]) if operation.kind in "BW" else ():
                ready.setdefault(place, []).extend(unit for unit in layer.units if unit not in seen)
                seen |= {*layer.units}
        return ready

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

    return together(changed(UnitState, ready=_keep_unsummed), changed(UnitState, square=make))


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


RESUMED = 10  # the step after which `restarted` goes on

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "unequal": {"data": unequal_batch},
    "dropout": {"dropout": 0.1},
    "float16": {"dtype": "float16", "loss_scale": DynamicScale(2.0**24)},
    "smoothed": {"label_smoothing": 0.1},
    "experts": {},
}


def keywords(setting: str, sizes: GPTSizes) -> dict[str, Any]:
    """Return what `train` is told in a setting: the model of these sizes, or one with experts, and the rest."""
    changed = {"experts": 3, "balance": 0.1} if setting == "experts" else {}
    return {"sizes": replace(sizes, **changed), **SETTINGS[setting]}


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("early-tie", "tied table added before it is summed over copies", Plan(dp=2, pp=2), tie_before_sum),
        Fault("early-sum", "a bucket is sent while it is written", Plan(dp=2, microbatches=2), sum_too_early),
        Fault("undivided", "only the printed loss is divided", Plan(microbatches=4), only_the_printed_loss(4)),
        Fault("redivided", "each microbatch divides the sum again", Plan(microbatches=4), divide_each_time(4)),
        Fault(
            "mean-of-means", "each rank's mean weighs alike",
            Plan(dp=2, microbatches=2), mean_of_means(4), "unequal",
        ),
        Fault("bf16-sums", "microbatches add up in bfloat16", Plan(microbatches=4), bf16_sums),
        Fault("norm-of-copies", "the norm counts copies twice", Plan(tp=2), norm_counts_copies),
        Fault("norm-too-early", "the norm is of unsummed gradients", Plan(dp=2), norm_before_sum),
        Fault("unclipped", "the norm is right, nothing is clipped", Plan(), nothing_clipped),
        Fault("all-decay", "biases and gains decay too", Plan(dp=2, zero=1), everything_decays),
        Fault("padding", "shards are off by their padding", Plan(dp=3, zero=1), padded_offsets),
        Fault("restarted", f"Adam counts from 1 again after step {RESUMED}", Plan(), restarted_bias(RESUMED)),
        Fault("local-maximum", "the largest logit is each rank's own", Plan(tp=2), local_maximum),
        Fault("local-smoothing", "labels are smoothed over a rank's classes", Plan(tp=2), local_smoothing, "smoothed"),
        Fault("unsummed-norms", "norms' gradients are one rank's", Plan(tp=2, sp=True), norms_not_summed),
        Fault(
            "table-once", "a tied weight loses one of its gradients",
            Plan(microbatches=2, schedule="zb-h1"), table_counted_once,
        ),
        Fault(
            "weights-twice", "both halves of the backward add them",
            Plan(pp=2, microbatches=2, schedule="zb-h1"), weight_half_twice,
        ),
        Fault("experts-times-ep", "experts' gradients times ep", Plan(dp=2, ep=2), experts_times_ep(2), "experts"),
        Fault("unbalanced", "the balance loss has no gradient", Plan(), balance_weighs(0), "experts"),
        Fault("balance-over-dp", "its gradient is divided by dp", Plan(dp=2), balance_weighs(1 / 2), "experts"),
        Fault("masks-alike", "all copies of the model drop alike", Plan(dp=2), masks_alike, "dropout"),
        Fault("masks-apart", "ranks drop unlike of the same tokens", Plan(tp=2), masks_of_each_rank, "dropout"),
        Fault("masks-redrawn", "recomputation drops other numbers", Plan(recompute="full"), masks_redrawn, "dropout"),
        Fault("bf16-counter", "Adam counts its steps in bfloat16", Plan(), counter_in_bf16, "float16"),
        Fault("own-scaler", "an overflow skips some units only", Plan(pp=2), scaler_of_each_unit, "float16"),
    )
}  # fmt: skip
