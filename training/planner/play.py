"""The same step, played: the real training on simulated ranks, where products take time on the virtual clock.

Layers and attention run as they do anywhere, and their messages take what the network says. What each layer multiplies
is charged by the arrays that it is given, so nothing here knows of a prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel import Experts
from parallel.attention.local import BLOCKWISE, Kernel
from parallel.block import Waiting
from parallel.costs import visible_pairs
from parallel.parameters import Parameters
from ranks import Network, Wtime, run, spend
from training.cut import make_cut
from training.local import LocalTrainer
from training.model import Layer, Microbatch, States, Step
from training.plan import Plan
from training.planner.devices import Device, device_named
from training.sizes import GPTSizes
from training.trainer import Trainer

Charge = Callable[[float], None]
Product = Callable[[Array, Array], Array]
_SLICES, _SLICE_PS = (
    16,
    200_000,
)  # at most, and at least: between them sums under way make progress; a poll takes 0.1 µs
PS = 1e12


def play_step(
    plan: Plan, sizes: GPTSizes, batch: int, network: Network | str, device: Device | str, dtype: Any = "bfloat16", *,
    local_steps: int | None = None,
) -> int:  # fmt: skip
    """Return the picoseconds of a step of training on simulated ranks, the second one: all have begun by then.

    local_steps: as for `train`; then it is the mean of the steps of the second round.
    """
    computes = device_named(device)
    played = run(_program, plan.ranks, plan, sizes, batch, computes, dtype, local_steps, network=network)
    first, second = (float(max(times)) for times in zip(*played.results, strict=True))
    return round((second - first) * PS / (local_steps or 1))


def _program(
    comm: Any, plan: Plan, sizes: GPTSizes, batch: int, device: Device, dtype: Any, local_steps: int | None
) -> list[float]:
    """Train for two steps, or rounds of them; return when each has ended on this rank."""
    settings: dict[str, Any] = {"sizes": sizes, "batch": batch, "dtype": dtype}
    trainer: Trainer
    if local_steps is None:
        trainer = _Charging(comm, plan, **settings)
        step = trainer.step
    else:
        local = LocalTrainer(comm, plan, local_steps=local_steps, trainer=_Charging, **settings)
        trainer, step = local.trainer, partial(local.round, local_steps)
    assert isinstance(trainer, _Charging)
    trainer.charge_with(device)
    ends = []
    for _ in range(2):
        step()
        ends.append(Wtime())
    return ends


class _Charging(Trainer):
    """A trainer whose products take time."""

    def charge_with(self, device: Device) -> None:
        """Let products take the device's time from now on."""

        def charge(flops: float) -> None:
            time_ps, going = device.time_ps(flops), [state for state in self.states.values() if state.is_summing]
            slices = max(1, min(_SLICES, int(time_ps // _SLICE_PS))) if going else 1
            begin_ps = Wtime() * PS
            for part in range(1, slices + 1):
                under_way = next((state for state in going if state.is_summing), None)
                if under_way:
                    under_way.progress()  # which lets all others go on, too
                # Progress takes no time of its own, since the network makes it.
                spend(self.comm, max(0, round(begin_ps + time_ps * part / slices - Wtime() * PS)))

        expert = self.mesh.along("ep") if self.plan.ep > 1 else None
        self.cut = make_cut(
            self.plan, self.sizes, self.context, self.tensor, expert=expert, kernel=_charged(charge), batch=self.batch,
            seed=self.seed, dropout=self.dropout, smoothing=self.label_smoothing,
        )  # fmt: skip
        if isinstance(self.cut.experts, partial):
            made = self.cut.experts
            experts = partial(_ChargedExperts, charge, *made.args, **made.keywords)
            self.cut = replace(self.cut, experts=experts)
        again = self.plan.recompute
        for stage in self.stages:
            self.stages[stage] = [_Charged(layer, again, charge) for layer in self._layers(stage)]


def _charged(charge: Charge) -> Kernel:
    """Return attention that takes time: of the pairs that see each other, two products forward and five backward."""

    def flops(q: Array, where: dict[str, Any]) -> float:
        batch, n, heads, dim = q.shape
        at = [np.sort(np.asarray(where.get(name, np.arange(n)))) for name in ("q_positions", "k_positions")]
        return 2.0 * visible_pairs(*at) * int(batch * heads * dim)

    def forward(q: Array, k: Array, v: Array, **where: Any) -> tuple[Array, Array]:
        charge(2 * flops(q, where))
        return BLOCKWISE.forward(q, k, v, **where)

    def backward(q: Array, *others: Any, **where: Any) -> tuple[Array, Array, Array]:
        charge(5 * flops(q, where))
        return BLOCKWISE.backward(q, *others, **where)

    return Kernel(forward, backward)


class _ChargedExperts(Experts):
    """Experts whose products take time, by the rows that really came."""

    def __init__(self, charge: Charge, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.charge = charge

    def _each(self, name: str, parameters: Parameters, x: Array, parts: list[slice], product: Product) -> Array:
        self.charge(2 * len(x) * parameters[f"{self.here[0]}.{name}"].size)
        return super()._each(name, parameters, x, parts, product)


class _Charged:
    """A layer whose products with matrices take time, before anything else of the same pass."""

    def __init__(self, layer: Layer, recompute: str, charge: Charge) -> None:
        self.layer, self.units, self.recompute, self.charge = layer, layer.units, recompute, charge
        self.tokens = 0

    def _products(self, states: States) -> float:
        """Return the FLOPs of a product with each matrix but those of experts; vectors of tokens are looked up."""
        named = ["table"] if "norm" in self.units else [unit for unit in self.units[:1] if unit.startswith("block")]
        shapes = [part.here for unit in named for part in states[unit].parts.values()]
        numbers: int = sum(shape[0] * shape[1] for shape in shapes if len(shape) == 2)
        return 2 * self.tokens * numbers

    def forward(self, states: States, batch: Microbatch, step: Step, x: Array) -> tuple[Array, Any]:
        """Compute as the layer does."""
        self.tokens = batch.tokens.size
        self.charge(self._products(states))
        return self.layer.forward(states, batch, step, x)

    def input_backward(self, states: States, saved: Any, d_y: Array) -> tuple[Array, Any]:
        """Compute as the layer does; all once more if its forward is."""
        again = self.recompute == "full" and "norm" not in self.units
        self.charge(self._products(states) * (1 + again))
        return self.layer.input_backward(states, saved, d_y)

    def weight_backward(self, states: States, waiting: Any) -> None:
        """Compute as the layer does."""
        products = self._products(states)
        if isinstance(waiting, Waiting):
            each = waiting.products.values()
            products = sum(2 * d_y.size * x.shape[2] for x, d_y in each)
        self.charge(products)
        self.layer.weight_backward(states, waiting)
