"""Local SGD: copies of the model train apart for some steps, and agree on what they have learnt. DiLoCo is the same.

    H inner steps, each copy by itself:  x -> x', with its own sequences and its own optimiser
    an outer step:                       the mean of anchor - x' as a gradient of the anchor, from which all go on

The mean counts each token alike. So one inner step of SGD and an outer one of rate 1 are data parallelism. Ranks of one
copy may cut it in any way. Only the outer step crosses copies: 1/H of the bytes that data parallelism sends.

Source: Stich, arXiv 1805.09767; Douillard et al., DiLoCo, arXiv 2311.08105 (AdamW inside, Nesterov's momentum outside).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from collectives import ring_allgather, ring_allreduce
from collectives.arrays import Array, block_bounds
from parallel.arguments import refuse
from training.checkpoint import CheckpointError, check_copies, folder_of_copy, newest_on_all
from training.checks import check_alike, check_data
from training.loading import load_checkpoint
from training.mesh import Mesh
from training.optimizers import SGD, AdamW, Optimizer
from training.plan import Plan
from training.precision import DynamicScale
from training.saving import save_checkpoint
from training.text import IGNORED, Batch, checked_batch, text_batch
from training.trainer import Data, History, Trainer

# The paper's outer optimiser.
DILOCO = SGD(rate=0.7, momentum=0.9, nesterov=True)


@dataclass(frozen=True, slots=True)
class Both:
    """The inner optimiser, with room for the outer one: the parameters of the last agreement, and its moments.

    They lie with the moments, so ZeRO shares them out and checkpoints carry them on.
    """

    inner: Optimizer
    outer: Optimizer

    @property
    def clip(self) -> float | None:
        """The largest norm of an inner gradient."""
        return self.inner.clip

    @property
    def moments(self) -> tuple[str, ...]:
        """The names of all arrays that are kept for each parameter."""
        return (*self.inner.moments, "anchor", *(f"outer_{name}" for name in self.outer.moments))

    def update(
        self, step: int, x: Array, gradient: Array, state: Mapping[str, Array], decayed: Sequence[slice]
    ) -> None:
        """Do an inner step."""
        self.inner.update(step, x, gradient, state, decayed)


class LocalTrainer:
    """One rank's part of such a training: `trainer` has its copy of the model, a plan with dp=1.

    local = LocalTrainer(comm, Plan(dp=2), local_steps=4)
    local.round(4)
    local.history.losses
    """

    def __init__(
        self, comm: Any, plan: Plan, *, local_steps: int, outer: Optimizer | None = None, batch: int = 8,
        optimizer: Optimizer | None = None, data: Data = text_batch, trainer: Callable[..., Trainer] = Trainer,
        **options: Any,
    ) -> None:  # fmt: skip
        check_alike(comm, (plan, local_steps, outer, batch, optimizer, options))
        outer = DILOCO if outer is None else outer
        _check(plan, local_steps, outer, batch, options)
        self.comm, self.local_steps, self.outer = comm, local_steps, outer
        mesh = Mesh(comm, pp=plan.pp, dp=plan.dp, cp=plan.cp, tp=plan.tp)
        self.copy, self.peers = mesh.at["dp"], mesh.along("dp")
        bounds = block_bounds(batch, plan.dp)
        self.share = _Share(data, batch, bounds[self.copy], bounds[self.copy + 1])
        self.trainer = trainer(
            mesh.along("pp", "cp", "tp"), replace(plan, dp=1), batch=self.share.end - self.share.begin,
            data=self.share, optimizer=Both(AdamW() if optimizer is None else optimizer, outer), **options,
        )  # fmt: skip
        check_data(comm, data, self.trainer.seed, batch, self.trainer.sizes)
        if isinstance(self.trainer.scaling, DynamicScale):
            got = "a dynamic loss scale, which copies would change apart"
            refuse(ValueError, "train", got, "a fixed one", "pass loss_scale=1024.0, or dtype='bfloat16'")
        for state in self.trainer.states.values():
            arrays = state.updated_arrays()
            arrays["anchor"][:] = arrays["x"]

    @property
    def history(self) -> History:
        """What training has shown up to the last agreement: means over all tokens, and of the copies' norms."""
        return self.trainer.history

    def round(self, steps: int) -> None:
        """Do some steps apart, and agree."""
        self.share.counts.clear()
        problem = ""
        for _ in range(steps):
            try:
                self.trainer.step()
            except FloatingPointError as error:  # the other copies wait for this one
                problem = str(error)
                break
        share = self._agree_on_history(steps, problem)
        done = -(-len(self.history.losses) // self.local_steps)
        for state in self.trainer.states.values():
            arrays = state.updated_arrays()
            anchor, x = arrays["anchor"], arrays["x"]
            step = share * (anchor - x)
            ring_allreduce(self.peers, step, out=step)
            moments = {name: arrays[f"outer_{name}"] for name in self.outer.moments}
            self.outer.update(done, anchor, step, moments, state.decayed)
            x[:] = anchor
            state.spread()

    def _agree_on_history(self, steps: int, problem: str) -> float:
        """Make the history that of all copies, and return this copy's share of the tokens; raise if one has failed."""
        kept, history = self.share.counts, self.history
        mine = np.full((steps, 4), np.nan)
        if not problem:
            counts = [own for own, _ in kept]
            mine[:] = np.array([history.losses[-steps:], history.auxiliary[-steps:], counts, [1] * steps]).T
            mine[:, :2] *= mine[:, 2:3]
            mine[:, 3] *= history.grad_norms[-steps:]
        total = ring_allreduce(self.peers, mine)
        if problem:
            raise FloatingPointError(problem)
        if not np.isfinite(total).all():
            got = "a loss or gradient of another copy that is not finite"
            refuse(FloatingPointError, "train", got, "finite numbers", "lower the learning rate, or clip")
        history.losses[-steps:] = (total[:, 0] / total[:, 2]).tolist()
        history.auxiliary[-steps:] = (total[:, 1] / total[:, 2]).tolist()
        history.grad_norms[-steps:] = (total[:, 3] / self.peers.size).tolist()
        own, every = np.sum(kept, 0).tolist()
        return float(own / every)

    def train(self, steps: int, folder: str | Path | None, save_every: int) -> History:
        """Train up to so many steps in all, from the newest checkpoint on if there is a folder."""
        mine = None if folder is None else folder_of_copy(folder, self.copy, self.peers.size)
        if folder is not None and mine is not None:
            check_copies(self.comm, folder, self.peers.size)
            if newest_on_all(self.trainer.comm, mine) is not None:
                load_checkpoint(self.trainer, mine)
        begun = ring_allgather(self.comm, np.array([len(self.history.losses)])).reshape(-1)
        if begun.min() != begun.max():
            got = f"checkpoints of copies after {begun.min()} and after {begun.max()} steps"
            refuse(CheckpointError, "load_checkpoint", got, "the same step", "remove those that only some copies have")
        while (done := len(self.history.losses)) < steps:
            self.round(min(self.local_steps - done % self.local_steps, steps - done))
            done = len(self.history.losses)
            if mine is not None and (done == steps or (save_every and done % save_every == 0)):
                save_checkpoint(self.trainer, mine)
        return self.history


class _Share:
    """The sequences of a copy, as data for its trainer. counts: of each step, its tokens that count, and all."""

    def __init__(self, data: Data, batch: int, begin: int, end: int) -> None:
        self.data, self.batch, self.begin, self.end = data, batch, begin, end
        self.counts: list[tuple[int, int]] = []

    def __call__(self, seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
        made = self.data(seed, step, self.batch, context, vocab)
        whole = checked_batch(made, step, (self.batch, context), vocab)
        mine = Batch(whole.tokens[self.begin : self.end], whole.labels[self.begin : self.end])
        self.counts.append((int((mine.labels != IGNORED).sum()), int((whole.labels != IGNORED).sum())))
        return mine


def _check(plan: Plan, local_steps: Any, outer: Any, batch: Any, options: Mapping[str, Any]) -> None:
    """Raise unless copies can train apart under this plan."""
    if type(local_steps) is not int or local_steps < 1:
        refuse(ValueError, "train", f"local_steps={local_steps!r}", "a whole number from 1 up", "change local_steps")
    if isinstance(outer, type) or not hasattr(outer, "update"):
        refuse(TypeError, "train", f"outer={outer!r}", "an optimiser", "pass SGD(0.7, momentum=0.9, nesterov=True)")
    if plan.ep > 1:
        got = f"local_steps={local_steps} with ep={plan.ep}, which needs all copies in each step"
        refuse(ValueError, "train", got, "ep=1", "leave ep out, or local_steps")
    if options.get("dropout"):
        got = f"local_steps={local_steps} with dropout={options['dropout']}"
        refuse(ValueError, "train", got, "no dropout: copies would draw the same masks", "leave one out")
    if type(batch) is not int or batch < plan.dp:
        got = f"a batch of {batch!r} for {plan.dp} copies"
        refuse(ValueError, "train", got, "a sequence or more for each", "take a larger batch or a lower dp")
