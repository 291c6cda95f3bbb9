"""Trainings under plans, on simulated ranks or real MPI: their losses, and what ranks send and hold in a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ranks
from experiments.lab.worlds import Real, World
from training import AdamW, GPTSizes, Ledger, Plan, Trainer
from training.costs import step_memory, step_traffic
from training.ledger import Moment

ITEM = 8  # bytes of a float64


@dataclass(frozen=True)
class Setting:
    """A model and what it learns."""

    sizes: GPTSizes
    batch: int
    steps: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What a training came to; lists are by rank.

    sent:    Bytes sent in each step; None on real MPI, where nobody counts them.
    time_ps: Virtual time of a step, in which only messages take time; None on real MPI.
    peaks:   Bytes held when they were most, by kind. moments: Bytes held after each operation of the last step.
    """

    losses: list[float]
    sent: list[int] | None
    time_ps: int | None
    peaks: list[dict[str, int]]
    moments: list[list[Moment]]

    def most_held(self) -> int:
        """Return the bytes of the rank that holds most."""
        return max(sum(peak.values()) for peak in self.peaks)


def train_under(plan: Plan, setting: Setting, world: World) -> Trained:
    """Return what a training came to; assert that its ranks send and hold what formulas say."""
    found = _on_mpi(plan, setting, world) if isinstance(world, Real) else _simulated(plan, setting, world.network)
    sent = step_traffic(plan, setting.sizes, setting.batch, ITEM)
    held = step_memory(plan, setting.sizes, setting.batch, ITEM)
    expected = [each.n_bytes for each in sent]
    assert found.sent in (None, expected), f"{plan}: ranks send {found.sent}, expected {expected}"
    assert found.peaks == [each.peak for each in held], f"{plan}: ranks hold {found.peaks}"
    assert found.moments == [each.moments for each in held], f"{plan}: what ranks hold over time is not as expected"
    return found


def _program(comm: Any, plan: Plan, setting: Setting, steps: int) -> tuple[list[float], dict[str, int], list[Moment]]:
    """Train; return losses, and the most that this rank holds in the last step, and what after each operation."""
    trainer = Trainer(
        comm, plan, sizes=setting.sizes, batch=setting.batch, seed=setting.seed, optimizer=AdamW(rate=0.003)
    )
    ledger = Ledger()
    for left in reversed(range(steps)):
        if not left:
            trainer.listen(ledger)
        trainer.step()
    return trainer.history.losses, ledger.peak, ledger.moments


def _simulated(plan: Plan, setting: Setting, network: ranks.Network) -> Trained:
    """Train, and once more for no step: what is left is the cost of the steps, which are all alike."""
    begun, run = (
        ranks.run(_program, plan.ranks, plan, setting, steps, network=network) for steps in (0, setting.steps)
    )
    sent = [after - before for before, after in zip(begun.bytes_sent, run.bytes_sent, strict=True)]
    assert not any(n % setting.steps for n in sent), f"{plan}: steps send {sent} together, not alike"
    losses, peaks, moments = zip(*run.results, strict=True)
    time_ps = (run.time_ps - begun.time_ps) // setting.steps
    return Trained(losses[0], [n // setting.steps for n in sent], time_ps, [*peaks], [*moments])


def _on_mpi(plan: Plan, setting: Setting, world: Real) -> Trained:
    """Train on all processes, or, under a plan for one rank, on each by itself."""
    comm = world.comm.Split(world.comm.rank, 0) if plan.ranks == 1 else world.comm
    every = comm.allgather(_program(comm, plan, setting, setting.steps))
    losses, peaks, moments = zip(*every, strict=True)
    return Trained(losses[0], None, None, [*peaks], [*moments])
