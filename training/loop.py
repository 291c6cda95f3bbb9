"""Training from the first step to the last, or from a checkpoint on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parallel.arguments import refuse
from training.checkpoint import check_copies, newest_on_all
from training.checks import check_alike
from training.loading import load_checkpoint
from training.local import LocalTrainer
from training.optimizers import Optimizer
from training.plan import Plan
from training.precision import DynamicScale
from training.saving import save_checkpoint
from training.sizes import GPTSizes
from training.text import text_batch
from training.trainer import Data, History, Trainer


def train(
    comm: Any,
    plan: Plan | None = None,
    *,
    sizes: GPTSizes | None = None,
    steps: int = 20,
    batch: int = 8,
    seed: int = 0,
    optimizer: Optimizer | None = None,
    dtype: Any = np.float64,
    data: Data = text_batch,
    dropout: float = 0.0,
    label_smoothing: float = 0.0,
    loss_scale: float | DynamicScale | None = None,
    folder: str | Path | None = None,
    save_every: int = 0,
    local_steps: int | None = None,
    outer: Optimizer | None = None,
) -> History:
    """Train a GPT for some steps under a plan, and return its history. All ranks of `comm` must call it alike.

        plan = Plan(dp=2, tp=2)
        ranks.run(lambda comm: train(comm, plan, steps=3).losses, plan.ranks).results[0]

    batch:  Sequences of a step, over all ranks. data: A function of (seed, step, batch, context, vocab) that returns
            them, the same on all ranks. The loss is the mean over all tokens of the step.
    dropout: The share of numbers that become 0 after the embedding, and after attention and MLP of each block.
            label_smoothing: The share of each token's target that is spread evenly over all classes.
    steps:  The number of steps at the end, those of a checkpoint included. A checkpoint with more steps is returned as
            it is.
    dtype:  float64 or float32, or for mixed precision "bfloat16" or "float16": `precision.py` says what is computed in
            16 bits and what in float32. loss_scale: The loss is multiplied by it for the backward pass, so that small
            gradients are not lost; None means DynamicScale() with float16, and 1 otherwise.
    folder: The folder of checkpoints. Training continues from the newest one, whatever its plan was, and saves one at
            the end. save_every: It also saves one after every so many steps.
    local_steps: Each of the plan's dp copies trains alone for so many steps, then all copies agree: local SGD, or
            DiLoCo. Data parallelism then sends only once in so many steps. outer: The optimiser of the agreement; None
            means DiLoCo's.

    Raises: ValueError, TypeError on every rank, before any work, if something does not fit or ranks differ;
            FloatingPointError on every rank, before any parameter has changed, if the loss or the gradient is not
            finite, unless a dynamic loss scale can be lowered: then the step is skipped on every rank;
            CheckpointError on every rank if a checkpoint cannot be read or written.
    """
    check_alike(comm, (steps, save_every, folder is None, local_steps))
    if type(steps) is not int or steps < 0 or type(save_every) is not int or save_every < 0:
        refuse(
            ValueError, "train", f"steps={steps!r}, save_every={save_every!r}", "whole numbers from 0 up", "change them"
        )
    if save_every and folder is None:
        refuse(
            ValueError, "train", f"save_every={save_every} without a folder", "both", "name a folder, or leave it out"
        )
    settings: dict[str, Any] = {
        "sizes": sizes, "batch": batch, "seed": seed, "optimizer": optimizer, "dtype": dtype, "data": data,
        "dropout": dropout, "label_smoothing": label_smoothing, "loss_scale": loss_scale,
    }  # fmt: skip
    if local_steps is not None:
        if type(local_steps) is int and local_steps > 0 and save_every % local_steps:
            got = f"save_every={save_every} with local_steps={local_steps}"
            refuse(ValueError, "train", got, "a multiple", "save when copies have agreed")
        local = LocalTrainer(comm, Plan() if plan is None else plan, local_steps=local_steps, outer=outer, **settings)
        return local.train(steps, folder, save_every)
    if outer is not None:
        refuse(ValueError, "train", "outer without local_steps", "both", "pass local_steps, or leave outer out")
    trainer = Trainer(comm, plan, **settings)
    if folder is not None:
        check_copies(comm, folder, None)
        if newest_on_all(comm, folder) is not None:
            load_checkpoint(trainer, folder)
    history = trainer.history
    for step in range(len(history.losses) + 1, steps + 1):
        trainer.step()
        if folder is not None and (step == steps or (save_every and step % save_every == 0)):
            save_checkpoint(trainer, folder)
    return history
