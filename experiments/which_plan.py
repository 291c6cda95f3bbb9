"""Which plan is the best for a model on so many ranks, and how good is a prediction of it?

A plan says how training is split: how many copies of the model there are, into how many parts its matrices, sequences
and layers are cut, what is computed again, and in which order a pipeline works. For a hundred thousand plans a formula
predicts the time of a step: matrix products at the device's speed, messages at the speed of the links between those
ranks, the pipeline on a clock, and sums that overlap with passes. The search covers plans that give each rank as many
heads, sequences and tokens as another; only the blocks of pipeline stages may be uneven. If there are few ranks, the
best plans and a sample of all are also played: the real training runs on simulated ranks, and its products take virtual
time. So each prediction stands beside a measurement.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from statistics import median
from typing import Any

from experiments.lab import cli, files, progress, tables
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.models import MODELS, Model, Published, published
from experiments.lab.options import Parser, count, positive, size, whole_from
from experiments.lab.tables import Column, pair, time_column
from experiments.lab.terminal import say, tell
from experiments.lab.units import nice_bytes, nice_time
from experiments.lab.worlds import World
from experiments.pictures.plans import landscape
from ranks import Network, network_named
from training import Plan
from training.costs.flops import flops_per_token
from training.planner import (
    DEVICES,
    Bound,
    Device,
    Found,
    Planner,
    Prediction,
    best_of_cells,
    best_plans,
    play_step,
    predict,
    predict_local,
    sent_bytes,
)

SHOWS = "The best plans of up to 16,384 ranks: time, bytes, memory; predicted beside played; papers' plans."
TAKES = "1 min"
EXAMPLES = {
    "": "a toy on 8 ranks; predictions are also played",
    "--network ethernet --plot plans.png": "slow links, and a picture of all plans",
    "--model llama-405b --ranks 16384": "which plan would Llama 3 have been given?",
    "--model gpt-175b --ranks 1024 --device a100 --memory 40GB": "with 40 GB a rank",
    "--local --ranks 4": "copies that agree once in many steps, across links of all networks",
    "--published": "plans of papers, and the part of the peak that they reached",
}
PLAYED_RANKS, PLAYED_NUMBERS = 16, 10**6  # predictions are played up to so many ranks and parameters
LEAST_MEMORY = 64 * 1024  # below it no model has room; who says 40 means GB
NETWORKS, ROUNDS = ("dgx-h100", "infiniband", "ethernet"), (1, 4, 16)
PLAY_S, SEARCH_S = 0.4, 60.0
ALLOWED = 0.05  # error of the median prediction; a step of a few latencies is known to two of them


def percent(part: float) -> str:
    """Return a part as percent, with its sign.

    percent(-0.0123)  # -1.2 %
    """
    return f"{100 * part:+.1f} %"


def short(plan: Plan) -> str:
    """Return a plan in few letters: m is for microbatches, and the last word what is recomputed.

    short(Plan(pp=2, microbatches=4, schedule="zb-h1", recompute="full"))  # pp=2 zb-h1 m=4 full
    """
    said = str(plan).replace("microbatches=", "m=")
    for name in ("schedule=", "context=", "recompute="):
        said = said.replace(name, "")
    return said


def experiment(world: World, args: argparse.Namespace, job: tuple[Model, Device]) -> None:
    """Search, compare, print."""
    if args.published:
        of_papers()
        return
    model, device = job
    if args.local:
        apart(world.p, model, device, args.dtype)
        return
    sizes, network, p = model.sizes, world.network, world.p
    say(f"Model: {args.model}, {sizes.n_parameters:,} parameters in {sizes.layers} blocks, {args.dtype}")
    say(f"Step: {model.batch:,} sequences of {sizes.context:,} tokens")
    say(f"Ranks: {world.name}")
    say(f"Device: {device.flops_per_s / 1e12:g} TFLOP/s, {nice_bytes(device.memory)} each ({device.source})\n")
    planner = Planner(sizes, model.batch, network, device, args.dtype, p)
    with ExitStack() as stack:
        stack.enter_context(progress.waiting("bounding all plans"))

        def tracked(bounds: list[Bound]) -> Iterable[Bound]:
            stack.close()
            return progress.track(bounds, "predicting")

        try:
            found = best_plans(
                sizes, p, model.batch, network, device, dtype=args.dtype, keep=args.best, planner=planner, track=tracked
            )  # fmt: skip
        except ValueError as problem:  # nothing has room
            raise UsageError(str(problem)) from None
    say(f"{len(found.bounds):,} plans may fit into memory; {len(found.played):,} of them had to be predicted in full.")
    tell("In a plan m is for microbatches; selective and full say what a block makes again in its backward.")
    plays = p <= PLAYED_RANKS and sizes.n_parameters <= PLAYED_NUMBERS
    rows = [row(each, model, network, device, args.dtype, plays=plays) for each in progress.track(found.best, "best")]
    tables.table(columns(plays), rows, "best")
    if plays:
        errors = {each.plan: line[3] for each, line in zip(found.best, rows, strict=True)}
        errors |= sample(found, planner, args.sample, model, network, device, args.dtype, errors)
        compare(errors, allowed(found.best[0].time_ps, network))
    front(found)
    if args.plot:
        files.draw(args.plot, lambda: landscape(found, best_of_cells(planner, found), device.memory))


def row(each: Prediction, model: Model, network: Network, device: Device, dtype: str, *, plays: bool) -> list[Any]:
    """Return what is expected of a plan, and its measured time."""
    found = [each.time_ps]
    if plays:
        measured = play_step(each.plan, model.sizes, model.batch, network, device, dtype)
        found += [measured, each.time_ps / measured - 1]
    sent = sent_bytes(each.plan, model.sizes, model.batch, dtype)
    return [short(each.plan), *found, 1 - each.products_ps / each.time_ps, sent, each.memory, 100 * each.mfu]


def columns(plays: bool) -> list[Column]:
    """Return the columns of the best plans."""
    times = [*pair("step", nice_time, "ps"), Column("off by", show=percent)] if plays else [time_column("step")]
    return [
        Column("plan"), *times, Column("waiting", show="{:.0%}".format), Column("sent", show=nice_bytes, unit="bytes"),
        Column("held", show=nice_bytes, unit="bytes"), Column("MFU %", show="{:.1f}".format),
    ]  # fmt: skip


def sample(
    found: Found,
    planner: Planner,
    n: int,
    model: Model,
    network: Network,
    device: Device,
    dtype: str,
    known: dict[Plan, float],
) -> dict[Plan, float]:
    """Play n plans from the fastest to the slowest; return by which part predictions are off."""
    last = len(found.bounds) - 1
    plans = dict.fromkeys(found.bounds[place * last // max(1, n - 1)].plan() for place in range(n))
    errors = {}
    for plan in progress.track([plan for plan in plans if plan not in known], "playing"):
        measured = play_step(plan, model.sizes, model.batch, network, device, dtype)
        errors[plan] = planner.predict(plan).time_ps / measured - 1
    return errors


def allowed(step_ps: float, network: Network) -> float:
    """Return by which part a prediction may be off: ranks that wait for messages sent before may save latencies."""
    return max(ALLOWED, 2 * network.inter.latency_ps / step_ps)


def compare(errors: dict[Plan, float], most: float) -> None:
    """Print how far predictions are off; assert that in the median they are off by at most this part."""
    middle = median(map(abs, errors.values()))
    worst = max(errors, key=lambda plan: abs(errors[plan]))
    tell(
        f"Of {len(errors)} plans played, the best and others down to the slowest, predictions are {100 * middle:.2f} % "
        f"off in the median, and at most {percent(errors[worst])}: {short(worst)}. {why(worst)}"
    )
    assert middle <= most, f"predictions are {middle:.1%} off in the median, expected at most {most:.0%}"


def why(plan: Plan) -> str:
    """Return what the prediction leaves out of such a plan."""
    if plan.data > 1 and len(plan.pipeline().stages_of(0)) > 1:
        return (
            "The sums of a stage begin while other stages still work, and their messages meet at ports. The prediction "
            "lets a message to another stage wait for what the sums send at once, but not the sums for it."
        )
    if plan.pp > 1:
        return (
            "Between stages, the prediction gives each message the link to itself; in truth activations and gradients "
            "meet at ports, and a rank that is late makes its neighbours late."
        )
    if plan.cp > 1:
        return "In a ring, ranks run ahead of each other where messages are small; the prediction does not allow that."
    if plan.data > 1:
        return "The prediction runs the sums of gradients one after the other; in truth their messages meet at ports."
    return "Ranks with unequal shares wait for each other inside a layer; the prediction sees this only at its end."


def front(found: Found) -> None:
    """Print the plans of which none is better in both time and memory."""
    say("\nNo plan has both a shorter step and less memory than one of these:")
    rows = [[short(each.plan), each.time_ps, each.memory, 100 * each.mfu] for each in found.front]
    held = Column("held", show=nice_bytes, unit="bytes")
    tables.table([Column("front"), time_column("step"), held, Column("MFU %", show="{:.1f}".format)], rows, "front")


def apart(p: int, model: Model, device: Device, dtype: str) -> None:
    """Print what a step takes if each rank has a copy, and all agree in each step, or once in some."""
    plays = p <= PLAYED_RANKS and model.sizes.n_parameters <= PLAYED_NUMBERS
    plan, rows, errors = Plan(dp=p), [], {}
    say(f"Each of {p} ranks has a copy of the model. Local SGD lets copies train apart for H steps.")
    for name, steps in progress.track([(name, h) for name in NETWORKS for h in (None, *ROUNDS)], "training"):
        arguments = plan, model.sizes, model.batch, name, device, dtype
        found = [predict_local(*arguments, local_steps=steps) if steps else predict(*arguments).time_ps]
        if plays:
            found.append(play_step(*arguments, local_steps=steps))
            error = found[0] / found[1] - 1
            if steps is None:
                errors[name] = error
            else:
                most = 2 * allowed(found[1], network_named(name))
                assert abs(error) <= most, f"{name}, H={steps}: {found[1]}, expected {found[0]}"
        if steps is None:
            first = found[0]
        rows.append([name, f"H={steps}" if steps else "data parallel", *found, first / found[0]])
    times = pair("step", nice_time, "ps") if plays else [time_column("step")]
    faster = Column("faster", show="{:.2f}".format)
    tables.table([Column("network"), Column("agree", names=True), *times, faster], rows, "local")
    if plays and p > 1:
        middle, worst = median(map(abs, errors.values())), max(errors, key=lambda name: abs(errors[name]))
        tell(
            f"Predictions of data parallelism are {100 * middle:.2f} % off in the median, and at most "
            f"{percent(errors[worst])}, on {worst}. {why(plan)}"
        )
        assert middle <= ALLOWED, f"predictions are {middle:.1%} off in the median, expected at most {ALLOWED:.0%}"
    tell(
        "What a step learns is another matter: copies that train apart for long may need more steps (arXiv 2311.08105)."
    )


def of_papers() -> None:
    """Print which part of the peak papers' plans are expected to reach, and which they did."""
    rows = []
    for each in progress.track(published(), "predicting"):
        found, expected = of_peak(each)
        rows.append([
            each.name, short(each.plan), found.time_ps, found.memory, 100 * expected, 100 * each.of_peak,
            each.of_peak / expected,
        ])  # fmt: skip
    named = [Column("training"), Column("plan", names=True), time_column("step")]
    held = Column("held", show=nice_bytes, unit="bytes")
    parts = [Column("expected", "% of peak", "{:.1f}".format), Column("published", "% of peak", "{:.1f}".format)]
    tables.table([*named, held, *parts, Column("ratio", show="{:.2f}".format)], rows, "published")
    tell(
        "Expected is the part of the peak that bubbles and messages leave, if products run at the peak and nothing "
        "else takes time. So where the model is right, the ratio is what products and all the rest really reach: "
        "about two thirds on an A100, three quarters on an H100, from 7 billion parameters to a trillion. For the two "
        "smallest it is less: here gradients are summed while weight gradients are still computed, there afterwards."
    )
    tell(
        "Where the ratio is larger, the model is wrong. DeepSeek-V3 multiplies in 8 bits, at twice this peak, and "
        "hides the messages of its experts behind the passes of other microbatches; here ranks wait for them. Memory "
        "is that of this trainer: it keeps float32 gradients and the inputs of late weight gradients, so "
        "Llama 3 would not fit."
    )
    for paper in dict.fromkeys(each.paper for each in published()):
        tell(f"\n{paper.name}. Found: {paper.found} Assumed: {paper.assumed}")


