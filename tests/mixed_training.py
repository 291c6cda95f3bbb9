"""A small training in any dtype, on simulated ranks."""

from __future__ import annotations

from typing import Any

import numpy as np

import ranks
from training import AdamW, GPTSizes, History, Plan, Trainer, whole_parameters

TINY = GPTSizes(vocab=7, context=6, hidden=8, heads=2, kv_heads=1, ffn=7, layers=2)
OPTIMIZER = AdamW(rate=0.02, clip=0.05, decay=0.3)


def trainer_of(comm: Any, plan: Plan, **keywords: Any) -> Trainer:
    return Trainer(comm, plan, **({"sizes": TINY, "batch": 8, "seed": 1, "optimizer": OPTIMIZER} | keywords))


def trained(plan: Plan, steps: int = 2, **keywords: Any) -> tuple[History, dict[str, np.ndarray]]:
    """Return history and parameters after some steps."""

    def program(comm: Any) -> tuple[History, dict[str, np.ndarray]]:
        trainer = trainer_of(comm, plan, **keywords)
        for _ in range(steps):
            trainer.step()
        return trainer.history, whole_parameters(trainer)

    return ranks.run(program, plan.ranks).results[-1]
