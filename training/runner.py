"""Running a pipeline's schedule, whichever it is: one loop over its operations, with messages between its stages.

Sends never wait, so a schedule that is causal cannot hang. A message has a tag of its own for stage, microbatch and
direction: under a schedule that goes back and forth two ranks have several on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from collectives.arrays import Array
from training.model import Layer, States
from training.pipeline import Op, Schedule
from training.text import Batch

# Directions of messages.
_FORWARD, _BACKWARD = 0, 1


class Mail:
    """What goes from stage to stage: a message, or, where one rank has both, nothing but the array."""

    def __init__(self, comm: Any, schedule: Schedule) -> None:
        self.comm, self.schedule = comm, schedule
        self._here: dict[tuple[int, int, int], Array] = {}
        self._sending: dict[tuple[int, int, int], Any] = {}

    def give(self, direction: int, stage: int, microbatch: int, x: Array) -> None:
        """Give what belongs to `stage` to the rank that has it."""
        key = direction, stage, microbatch
        to = self.schedule.rank_of(stage, microbatch)
        if to == self.comm.rank:
            self._here[key] = x
        else:
            self._sending[key] = self.comm.Isend(np.ascontiguousarray(x), to, self._tag(*key))

    def take(self, direction: int, stage: int, microbatch: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return what the stage before, or behind, has given to `stage`, which is this rank's."""
        key = direction, stage, microbatch
        neighbour = stage - 1 if direction == _FORWARD else stage + 1
        source = self.schedule.rank_of(neighbour, microbatch)
        if source == self.comm.rank:
            return self._here.pop(key)
        came = np.empty(shape, dtype)
        self.comm.Recv(came, source, self._tag(*key))
        return came

    def settle(self, direction: int, stage: int, microbatch: int) -> None:
        """Complete a send, if there was one. What came back shows that it has arrived, so this does not wait long."""
        request = self._sending.pop((direction, stage, microbatch), None)
        if request is not None:
            request.Wait()

    def end(self) -> None:
        """Complete all sends."""
        for key in [*self._sending]:
            self.settle(*key)

    def _tag(self, direction: int, stage: int, microbatch: int) -> int:
        return (microbatch * self.schedule.stages + stage) * 2 + direction


class Runner:
    """One step of one rank: `stages` has the layers of each stage that it holds."""

    def __init__(
        self, comm: Any, schedule: Schedule, stages: Mapping[int, Sequence[Layer]], states: States,
        batches: Sequence[Batch], total: int, shapes: Sequence[tuple[int, ...]], dtype: Any,
    ) -> None:  # fmt: skip
        self.mail, self.schedule, self.stages, self.states = Mail(comm, schedule), schedule, stages, states
        self.batches, self.total, self.shapes, self.dtype = batches, total, shapes, dtype
        self.operations = schedule.operations[comm.rank]
        self.loss = 0.0
        self._saved: dict[tuple[int, int], list[Any]] = {}
        self._waiting: dict[tuple[int, int], list[Any]] = {}

    def run(self) -> float:
        """Do all operations; return this rank's share of the loss. Gradients are with the states, being summed."""
        ready = units_ready(self.operations, self.stages)
        do: dict[str, Callable[[int, int], None]] = {
            "F": self._forward, "I": self._input, "W": self._weight, "B": self._both,
        }  # fmt: skip
        for place, operation in enumerate(self.operations):
            do[operation.kind](operation.stage, operation.microbatch)
            for unit in ready.get(place, ()):
                self.states[unit].ready()
        self.mail.end()
        return self.loss

    def _forward(self, stage: int, microbatch: int) -> None:
        x = np.empty(0)
        if stage:
            x = self.mail.take(_FORWARD, stage, microbatch, self.shapes[microbatch], self.dtype)
        saved = []
        for layer in self.stages[stage]:
            x, kept = layer.forward(self.states, self.batches[microbatch], self.total, x)
            saved.append(kept)
        self._saved[stage, microbatch] = saved
        if stage < self.schedule.stages - 1:
            self.mail.give(_FORWARD, stage + 1, microbatch, x)
        else:
            self.loss += float(x)

    def _input(self, stage: int, microbatch: int) -> None:
        d_x = np.empty(0)
        if stage < self.schedule.stages - 1:
            d_x = self.mail.take(_BACKWARD, stage, microbatch, self.shapes[microbatch], self.dtype)
            self.mail.settle(_FORWARD, stage + 1, microbatch)
        saved, waiting = self._saved.pop((stage, microbatch)), []
        for layer in reversed(self.stages[stage]):
            d_x, left = layer.input_backward(self.states, saved.pop(), d_x)
            waiting.append(left)
        self._waiting[stage, microbatch] = waiting[::-1]
        if stage:
            self.mail.give(_BACKWARD, stage - 1, microbatch, d_x)

    def _weight(self, stage: int, microbatch: int) -> None:
        waiting = self._waiting.pop((stage, microbatch))
        for layer in reversed(self.stages[stage]):
            layer.weight_backward(self.states, waiting.pop())

    def _both(self, stage: int, microbatch: int) -> None:
        self._input(stage, microbatch)
        self._weight(stage, microbatch)


def units_ready(operations: Sequence[Op], stages: Mapping[int, Sequence[Layer]]) -> dict[int, list[str]]:
    """Return, by the place of an operation, the units whose gradients are complete after it, the last layer's first."""
    last: dict[str, int] = {}
    for place, operation in enumerate(operations):
        if operation.kind in "BW":
            for layer in reversed(stages[operation.stage]):
                last |= dict.fromkeys(layer.units, place)
    ready: dict[int, list[str]] = {}
    for unit, place in last.items():
        ready.setdefault(place, []).append(unit)
    return ready
