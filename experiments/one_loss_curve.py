"""Does a model learn the same, however its training is cut over ranks?

A small GPT learns to say sums in words, once on one rank and then under every strategy: copies of the model with their
own sequences, ZeRO's three stages, matrices cut by columns and rows, sequences cut by a ring and by Ulysses, layers cut
into pipelines of six schedules, one of them with activations that the backward pass computes again, and all of these
together. The strategies take sums in different orders, so losses may differ in their last digits; a larger difference
would be a fault. A strategy is worth what it saves in memory and time. So the table also shows the bytes that a rank
sends in a step, the time for which it idles in a pipeline, and the most that it holds at once, each by a formula and
counted.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from experiments.lab import cli, files, progress, tables
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count, fraction, whole_from
from experiments.lab.tables import Column, pair, time_column
from experiments.lab.terminal import say, tell
from experiments.lab.trainings import ITEM, Setting, Trained, expected_bytes, train_under
from experiments.lab.units import nice_bytes
from experiments.lab.worlds import World
from experiments.pictures.training import one_curve
from training import GPTSizes, Plan
from training.costs import step_memory, step_traffic
from training.pipeline import costs, play

SHOWS = "One loss curve for all strategies of training; bytes sent, bubbles and memory, by formulas and counted."
TAKES = "1 min"
EXAMPLES = {
    "": "strategies on 4 ranks, compositions on 8",
    "--plot curve.png": "the curve, and what ranks send and hold, drawn",
    "--ranks 2 --steps 100 --ways data 1f1b zero-3": "some strategies for longer",
    "--dtype bfloat16 --ways data tensor zero-3": "in mixed precision: 2 bytes a number, 4 for sums",
    "--experts 8": "a mixture of experts in each block, and plans that share them out; it takes twice as long",
    "--dropout 0.1 --ways data sequence ring 1f1b gpipe-full": "numbers are dropped alike under every plan",
    "--mpi --ranks 4": "on real processes, every strategy that takes four",
}
# By how much of itself a loss may differ in the first step.
ROUNDING = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 2**-9, "float16": 2**-12}
STEP_S = 0.004  # of a block, a microbatch and a step
_PIPELINES = ("gpipe", "1f1b", "interleaved", "zb-h1", "zb-v", "dualpipe-v")


def ways(p: int, experts: int = 0) -> dict[str, Plan]:
    """Return the plans: of p ranks those that cut one way, of 2p those that cut several; some are for experts only."""
    pipelines = {name: Plan(pp=p, schedule=name, microbatches=2 * p) for name in _PIPELINES if name != "interleaved"}
    pipelines["interleaved"] = Plan(pp=p, schedule="interleaved", chunks=2, microbatches=2 * p)
    return {
        "data": Plan(dp=p),
        "zero-1": Plan(dp=p, zero=1),
        "zero-2": Plan(dp=p, zero=2),
        "zero-3": Plan(dp=p, zero=3),
        "tensor": Plan(tp=p),
        "sequence": Plan(tp=p, sp=True),
        "ring": Plan(cp=p),
        "ulysses": Plan(cp=p, context="ulysses"),
        **{name: pipelines[name] for name in _PIPELINES},
        "gpipe-selective": replace(pipelines["gpipe"], recompute="selective"),
        "gpipe-full": replace(pipelines["gpipe"], recompute="full"),
        "data+pipeline": Plan(dp=2, pp=p, zero=1, microbatches=p),
        "data+sequence": Plan(dp=2, tp=p, sp=True, zero=3),
        "context+tensor": Plan(cp=2, tp=p),
        **(of_experts(p) if experts else {}),
    }


def of_experts(p: int) -> dict[str, Plan]:
    """Return plans that share experts out."""
    return {"experts": Plan(dp=p, ep=p), "experts+tensor": Plan(dp=p, ep=p, tp=2, zero=1)}


def model(p: int, experts: int = 0) -> tuple[GPTSizes, int]:
    """Return a model that p ranks can share out in every way, and how many sequences each step has."""
    heads = max(4, p)
    of_model = {"hidden": 8 * heads, "heads": heads, "kv_heads": heads, "ffn": 32 * heads, "layers": 2 * p}
    if experts:  # together they cost what the MLP in their place does, if each token has two
        of_model |= {"ffn": 16 * heads, "experts": experts, "top_k": min(2, experts)}
    return GPTSizes(context=max(32, 2 * p), **of_model), 2 * p


def bubble_of(plan: Plan) -> tuple[float | None, float | None]:
    """Return for how long rank 0 idles in a step if F, I and W of a rank's layers take 1 each: by formula, and played.

    Full recomputation makes I take 2.

    bubble_of(Plan(pp=4, schedule="gpipe", microbatches=8))  # (9.0, 9.0)
    """
    if plan.pp == 1:
        return None, None
    schedule = plan.pipeline()
    chunks = len(schedule.stages_of(0))
    times = [Fraction(n, chunks) for n in (1, 2 if plan.recompute == "full" else 1, 1)]
    expected = costs.bubble(plan.schedule, plan.pp, plan.microbatches, *times)
    found = play(schedule, *times).bubbles[0]
    assert expected in (None, found), f"{plan}: idles for {found}, expected {expected}"
    return None if expected is None else float(expected), float(found)


def experiment(world: World, args: argparse.Namespace, job: tuple[Setting, dict[str, Plan]]) -> None:
    """Train under every plan, compare, print."""
    setting, plans = job
    if world.first:
        introduce(world, setting, plans)
    found = {
        name: train_under(plan, setting, world)
        for name, plan in progress.track([("one rank", Plan()), *plans.items()], "training")
    }
    if not world.first:
        return
    alone = found["one rank"].losses
    shown = sorted({0, *range(0, setting.steps, max(1, setting.steps // 6)), setting.steps - 1})
    say("Loss of one rank: " + ", ".join(f"{alone[step]:.3f} (step {step + 1})" for step in shown))
    rows = []
    for name, plan in [("one rank", Plan()), *plans.items()]:
        each = found[name]
        rows.append(
            [name, plan.ranks, difference(name, each.losses, alone, setting.dtype), *measures(plan, setting, each)]
        )
    tables.table(columns(world.real), rows)
    tell(
        "Bytes are those of the rank that sends or holds most. On every rank the counts are as the formulas say; "
        "memory is counted after every pass. A bubble is the time for which rank 0 idles if its layers take 1 each for "
        "F, I and W, and 2 for I where blocks run again."
    )
    worst = max(row[2] for row in rows)
    tell(f"All {len(rows)} curves are one: losses differ by at most {worst:.1e} of themselves.")
    if args.plot:
        losses = {name: each.losses for name, each in found.items()}
        files.draw(args.plot, lambda: one_curve(losses, *bars(setting, plans, found)))


def introduce(world: World, setting: Setting, plans: dict[str, Plan]) -> None:
    """Print what is trained, and under which plans."""
    of_experts = f" of {setting.sizes.experts} experts" if setting.sizes.experts else ""
    blocks = f"{setting.sizes.layers} blocks{of_experts}"
    dropped = f", dropout {setting.dropout:g}" if setting.dropout else ""
    say(f"Model: {setting.sizes.n_parameters:,} parameters in {blocks}, {setting.dtype}{dropped}")
    say(f"Steps: {setting.steps}, each of {setting.batch} sequences of {setting.sizes.context} letters")
    say(f"Ranks: {f'{world.p} processes' if world.real else f'simulated, on {world.network.name}'}")
    several = [f"{name}: {plan}" for name, plan in plans.items() if "+" in name or world.real]
    if several:
        say(f"Plans: {'; '.join(several)}")
    say("Expected: one curve, except for rounding; bytes, bubbles and memory by formulas from plan and sizes.\n")


def difference(name: str, losses: list[float], alone: list[float], dtype: str) -> float:
    """Return by how much of itself a loss differs at most from that of one rank; assert that it is rounding.

    In long runs it may grow, since Adam divides by the size of a gradient, however small: 30 steps of three times
    this rate differ by 1e-9. A fault shows in the first steps.
    """
    shares = [abs(got / right - 1) for got, right in zip(losses, alone, strict=True)]
    for step, share in enumerate(shares):
        allowed = min(ROUNDING[dtype] * 10 ** (step / 10), 0.05)
        assert share <= allowed, f"{name}: losses differ by {share} from those of one rank in step {step + 1}"
    return max(shares)


def measures(plan: Plan, setting: Setting, found: Trained) -> list[Any]:
    """Return what stands beside the loss: bytes sent, bubble and memory, expected and counted, and time."""
    held = step_memory(plan, setting.sizes, setting.batch, setting.dtype, routed=found.routed[-1])
    return [
        max(expected_bytes(plan, setting, found)), *([] if found.sent is None else [max(found.sent)]), *bubble_of(plan),
        max(each.peak_bytes for each in held), found.most_held(), *([] if found.sent is None else [found.time_ps]),
    ]  # fmt: skip


def columns(real: bool) -> list[Column]:
    """Return the columns of the table; on real MPI nobody counts bytes sent."""
    sent = pair("sent a step", nice_bytes, "bytes")
    bubbles = pair("bubble", "{:g}".format)
    memory = pair("memory", nice_bytes, "bytes")
    first = [Column("way"), Column("ranks"), Column("loss differs", show=rounding)]
    times = [] if real else [time_column("messages", "time of")]
    return [*first, *sent[: 1 if real else 2], *bubbles, *memory, *times]


def rounding(share: float) -> str:
    """Return a difference with its order of magnitude, 0 if there is none."""
    return f"{share:.0e}" if share else "0"


def bars(setting: Setting, plans: dict[str, Plan], found: dict[str, Trained]) -> list[Any]:
    """Return for each plan what its busiest rank sends and holds, by kind, and what was counted in all."""
    sent, held, marks_sent, marks_held = {}, {}, {}, {}
    for name, plan in [("one rank", Plan()), *plans.items()]:
        about: Any = plan, setting.sizes, setting.batch, setting.dtype
        routed = found[name].routed[-1]
        traffic = max(step_traffic(*about, routed=routed), key=lambda each: each.n_bytes)
        memory = max(step_memory(*about, routed=routed), key=lambda each: each.peak_bytes)
        sent[name], held[name] = traffic.bytes_of, memory.peak
        counted = found[name].sent
        marks_sent[name] = max(counted) if counted else None
        marks_held[name] = found[name].most_held()
    return [sent, marks_sent, held, marks_held]


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("compositions take twice as many", default=4, network="infiniband", mpi=4, least=2)
    made.add_argument("--steps", type=count, default=30, metavar="N", help="steps of training (default: 30)")
    names = [*ways(4, experts=4)]
    made.add_argument(
        "--ways", nargs="+", choices=sorted(names), default=names, metavar="NAME",
        help=f"which strategies: {', '.join(names)}; those with experts need --experts (default: all)",
    )  # fmt: skip
    text = "experts of each block, two for each token; 0 means one MLP for all tokens (default: 0)"
    made.add_argument("--experts", type=whole_from(0), default=0, metavar="E", help=text)
    text = "float64, float32, or for mixed precision bfloat16 or float16 (default: float64)"
    made.add_argument("--dtype", choices=ROUNDING, default="float64", metavar="NAME", help=text)
    text = "the share of numbers that are dropped, the same under every plan (default: 0)"
    made.add_argument("--dropout", type=fraction, default=0.0, metavar="R", help=text)
    made.add_seed("parameters and sums")
    made.add_plot("the curve, and what ranks send and hold", mpi=True)
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: every rank has arrays of its own, and each microbatch goes through each block."""
    p = args.ranks
    numbers = (12 + 4 * args.experts) * (8 * max(4, p)) ** 2 * 2 * p
    passes = 2 * p * 2 * p * args.steps * (1 + len(args.ways))
    return Need(memory=2 * p * 8 * ITEM * numbers, seconds=STEP_S * passes * (1 + numbers / 1e6))


def prepare(args: argparse.Namespace) -> tuple[Setting, dict[str, Plan]]:
    """Return what is trained, and the plans; on real MPI those that take all processes."""
    afford(args, need, ranks=1, steps=1, **({"experts": 1} if args.experts else {}))
    if 0 < args.experts < args.ranks:
        got = f"--experts {args.experts} with --ranks {args.ranks}"
        raise UsageError(f"got {got}, expected one for each rank, or none; remedy: more --experts, or fewer --ranks")
    sizes, batch = model(args.ranks, args.experts)
    plans = ways(args.ranks, args.experts)
    if args.mpi:
        half = ways(args.ranks // 2, args.experts) if args.ranks % 2 == 0 and args.ranks > 2 else {}
        plans |= {name: plan for name, plan in half.items() if "+" in name}
        plans = {name: plan for name, plan in plans.items() if plan.ranks == args.ranks}
    chosen = {name: plan for name, plan in plans.items() if name in args.ways}
    return Setting(sizes, batch, args.steps, args.seed, args.dtype, args.dropout), chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