def of_peak(each: Published) -> tuple[Prediction, float]:
    """Return the prediction of a published plan, and which part of the peak its FLOPs are, as the paper counts them."""
    sizes, batch, again = each.model.sizes, each.model.batch, each.with_recomputing
    planner = Planner(sizes, batch, each.network, each.device, "bfloat16", each.plan.ranks)
    found = planner.predict(each.plan)
    flops = flops_per_token(sizes, causal=not again, recompute="full" if again else "none")
    peak = each.device.flops_per_s * each.plan.ranks
    return found, batch * sizes.context * flops / (found.time_ps / 1e12) / peak


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks(f"up to {PLAYED_RANKS} ranks are also played", default=8, network="dgx-h100")
    made.add_argument(
        "--model", choices=MODELS, default="toy", metavar="NAME", help=f"{', '.join(MODELS)} (default: toy)"
    )
    made.add_argument("--batch", type=count, metavar="N", help="sequences of a step (default: those of the model)")
    made.add_argument("--context", type=count, metavar="N", help="tokens of a sequence (default: those of the model)")
    made.add_argument(
        "--device", choices=DEVICES, metavar="NAME",
        help=f"the device of each rank: {', '.join(DEVICES)} (default: h100, for the toy model toy)",
    )  # fmt: skip
    made.add_argument(
        "--memory", type=size, metavar="N", help="memory of each rank, such as 40GB (default: that of the device)"
    )
    made.add_argument(
        "--efficiency", type=positive, default=1.0, metavar="E",
        help="the part of its peak that a device's products reach, up to 1 (default: 1)",
    )  # fmt: skip
    dtypes = ("bfloat16", "float32", "float64")
    text = f"what layers compute with: {', '.join(dtypes)} (default: bfloat16)"
    made.add_argument("--dtype", choices=dtypes, default="bfloat16", metavar="NAME", help=text)
    made.add_argument(
        "--best", type=whole_from(1), default=10, metavar="N", help="how many plans are shown (default: 10)"
    )
    made.add_argument(
        "--sample",
        type=count,
        default=32,
        metavar="N",
        help="how many other plans are played, to measure the error (default: 32)",
    )
    made.add_argument("--local", action="store_true", help="compare copies that train apart, on fast and slow links")
    made.add_argument("--published", action="store_true", help="only predict what papers' plans reached")
    made.add_plot("time over memory of all plans, and the best for each tp and pp")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: the search, and what is played."""
    batch, p = args.batch or MODELS[args.model].batch, args.ranks
    plays = (args.sample + args.best) * PLAY_S * batch / 16 if p <= PLAYED_RANKS and args.model == "toy" else 0
    return Need(memory=4e8 + 1e3 * p, seconds=SEARCH_S + plays + 0.05 * args.best + p / 1e3)


def prepare(args: argparse.Namespace) -> tuple[Model, Device]:
    """Return the model and the device that are asked for."""
    if args.efficiency > 1:
        raise UsageError(f"--efficiency: got {args.efficiency:g}, expected up to 1; remedy: 0.7 for 70 percent")
    if args.memory is not None and args.memory < LEAST_MEMORY:
        raise UsageError(f"--memory: got {args.memory:,} bytes, expected 64KiB or more; remedy: a unit, such as 40GB")
    given = [f"--{name}" for name in ("published", "local", "plot") if getattr(args, name)]
    if len(given) > 1:
        raise UsageError(f"got {' and '.join(given)}, expected one of them; remedy: leave the others out")
    afford(args, need, ranks=1, best=1, sample=1)
    model, device = MODELS[args.model], DEVICES[args.device or ("toy" if args.model == "toy" else "h100")]
    sizes = replace(model.sizes, context=args.context or model.sizes.context)
    memory = device.memory if args.memory is None else args.memory
    return Model(sizes, args.batch or model.batch), replace(device, memory=memory, efficiency=args.efficiency)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
