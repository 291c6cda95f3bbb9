"""A plan says how one training is split over ranks. A plan that does not fit is refused before any work."""

from __future__ import annotations

from dataclasses import dataclass, fields

from parallel.arguments import refuse
from training.pipeline import SCHEDULES, Schedule, make_schedule
from training.sizes import GPTSizes

CONTEXTS = ("ring", "ulysses")
RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True, slots=True)
class Plan:
    """How training is split: over how many ranks in each direction, and in which order the pipeline works.

        Plan(dp=2, tp=2, pp=2, microbatches=4).ranks  # 8

    dp:           Data parallel: each rank has a copy of the model and its share of the sequences.
    tp:           Tensor parallel: each rank has some columns and rows of every matrix, and some of the vocabulary.
    sp:           With tp: each rank has only some tokens between matrices (Megatron's sequence parallelism).
    cp:           Context parallel: each rank has some tokens of every sequence.
    context:      How tokens attend to those of other ranks: "ring" passes keys and values on, "ulysses" exchanges
                  tokens for heads.
    pp:           Pipeline parallel: each rank has some blocks.
    chunks:       The number of stages on each rank under "interleaved" and "breadth-first".
    ep:           Expert parallel: each group of ep consecutive dp ranks shares out the experts. An expert serves the
                  tokens of its whole group.
    zero:         What the dp * cp ranks share out: 0 nothing, 1 the optimiser's state, 2 gradients too, 3 parameters
                  too.
    schedule:     The order of a pipeline's operations, one of SCHEDULES.
    microbatches: The number of parts into which each rank cuts its share of a batch.
    recompute:    What a block computes again in its backward pass instead of keeping it: "none"; "selective" norms and
                  GELU, which take no matrix product; "full" everything, from the block's input.
    """

    dp: int = 1
    tp: int = 1
    sp: bool = False
    cp: int = 1
    pp: int = 1
    ep: int = 1
    zero: int = 0
    schedule: str = "1f1b"
    chunks: int = 1
    microbatches: int = 1
    context: str = "ring"
    recompute: str = "none"

    def __post_init__(self) -> None:
        for name in ("dp", "tp", "cp", "pp", "ep", "chunks", "microbatches"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                refuse(ValueError, "Plan", f"{name}={value!r}", "a whole number from 1 up", f"change {name}")
        choices = {"zero": (0, 1, 2, 3), "schedule": SCHEDULES, "context": CONTEXTS, "sp": (False, True)}
        choices |= {"recompute": RECOMPUTE}
        for name, allowed in choices.items():
            value = getattr(self, name)
            if value not in allowed or type(value) is not type(allowed[0]):
                expected = ", ".join(map(str, allowed))
                refuse(ValueError, "Plan", f"{name}={value!r}", f"one of {expected}", "choose one of these")
        if self.dp % self.ep:
            refuse(ValueError, "Plan", f"ep={self.ep} for dp={self.dp}", "ep that divides dp", "change ep or dp")

    @property
    def ranks(self) -> int:
        """How many ranks the plan takes."""
        return self.dp * self.tp * self.cp * self.pp

    @property
    def data(self) -> int:
        """How many ranks have the same parameters and other tokens."""
        return self.dp * self.cp

    def pipeline(self) -> Schedule:
        """Return what each rank of a pipeline does, in which order."""
        return make_schedule(self.schedule, self.pp, self.microbatches, self.chunks)

    def check(self, ranks: int, sizes: GPTSizes, batch: int) -> None:
        """Raise unless the plan fits these ranks, this model and this batch."""
        who = "Plan"
        if ranks != self.ranks:
            cut = " * ".join(f"{name}={getattr(self, name)}" for name in ("dp", "tp", "cp", "pp"))
            refuse(ValueError, who, f"{ranks} ranks", f"{self.ranks} ({cut})", "change the plan or the ranks")
        if self.tp > sizes.heads:
            remedy = "lower tp, or give the model more heads"
            refuse(ValueError, who, f"tp={self.tp} for {sizes.heads} heads", "a head for each rank", remedy)
        if self.tp > sizes.ffn:
            refuse(ValueError, who, f"tp={self.tp} for ffn={sizes.ffn}", "a feature for each rank", "lower tp")
        if self.tp > sizes.vocab:
            refuse(ValueError, who, f"tp={self.tp} for vocab={sizes.vocab}", "a class for each rank", "lower tp")
        if self.ep > 1 and not sizes.experts:
            refuse(ValueError, who, f"ep={self.ep} for a model without experts", "ep=1", "leave ep out, or set experts")
        if self.ep > max(sizes.experts, 1):
            got = f"ep={self.ep} for {sizes.experts} experts"
            refuse(ValueError, who, got, "an expert for each rank", "lower ep, or take more experts")
        shards = self.cp * (self.tp if self.sp else 1)
        if shards > sizes.context:
            got = f"{shards} shards of sequences of {sizes.context} tokens"
            refuse(ValueError, who, got, "a token for each", "lower cp or tp, or take longer sequences")
        if self.context == "ulysses" and self.cp * self.tp > sizes.heads:
            got = f"context='ulysses', cp={self.cp}, tp={self.tp} for {sizes.heads} heads"
            refuse(ValueError, who, got, "a head for each of cp * tp ranks", "take context='ring', or lower cp")
        if type(batch) is not int or batch < self.dp * self.microbatches:
            got = f"a batch of {batch!r} for dp={self.dp} and {self.microbatches} microbatches"
            refuse(ValueError, who, got, "a sequence or more for each", "take a larger batch or fewer microbatches")
        pipeline = self.pipeline()
        if pipeline.stages > sizes.layers:
            got = f"{pipeline.stages} stages for {sizes.layers} blocks"
            refuse(ValueError, who, got, "a block or more for each", "lower pp or chunks, or take more layers")

    def __str__(self) -> str:
        """Return what differs from one rank's plan, as one would say it: dp=2 tp=2 sp."""
        said = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                said.append(field.name if value is True else f"{field.name}={value}")
        return " ".join(said) or "one rank"
