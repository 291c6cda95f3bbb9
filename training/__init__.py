"""Training a small GPT under every parallel strategy, with the loss of one rank.

    import ranks
    from training import Plan, train

    plan = Plan(dp=2, tp=2, pp=2, microbatches=4)
    ranks.run(lambda comm: train(comm, plan, steps=3).losses, plan.ranks).results[0]

A `Plan` says how the model, the sequences and the work are split; `train` runs on simulated ranks and on real MPI.
"""

from training.checkpoint import CheckpointError, last_checkpoint
from training.ledger import Ledger
from training.loading import load_checkpoint
from training.loop import train
from training.optimizers import SGD, AdamW, WarmupCosine
from training.plan import Plan
from training.precision import DynamicScale
from training.saving import save_checkpoint
from training.sizes import GPTSizes
from training.text import Batch, spelled, text_batch
from training.trainer import History, Trainer, whole_parameters

__all__ = [
    "SGD",
    "AdamW",
    "Batch",
    "CheckpointError",
    "DynamicScale",
    "GPTSizes",
    "History",
    "Ledger",
    "Plan",
    "Trainer",
    "WarmupCosine",
    "last_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
    "spelled",
    "text_batch",
    "train",
    "whole_parameters",
]
