"""Running a pipeline's schedule, whichever it is: one loop over its operations, with messages between its stages.

Sends never wait, so a schedule that is causal cannot hang. Nothing is kept that no later operation reads: a saved
activation goes with the input half, what waits with the weight half, and an array that was sent as soon as an answer
shows that it has arrived. A tag says the chunk and the direction of a message, not its microbatch: MPI keeps messages
of one tag in order, and a rank takes the microbatches of a stage in the order in which another rank gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.precision import wire
from training.ledger import Ledger
from training.model import Layer, Microbatch, States, Step
from training.pipeline import Op, Schedule


class Mail:
    """What goes from stage to stage: a message, or, where one rank has both, nothing but the array."""

    def __init__(self, comm: Any, schedule: Schedule, ledger: Ledger | None) -> None:
        self.comm, self.schedule, self.ledger = comm, schedule, ledger
        self._here: dict[Op, Array] = {}
        # The sends to each rank that are not complete: which of its operations receives, the request and the array.
        self._sending: dict[int, list[tuple[int, Any, Array]]] = {}

    def give(self, reader: Op, x: Array) -> None:
        """Give x to the operation that reads it."""
        to = self.schedule.places[reader]
        if to == self.comm.rank:
            self._here[reader] = x
        else:
            x = np.ascontiguousarray(x)
            request = self.comm.Isend(wire(x), to, self._tag(reader))
            self._sending.setdefault(to, []).append((self.schedule.turns[reader], request, x))
        if self.ledger:
            self.ledger.note("passing", x)

    def take(self, reader: Op, writer: Op, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return what one operation, `writer`, has given to another, which is this rank's."""
        source = self.schedule.places[writer]
        if source == self.comm.rank:
            return self._here.pop(reader)
        came = np.empty(shape, dtype)
        self.comm.Recv(wire(came), source, self._tag(reader))
        if self.ledger:
            self.ledger.note("passing", came)
        self._settle(source, self.schedule.turns[writer])
        return came

    def end(self) -> None:
        """Complete all sends."""
        for rank in self._sending:
            self._settle(rank, len(self.schedule.operations[rank]))

    def _settle(self, rank: int, turn: int) -> None:
        """Complete the sends that `rank` has received by its operation `turn`; no Wait blocks, and arrays are freed."""
        left = []
        for sent in self._sending.get(rank, ()):
            if sent[0] <= turn:
                sent[1].Wait()
            else:
                left.append(sent)
        self._sending[rank] = left

    def _tag(self, reader: Op) -> int:
        return reader.stage // self.schedule.p * 2 + (reader.kind != "F")


class Runner:
    """One step of one rank: `stages` has the layers of each stage that it holds."""

    def __init__(
        self, comm: Any, schedule: Schedule, stages: Mapping[int, Sequence[Layer]], states: States,
        batches: Sequence[Microbatch], step: Step, shapes: Sequence[tuple[int, ...]], dtype: Any,
        ledger: Ledger | None = None,
    ) -> None:  # fmt: skip
        self.mail, self.schedule, self.stages = Mail(comm, schedule, ledger), schedule, stages
        self.batches, self.step, self.shapes, self.dtype = batches, step, shapes, dtype
        self.states, self.ledger, self.operations = states, ledger, schedule.operations[comm.rank]
        self.loss = 0.0
        self._ready = units_ready(self.operations, self.stages)
        self._saved: dict[tuple[int, int], list[Any]] = {}
        self._waiting: dict[tuple[int, int], list[Any]] = {}

    def run(self) -> float:
        """Do all operations; return this rank's share of the loss. Gradients are with the states, being summed."""
        do: dict[str, Callable[[Op], None]] = {
            "F": self._forward, "I": self._input, "W": self._weight, "B": self._both,
        }  # fmt: skip
        for operation in self.operations:
            do[operation.kind](operation)
            if self.ledger:
                self.ledger.mark(operation)
        self.mail.end()
        return self.loss

    def _forward(self, operation: Op) -> None:
        _, stage, microbatch = operation
        x = np.empty(0)
        if stage:
            writer = Op("F", stage - 1, microbatch)
            x = self.mail.take(operation, writer, self.shapes[microbatch], self.dtype)
        saved: list[Any] = []
        for layer in self.stages[stage]:
            x, kept = layer.forward(self.states, self.batches[microbatch], self.step, x)
            self._keep(saved, kept, "activations")
        self._saved[stage, microbatch] = saved
        if stage < self.schedule.stages - 1:
            self.mail.give(Op("F", stage + 1, microbatch), x)
        else:
            self.loss += float(x)

    def _input(self, operation: Op) -> None:
        _, stage, microbatch = operation
        d_x = np.empty(0)
        if stage < self.schedule.stages - 1:
            writer = self.schedule.backward(stage + 1, microbatch)
            d_x = self.mail.take(operation, writer, self.shapes[microbatch], self.dtype)
        saved = self._saved.pop((stage, microbatch))
        waiting: list[Any] = []
        for layer in reversed(self.stages[stage]):
            d_x, left = layer.input_backward(self.states, saved.pop(), d_x)
            self._keep(waiting, left, "waiting")
        self._waiting[stage, microbatch] = waiting[::-1]
        if stage:
            self.mail.give(self.schedule.backward(stage - 1, microbatch), d_x)

    def _weight(self, operation: Op) -> None:
        waiting = self._waiting.pop((operation.stage, operation.microbatch))
        for place, layer in reversed([*enumerate(self.stages[operation.stage])]):
            layer.weight_backward(self.states, waiting.pop())
            for unit in self._ready.get((operation, place), ()):
                self.states[unit].ready()

    def _both(self, operation: Op) -> None:
        self._input(operation)
        self._weight(operation)

    def _keep(self, kept: list[Any], more: Any, kind: str) -> None:
        kept.append(more)
        if self.ledger:
            self.ledger.note(kind, more)


def units_ready(operations: Sequence[Op], stages: Mapping[int, Sequence[Layer]]) -> dict[tuple[Op, int], list[str]]:
    """Return, by an operation and the place of a layer in its stage, the units whose gradients are complete then."""
    last: dict[str, tuple[Op, int]] = {}
    for operation in operations:
        if operation.kind in "BW":
            for place, layer in reversed([*enumerate(stages[operation.stage])]):
                last |= dict.fromkeys(layer.units, (operation, place))
    ready: dict[tuple[Op, int], list[str]] = {}
    for unit, when in last.items():
        ready.setdefault(when, []).append(unit)
    return ready
