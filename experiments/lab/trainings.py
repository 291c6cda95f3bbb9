"""Trainings under plans, on simulated ranks or real MPI: their losses, and what ranks send and hold in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ranks
from experiments.lab.worlds import Real, World
from training import AdamW, GPTSizes, Ledger, Plan, Trainer
from training.costs import step_memory, step_traffic
from training.costs.experts import Routed
from training.ledger import Moment

ITEM = 8  # bytes of a float64


@dataclass(frozen=True)
class Setting:
    """A model and what it learns."""

    sizes: GPTSizes
    batch: int
    steps: int
    seed: int
    dtype: str = "float64"
    dropout: float = 0.0


@dataclass(frozen=True)
class Trained:
    """What a training came to; lists are by rank.

    sent:    Bytes sent in a step, the mean where experts make steps unlike; None on real MPI, where nobody counts them.
    time_ps: Virtual time of a step, in which only messages take time; None on real MPI.
    peaks:   Bytes held when they were most, by kind. moments: Bytes held after each operation of the last step.
    routed:  For each step what ranks sent to each expert.
    """

    losses: list[float]
    sent: list[float] | None
    time_ps: int | None
    peaks: list[dict[str, int]]
    moments: list[list[Moment]]
    routed: list[Routed]

    def most_held(self) -> int:
        """Return the bytes of the rank that holds most."""
        return max(sum(peak.values()) for peak in self.peaks)


def train_under(plan: Plan, setting: Setting, world: World) -> Trained:
    """Return what a training came to; assert that its ranks send and hold what formulas say."""
    found = _on_mpi(plan, setting, world) if isinstance(world, Real) else _simulated(plan, setting, world.network)
    held = step_memory(plan, setting.sizes, setting.batch, setting.dtype, routed=found.routed[-1])
    expected = expected_bytes(plan, setting, found)
    assert found.sent in (None, expected), f"{plan}: ranks send {found.sent}, expected {expected}"
    assert found.peaks == [each.peak for each in held], f"{plan}: ranks hold {found.peaks}"
    assert found.moments == [each.moments for each in held], f"{plan}: what ranks hold over time is not as expected"
    return found


def expected_bytes(plan: Plan, setting: Setting, found: Trained) -> list[float]:
    """Return what ranks send in a step by formula, the mean where experts make steps unlike."""
    unlike = found.routed if setting.sizes.experts else found.routed[:1]
    steps = [step_traffic(plan, setting.sizes, setting.batch, setting.dtype, routed=routed) for routed in unlike]
    return [sum(each.n_bytes for each in of_rank) / len(steps) for of_rank in zip(*steps, strict=True)]


def _program(comm: Any, plan: Plan, setting: Setting, steps: int) -> Any:
    """Train; return losses, the most that this rank holds in the last step, and what after each operation; routed."""
    trainer = Trainer(
        comm, plan, sizes=setting.sizes, batch=setting.batch, seed=setting.seed, optimizer=AdamW(rate=0.003),
        dtype=setting.dtype, dropout=setting.dropout,
    )  # fmt: skip
    ledger, routed = Ledger(), []
    for left in reversed(range(steps)):
        if not left:
            trainer.listen(ledger)
        trainer.step()
        routed.append(trainer.routed())
    return trainer.history.losses, ledger.peak, ledger.moments, routed


def _simulated(plan: Plan, setting: Setting, network: ranks.Network) -> Trained:
    """Train, and once more for no step: what is left is the cost of the steps."""
    begun, run = (
        ranks.run(_program, plan.ranks, plan, setting, steps, network=network) for steps in (0, setting.steps)
    )
    sent = [after - before for before, after in zip(begun.bytes_sent, run.bytes_sent, strict=True)]
    losses, peaks, moments, routed = zip(*run.results, strict=True)
    time_ps = (run.time_ps - begun.time_ps) // setting.steps
    by_step = [*zip(*routed, strict=True)]
    return Trained(losses[0], [n / setting.steps for n in sent], time_ps, [*peaks], [*moments], by_step)


def _on_mpi(plan: Plan, setting: Setting, world: Real) -> Trained:
    """Train on all processes, or, under a plan for one rank, on each by itself."""
    comm = world.comm.Split(world.comm.rank, 0) if plan.ranks == 1 else world.comm
    every = comm.allgather(_program(comm, plan, setting, setting.steps))
    losses, peaks, moments, routed = zip(*every, strict=True)
    return Trained(losses[0], None, None, [*peaks], [*moments], [*zip(*routed, strict=True)])
