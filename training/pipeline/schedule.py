"""A pipeline schedule: for each rank, the passes that it makes, in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

KINDS = ("F", "B", "I", "W")


class Op(NamedTuple):
    """One pass of one stage over one microbatch.

    kind:        "F" is the forward. "I" is the backward half that gives the gradient of the stage's input, "W" the
                 half that gives the gradients of its weights, and "B" is both at once.
    stage:       Stages are numbered from 0, which reads the data, to the last, which computes the loss.
    microbatch:  Microbatches are numbered from 0.
    """

    kind: str
    stage: int
    microbatch: int

    def __str__(self) -> str:
        return f"{self.kind}({self.stage}, {self.microbatch})"


@dataclass(frozen=True)
class Schedule:
    """The passes of one training step: operations[rank] is what that rank does, in order.

        schedule = make_schedule("gpipe", p=2, microbatches=2)
        [str(op) for op in schedule.operations[0]]  # ['F(0, 0)', 'F(0, 1)', 'B(0, 0)', 'B(0, 1)']
        schedule.rank_of(stage=1, microbatch=0)     # 1

    The rank that makes the forward pass of a stage and microbatch holds its activations, so it makes the backward
    pass, too. Nothing here is checked: see check_schedule.
    """

    name: str
    p: int
    stages: int
    microbatches: int
    operations: tuple[tuple[Op, ...], ...]

    @cached_property
    def places(self) -> dict[Op, int]:
        """The rank of each operation."""
        return {op: rank for rank, ops in enumerate(self.operations) for op in ops}

    @cached_property
    def turns(self) -> dict[Op, int]:
        """The place of each operation in the order of its rank."""
        return {op: turn for ops in self.operations for turn, op in enumerate(ops)}

    def rank_of(self, stage: int, microbatch: int) -> int:
        """Return the rank that has `stage` for `microbatch`; under DualPipe two ranks have each stage."""
        rank = self.places.get(Op("F", stage, microbatch))
        if rank is None:
            raise ValueError(
                f"Schedule.rank_of: got stage {stage} and microbatch {microbatch}, expected a forward pass of "
                f"{self.name}, which has {self.stages} stages and {self.microbatches} microbatches; remedy: count "
                "both from 0"
            )
        return rank

    def stages_of(self, rank: int) -> tuple[int, ...]:
        """Return the stages whose parameters `rank` holds, in order."""
        return tuple(sorted({op.stage for op in self.operations[rank]}))

    def backward(self, stage: int, microbatch: int) -> Op:
        """Return the operation that gives the gradient of the stage's input: B, or I where B is split."""
        whole = Op("B", stage, microbatch)
        return whole if whole in self.places else Op("I", stage, microbatch)

    @cached_property
    def needs(self) -> dict[Op, tuple[Op, ...]]:
        """The operations whose results each operation reads.

        make_schedule("1f1b", 2, 1).needs[Op("B", 0, 0)]  # F(0, 0), whose activations it reads, and B(1, 0)
        """
        return {op: self._needs(op) for op in self.places}

    def _needs(self, op: Op) -> tuple[Op, ...]:
        kind, stage, microbatch = op
        if kind == "F":
            return (Op("F", stage - 1, microbatch),) if stage else ()
        if kind == "W":
            return (Op("I", stage, microbatch),)
        forward = Op("F", stage, microbatch)
        return (forward, self.backward(stage + 1, microbatch)) if stage + 1 < self.stages else (forward,)
