"""Training a GPT under a plan: one rank's part of it, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from collectives import recursive_doubling_allreduce, ring_allreduce
from collectives.arrays import Array, block_bounds
from parallel.arguments import refuse
from parallel.experts.layer import Experts, Load
from parallel.memory import keep_freed_memory
from parallel.precision import sum_dtype
from parallel.strategies import sum_gradients
from training.checks import check_alike, check_data, check_kinds, checked_share
from training.cut import make_cut
from training.ledger import Ledger
from training.mesh import Mesh
from training.model import Block, Layer, Microbatch, Step, layers_of_stage
from training.optimizers import AdamW, Optimizer
from training.parts import initial, part_of
from training.plan import Plan
from training.precision import DynamicScale, checked_dtype, checked_scale
from training.runner import Runner
from training.sizes import GPTSizes, is_of_experts
from training.states import Arrays, UnitState
from training.text import IGNORED, Batch, checked_batch, text_batch

# (seed, step, sequences, context, vocab) -> the batch of a step, the same on every rank.
Data = Callable[[int, int, int, int, int], Batch]


@dataclass
class History:
    """What training has shown, step by step, the same on every rank.

    losses:     The mean cross entropy.
    auxiliary:  The weighted losses of the experts' routers. The gradient is that of the sum of both losses.
    grad_norms: The gradient's norm, unscaled and unclipped; infinity where a gradient overflowed.
    scales:     The factor by which the loss was multiplied for the backward pass.
    skipped:    The numbers of the steps in which a gradient overflowed, so that nothing was updated.
    """

    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)
    auxiliary: list[float] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)


class Trainer:
    """One rank's part of a training run: its place in the plan, its layers, and the states of its units.

    trainer = Trainer(comm, Plan(pp=2))
    trainer.step()
    trainer.history.losses
    """

    def __init__(
        self,
        comm: Any,
        plan: Plan | None = None,
        *,
        sizes: GPTSizes | None = None,
        batch: int = 8,
        seed: int = 0,
        optimizer: Optimizer | None = None,
        dtype: Any = np.float64,
        data: Data = text_batch,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        loss_scale: float | DynamicScale | None = None,
    ) -> None:
        # First: what is wrong is so on all ranks.
        check_alike(comm, (plan, sizes, batch, seed, optimizer, dtype, dropout, label_smoothing, loss_scale))
        self.comm, self.plan = comm, Plan() if plan is None else plan
        self.sizes = GPTSizes() if sizes is None else sizes
        self.batch, self.seed, self.data = batch, seed, data
        self.dropout = checked_share("dropout", dropout)
        self.label_smoothing = checked_share("label_smoothing", label_smoothing)
        self.optimizer, self.dtype = AdamW() if optimizer is None else optimizer, checked_dtype(dtype)
        self.scaling = checked_scale(loss_scale, self.dtype)
        self.scale = self.scaling.start if isinstance(self.scaling, DynamicScale) else self.scaling
        check_kinds(self.plan, self.sizes, self.optimizer, seed)
        self.plan.check(comm.size, self.sizes, batch)
        check_data(comm, data, seed, batch, self.sizes)
        keep_freed_memory()
        self.history = History()
        self.ledger: Ledger | None = None
        self._place()
        self._make_states()

    def _place(self) -> None:
        """Find this rank's place in the mesh, its tokens and its layers."""
        plan, sizes = self.plan, self.sizes
        self.mesh = Mesh(self.comm, pp=plan.pp, copies=plan.dp // plan.ep, ep=plan.ep, cp=plan.cp, tp=plan.tp)
        self.pipe, self.tensor = self.mesh.along("pp"), self.mesh.along("tp")
        self.context, self.of_data = self.mesh.along("cp"), self.mesh.along("copies", "ep", "cp")
        expert = self.mesh.along("ep") if plan.ep > 1 else None
        # The ranks that have the same experts.
        self.of_experts = self.mesh.along("copies", "cp") if plan.ep > 1 else self.of_data
        self.cut = make_cut(
            plan, sizes, self.context, self.tensor, expert=expert, batch=self.batch,
            seed=self.seed, dropout=self.dropout, smoothing=self.label_smoothing,
        )  # fmt: skip
        self.schedule = plan.pipeline()
        self.stages = {stage: self._layers(stage) for stage in self.schedule.stages_of(self.pipe.rank)}

    def _layers(self, stage: int) -> list[Layer]:
        """Return the layers of a stage, whoever has it."""
        stages = self.schedule.stages
        bounds = block_bounds(self.sizes.layers, stages)
        return layers_of_stage(self.cut, range(bounds[stage], bounds[stage + 1]), stage == 0, stage == stages - 1)

    def _make_states(self) -> None:
        """Make the states of the units, and the communicators of those that several ranks of the pipeline have."""
        plan, sizes, strategy = self.plan, self.sizes, self.cut.strategy
        mine = {unit for layers in self.stages.values() for layer in layers for unit in layer.units}
        self.states: dict[str, UnitState] = {}
        for unit, shapes in sizes.units().items():
            if unit in mine:
                here = self._experts_here(shapes) if is_of_experts(unit) else shapes
                parts = {name: part_of(sizes, unit, name, plan.tp, self.tensor.rank) for name in here}
                finish = strategy.finish if unit.startswith("block") else partial(self._finish, unit)
                data = self.of_experts if is_of_experts(unit) else self.of_data
                state = UnitState(parts, data, plan.zero, self.optimizer, self.dtype, finish)
                state.fill({name: part.of(initial(sizes, unit, name, self.seed)) for name, part in parts.items()})
                self.states[unit] = state
        self.ties: dict[str, Any] = {}
        groups: dict[tuple[int, ...], Any] = {}
        for unit, holders in self._holders().items():
            if len(holders) > 1:
                if holders not in groups:
                    groups[holders] = self.pipe.Split(int(self.pipe.rank in holders), self.pipe.rank)
                if self.pipe.rank in holders:
                    self.ties[unit] = groups[holders]

    def _experts_here(self, names: Iterable[str]) -> list[str]:
        """Return the parameters of the experts that this rank has."""
        bounds = block_bounds(self.sizes.experts, self.plan.ep)
        here = range(bounds[self.mesh.at["ep"]], bounds[self.mesh.at["ep"] + 1])
        return [name for name in names if int(name.partition(".")[0]) in here]

    def _holders(self) -> dict[str, tuple[int, ...]]:
        """Return which ranks of the pipeline have each unit: both ends the table, all copies of a stage its blocks."""
        holders: dict[str, set[int]] = {unit: set() for unit in self.sizes.units()}
        for rank in range(self.plan.pp):
            for stage in self.schedule.stages_of(rank):
                for layer in self._layers(stage):
                    for unit in layer.units:
                        holders[unit].add(rank)
        return {unit: tuple(sorted(ranks)) for unit, ranks in holders.items()}

    def _finish(self, unit: str, gradients: Arrays) -> Arrays:
        """Return the gradients of a unit that is no block, for all tokens that the tensor-parallel ranks have."""
        if self.plan.sp and self.plan.tp > 1 and unit != "table":
            return sum_gradients(self.tensor, gradients)
        return gradients

    def counted_states(self) -> dict[str, UnitState]:
        """Return the states of the units that this rank counts as its own; a unit of several stages counts once."""
        return {
            unit: state for unit, state in self.states.items() if unit not in self.ties or self.ties[unit].rank == 0
        }

    def listen(self, ledger: Ledger) -> None:
        """Tell a ledger of every array of this rank, in all steps to come."""
        self.ledger = ledger
        for state in self.states.values():
            state.listen(ledger)

    def step(self) -> None:
        """Do one step; where a gradient overflows under a dynamic loss scale, update nothing and lower the scale."""
        step = len(self.history.losses) + 1  # a checkpoint carries it on with the history
        batches, total = self._microbatches(step)
        for state in self.states.values():
            state.begin()
        for experts in self.experts().values():
            experts.begin(self.scale)
        shapes = [(len(each.tokens), len(self.cut.positions), self.sizes.hidden) for each in batches]
        if self.ledger:
            self.ledger.note("batch", batches)
        runner = Runner(
            self.pipe,
            self.schedule,
            self.stages,
            self.states,
            batches,
            Step(step, total, self.scale),
            shapes,
            self.dtype,
            self.ledger,
        )
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below, on all ranks
            loss = runner.run()
            for state in self.states.values():
                state.end()
            self._sum_ties()
            loss, norm, auxiliary = self._loss_and_norm(loss)
        overflowed = self._has_overflowed(step, loss, norm)
        history = self.history
        if overflowed:
            history.skipped.append(step)
        else:
            factor = self._clipping(norm) / self.scale
            for state in self.states.values():
                state.update(step - len(history.skipped), factor)
        history.losses.append(loss)
        history.auxiliary.append(auxiliary)
        history.grad_norms.append(np.inf if overflowed else norm)
        history.scales.append(self.scale)
        if isinstance(self.scaling, DynamicScale):
            self.scale = self.scaling.after(history.scales, overflowed)

    def _has_overflowed(self, step: int, loss: float, norm: float) -> bool:
        """Return whether a gradient has overflowed, which all ranks know by the norm; raise if no scale can help."""
        if np.isfinite(loss) and np.isfinite(norm):
            return False
        remedy = "lower the learning rate, or clip"
        if np.isfinite(loss) and self.scale > 1:
            if isinstance(self.scaling, DynamicScale):
                return True
            remedy = f"lower loss_scale, which is {self.scale:g}"
        got = f"loss {loss}, gradient norm {norm} in step {step}"
        refuse(FloatingPointError, "train", got, "finite numbers", f"{remedy}; parameters are as before the step")

    def _sum_ties(self) -> None:
        """Sum what several ranks of the pipeline have; it is summed over data-parallel ranks already."""
        for unit, comm in self.ties.items():
            ring_allreduce(comm, self.states[unit].sum, out=self.states[unit].sum)

    def _clipping(self, norm: float) -> float:
        """Return the factor that brings a gradient of this norm to the largest allowed one."""
        clip = self.optimizer.clip
        return 1.0 if clip is None or norm <= clip else clip / norm

    def _microbatches(self, step: int) -> tuple[list[Microbatch], int]:
        """Return this rank's share of a batch in microbatches, and how many tokens count in the whole of it."""
        plan, sizes = self.plan, self.sizes
        made = self.data(self.seed, step, self.batch, sizes.context, sizes.vocab)
        whole = checked_batch(made, step, (self.batch, sizes.context), sizes.vocab)
        total = int((whole.labels != IGNORED).sum())
        if not total:
            refuse(ValueError, "train", f"no token that counts in step {step}", "1 or more", "give some a label")
        bounds = block_bounds(self.batch, plan.dp)
        place = self.mesh.at["copies"] * plan.ep + self.mesh.at["ep"]
        begin, end = bounds[place], bounds[place + 1]
        inner = [begin + each for each in block_bounds(end - begin, plan.microbatches)]
        take = [(slice(low, high), self.cut.tokens) for low, high in pairwise(inner)]
        return [Microbatch(whole.tokens[each], whole.labels[each], each[0].start) for each in take], total

    def _loss_and_norm(self, loss: float) -> tuple[float, float, float]:
        """Return loss, gradient's norm and routers' losses of the step, from what each rank counts as its own."""
        squares = sum(state.square() for state in self.counted_states().values())
        auxiliary = sum(load.balance + load.z_loss for load in self.loads().values())
        shares = np.array([loss if self.tensor.rank == 0 else 0.0, squares, auxiliary])
        total = recursive_doubling_allreduce(self.comm, shares)  # so few numbers cost latencies: lg p, not 2(p - 1)
        return float(total[0]), float(np.sqrt(total[1])) / self.scale, float(total[2])

    def experts(self) -> dict[str, Experts]:
        """Return the experts of this rank's blocks."""
        layers = [layer for stage in self.stages.values() for layer in stage]
        return {each.unit: each.experts for each in layers if isinstance(each, Block) and each.experts is not None}

    def loads(self) -> dict[tuple[str, int], Load]:
        """Return, by block and microbatch, what this rank's tokens asked of experts in the last step."""
        found = {}
        turns = {unit: iter(experts.loads) for unit, experts in self.experts().items()}
        for kind, stage, microbatch in self.schedule.operations[self.pipe.rank]:
            for layer in self.stages[stage] if kind in "BI" else ():
                for unit in turns.keys() & {*layer.units}:
                    found[unit, microbatch] = next(turns[unit])
        return found

    def routed(self) -> dict[tuple[str, int], Array]:
        """Return, by block and microbatch, how many tokens this rank sent to each expert in the last step."""
        return {place: load.kept for place, load in self.loads().items()}


def whole_parameters(trainer: Trainer) -> dict[str, Array]:
    """Return all parameters, each in whole, by unit and name: "block.0.w_up". All ranks call it and get them.

    Of parameters of 16 bits it is the master copy.

    Cost: an all-reduce of the model, for tests and small models: a checkpoint moves less.
    """
    found: dict[str, Array] = {}
    counted = trainer.counted_states()
    for unit, shapes in trainer.sizes.units().items():
        state = counted.get(unit)
        views = _own_views(state) if state else {}
        for name, shape in shapes.items():
            whole = np.zeros(shape, sum_dtype(trainer.dtype))
            if state and name in views:
                part = state.parts[name]
                where = tuple(part.places if axis == part.axis else slice(None) for axis in range(len(shape)))
                whole[where] = views[name]
            found[f"{unit}.{name}"] = ring_allreduce(trainer.comm, whole)
    return found


def _own_views(state: UnitState) -> Arrays:
    """Return the parameters of a unit that this rank counts, and zeros for those that others do."""
    x = state.updated_arrays()["x"]
    flat = np.zeros(state.n, x.dtype)
    if state.is_counted_here:
        flat[state.updated] = np.where(state.own(), x, 0)
    return state.views(flat)
