"""What training under a plan must do, as programs: the same claims on simulated ranks and on real MPI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from training import SGD, AdamW, GPTSizes, History, Plan, Trainer, whole_parameters
from training.plan import RECOMPUTE

# Nothing divides by 2 or 3 that need not: vocabulary, tokens, features of the MLP, blocks per stage.
SMALL = GPTSizes(vocab=13, context=10, hidden=12, heads=6, kv_heads=2, ffn=19, layers=5)

# Five experts, which no ep but 5 divides; and three with places for some tokens only, beside an MLP for all.
DROPLESS = replace(SMALL, experts=5, top_k=2, balance=0.5, z_loss=0.1, layers=4)
LIMITED = replace(DROPLESS, experts=3, shared_experts=2, capacity_factor=0.8, ffn=7)


@dataclass(frozen=True)
class Case:
    """A training of some steps; `optimizer` is a name, so that a case can be a key."""

    sizes: GPTSizes = SMALL
    batch: int = 8
    steps: int = 2
    seed: int = 1
    optimizer: str = "adamw"
    dtype: str = "f8"
    dropout: float = 0.0
    label_smoothing: float = 0.0


OPTIMIZERS = {
    "adamw": AdamW(rate=1e-2, clip=0.5),
    "sgd": SGD(rate=0.5),
    "momentum": SGD(rate=0.1, momentum=0.9, decay=0.01, clip=1.0),
}


def trained(comm: Any, plan: Plan, case: Case) -> tuple[History, dict[str, np.ndarray]]:
    """Return the history and the parameters at the end."""
    trainer = Trainer(
        comm, plan, sizes=case.sizes, batch=case.batch, seed=case.seed,
        optimizer=OPTIMIZERS[case.optimizer], dtype=np.dtype(case.dtype), dropout=case.dropout,
        label_smoothing=case.label_smoothing,
    )  # fmt: skip
    for _ in range(case.steps):
        trainer.step()
    return trainer.history, whole_parameters(trainer)


@cache
def alone(case: Case) -> tuple[History, dict[str, np.ndarray]]:
    """Return what one rank makes of a case."""
    import ranks

    return ranks.run(lambda comm: trained(comm, Plan(), case), 1).results[0]


def claim_equals_one_rank(comm: Any, plan: Plan, case: Case, expected: Any = None) -> None:
    """Losses, gradient norms and final parameters are those of one rank."""
    history, parameters = trained(comm, plan, case)
    of_one, parameters_of_one = expected or alone(case)
    # Sums of up to some thousand terms, in another order; a step of Adam divides by the size of the gradient itself.
    allowed = 1e5 * float(np.finfo(case.dtype).eps)
    for name in ("losses", "grad_norms", "auxiliary"):
        got, wanted = np.array(getattr(history, name)), np.array(getattr(of_one, name))
        assert got.shape == wanted.shape == (case.steps,)
        error = float((abs(got - wanted) / np.maximum(abs(wanted), 1e-9)).max())
        assert error <= allowed, f"{plan}: {name} {got}, expected {wanted}"
    assert parameters.keys() == parameters_of_one.keys()
    for name, wanted in parameters_of_one.items():
        error = float(abs(parameters[name] - wanted).max())
        assert error <= allowed, f"{plan}: {name} off by {error}"


def plans(ranks: int, sizes: GPTSizes = SMALL) -> list[Plan]:
    """Return a plan for each way to cut `ranks` that fits the model; zero, schedule and the rest are drawn."""
    found = []
    for dp in range(1, ranks + 1):
        for tp in range(1, ranks // dp + 1):
            for cp in range(1, ranks // (dp * tp) + 1):
                pp, rest = divmod(ranks, dp * tp * cp)
                if rest:
                    continue
                draw = np.random.default_rng([ranks, dp, tp, cp])
                plan = Plan(
                    dp=dp, tp=tp, cp=cp, pp=pp, sp=bool(tp > 1 and draw.integers(2)), zero=int(draw.integers(4)),
                    microbatches=int(draw.integers(1, 3)), context=("ring", "ulysses")[draw.integers(2)],
                    schedule=("gpipe", "1f1b", "zb-h1", "zb-h2")[draw.integers(4)],
                    recompute=RECOMPUTE[draw.integers(3)],
                )  # fmt: skip
                for each in (plan, replace(plan, context="ring")):
                    try:
                        each.check(ranks, sizes, 8)
                    except ValueError:
                        continue
                    found.append(each)
                    break
    return found


def plans_with_experts(ranks: int) -> list[Plan]:
    """Return plans for an even number of ranks that share out experts, of LIMITED too."""
    half = ranks // 2
    return [Plan(dp=ranks, ep=2, zero=3), Plan(dp=half, ep=2, tp=2, zero=1), Plan(dp=half, ep=2, cp=2)]
