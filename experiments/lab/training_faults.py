"""Faults of training code that public threads report, each put into our trainer by changing one step of it.

The fault is in force inside of `with fault.present():`, for training on simulated ranks, which share one process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from experiments.lab.changing import Present
from experiments.lab.faults_of_steps import (
    balance_weighs,
    counter_in_bf16,
    everything_decays,
    experts_times_ep,
    local_maximum,
    local_smoothing,
    masks_alike,
    masks_of_each_rank,
    masks_redrawn,
    norm_before_sum,
    norm_counts_copies,
    nothing_clipped,
    padded_offsets,
    restarted_bias,
    scaler_of_each_unit,
    weight_half_twice,
)
from experiments.lab.faults_of_sums import (
    bf16_sums,
    divide_each_time,
    mean_of_means,
    norms_not_summed,
    only_the_printed_loss,
    sum_too_early,
    table_counted_once,
    tie_before_sum,
)
from training import Batch, DynamicScale, GPTSizes, Plan, text_batch
from training.text import IGNORED


@dataclass(frozen=True)
class Fault:
    """A fault: what is done wrong, the smallest plan that has it, how to put it in, and in which of SETTINGS."""

    name: str
    wrong: str
    plan: Plan
    present: Present
    setting: str = "plain"


def unequal_batch(seed: int, step: int, sequences: int, context: int, vocab: int) -> Batch:
    """Return a batch whose sequences end early, each at its own length: the labels behind do not count."""
    batch = text_batch(seed, step, sequences, context, vocab)
    lengths = np.random.default_rng([seed, step, sequences]).integers(1, context + 1, (sequences, 1))
    return Batch(batch.tokens, np.where(np.arange(context) < lengths, batch.labels, IGNORED))


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
        Fault("balance-over-dp", "gradient of balance is divided by dp", Plan(dp=2), balance_weighs(1 / 2), "experts"),
        Fault("masks-alike", "copies of the model drop the same numbers", Plan(dp=2), masks_alike, "dropout"),
        Fault("masks-apart", "ranks drop different numbers of a token", Plan(tp=2), masks_of_each_rank, "dropout"),
        Fault("masks-redrawn", "recomputation drops other numbers", Plan(recompute="full"), masks_redrawn, "dropout"),
        Fault("bf16-counter", "Adam counts its steps in bfloat16", Plan(), counter_in_bf16, "float16"),
        Fault("own-scaler", "an overflow skips some units only", Plan(pp=2), scaler_of_each_unit, "float16"),
    )
}  # fmt: skip
