"""Which bugs of training code does a loss curve show?

Public threads report the same bugs of training code again and again: gradients that are summed too early, divided by
the wrong number, or clipped by the wrong norm. This script puts each bug into our trainer, on simulated ranks, and
trains a small GPT with it. If you compare gradient norms with those of one rank, you find every bug in the step in
which it sets in. If you look at the loss, you can only compare it with other runs. So we say that the curve shows a bug
if, from some step on, it stays above five healthy runs with other seeds, or below all five. All curves are means of ten
steps.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import ranks
from experiments.lab import cli, files, progress, tables
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, whole_from
from experiments.lab.tables import Column
from experiments.lab.terminal import say
from experiments.lab.training_faults import FAULTS, RESUMED, Fault, keywords
from ranks import look
from training import SGD, AdamW, GPTSizes, Plan, train
from training.optimizers import Optimizer

SHOWS = "Known bugs of training code, under three optimisers: after how many steps the loss shows them, if ever."
TAKES = "3 min"
EXAMPLES = {
    "": "a hundred steps with each bug under each optimiser",
    "--steps 300 --plot bugs.png": "longer curves, drawn beside healthy ones",
    "--bugs padding undivided": "two of them",
}
SIZES = GPTSizes(context=16, hidden=16, heads=2, kv_heads=2, ffn=32, layers=2)
BATCH = 12
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": SGD(rate=0.3),
    "Adam": AdamW(rate=0.01, clip=None),
    "Adam, clipped": AdamW(rate=0.01, clip=0.5),
}
SEEDS = 5
WINDOW = 10  # steps whose mean is looked at
SAME = 1e-6  # norms that differ by less are the same, but for the order of sums
EDGE = 1e-9  # the share by which a curve must be outside of the healthy ones: more than the order of sums makes
STEP_S = 0.02  # a step of one rank


@dataclass(frozen=True)
class Curve:
    """Losses of a training, and the norms of its gradients."""

    losses: Any
    norms: Any


def curve(plan: Plan, optimizer: Optimizer, steps: int, seed: int, setting: str) -> Curve:
    """Return the curve of a training on simulated ranks."""
    told = {"batch": BATCH, "seed": seed, "optimizer": optimizer, **keywords(setting, SIZES)}
    with np.errstate(over="ignore"):
        run = ranks.run(lambda comm: train(comm, plan, steps=steps, **told), plan.ranks)
    return Curve(np.array(run.results[0].losses), np.array(run.results[0].grad_norms))


def smooth(losses: Any) -> Any:
    """Return at each step the mean of the last WINDOW losses, or of as many as there are."""
    sums = np.concatenate([[0], np.cumsum(losses)])
    ends = np.arange(1, len(losses) + 1)
    begins = np.maximum(ends - WINDOW, 0)
    return (sums[ends] - sums[begins]) / (ends - begins)


def shown_from(losses: Any, healthy: Sequence[Any]) -> int | None:
    """Return the step from which a curve stays above all healthy ones, or below all; None if it does not.

    A curve must stay there for WINDOW steps at least: the last of a run would show anything.
    """
    band = np.stack([smooth(each) for each in healthy])
    mine = smooth(losses)
    for outside in (mine > band.max(0) * (1 + EDGE), mine < band.min(0) * (1 - EDGE)):
        inside = np.flatnonzero(~outside)
        first = int(inside[-1]) + 2 if inside.size else 1
        if first <= len(losses) - WINDOW + 1:
            return first
    return None


def experiment(world: None, args: argparse.Namespace, job: None) -> None:
    """Train with each bug, and tell who sees it."""
    faults = [FAULTS[name] for name in args.bugs]
    kinds = [(name, setting) for name in OPTIMIZERS for setting in sorted({fault.setting for fault in faults})]
    healthy = {
        (name, setting): [curve(Plan(), OPTIMIZERS[name], args.steps, args.seed + i, setting) for i in range(SEEDS)]
        for name, setting in progress.track(kinds, "training without bugs")
    }
    todo = [(fault, name) for fault in faults for name in OPTIMIZERS]
    found: dict[tuple[str, str], Curve] = {}
    for fault, name in progress.track(todo, "training with bugs"):
        found[fault.name, name] = with_fault(fault, OPTIMIZERS[name], args.steps, args.seed)
    rows = [row(fault, found, healthy) for fault in faults]
    columns = [
        Column("bug"),
        Column("what is wrong", names=True),
        Column("norm", "differs from step"),
        *[Column(name, "the loss shows it from step") for name in OPTIMIZERS],
    ]
    tables.table(columns, rows, "bugs")
    for name in OPTIMIZERS:
        shown = sum(line[3 + [*OPTIMIZERS].index(name)] is not None for line in rows)
        say(f"Under {name}, the curve shows {shown} of {len(rows)} bugs in {args.steps} steps.")
    say(
        "A dash means never. The norm is the gradient's under Adam with clipping, against the same run without the bug."
    )
    if args.plot:
        files.draw(args.plot, lambda: picture(faults, found, healthy))


def with_fault(fault: Fault, optimizer: Optimizer, steps: int, seed: int) -> Curve:
    """Return the curve of a training with a bug."""
    with fault.present():
        return curve(fault.plan, optimizer, steps, seed, fault.setting)


def row(fault: Fault, found: dict[tuple[str, str], Curve], healthy: dict[tuple[str, str], list[Curve]]) -> list[Any]:
    """Return what is known of a bug."""
    name = "Adam, clipped"
    norms, expected = found[fault.name, name].norms, healthy[name, fault.setting][0].norms
    differ = np.flatnonzero(~np.isclose(norms, expected, rtol=SAME, atol=0))  # infinite where a step was skipped
    seen = [
        shown_from(found[fault.name, name].losses, [each.losses for each in healthy[name, fault.setting]])
        for name in OPTIMIZERS
    ]
    return [fault.name, fault.wrong, int(differ[0]) + 1 if differ.size else None, *seen]


def picture(
    faults: list[Fault], found: dict[tuple[str, str], Curve], healthy: dict[tuple[str, str], list[Curve]]
) -> Any:
    """Return a Figure with a panel for each bug: its loss less that of the run without it, over the band of seeds."""
    columns = min(4, len(faults))
    lines = -(-len(faults) // columns)
    figure = look.figure(max(3 * columns, 6), 2.6 * lines + 1)
    for place, fault in enumerate(faults):
        labels = {"xlabel": "step"} if place >= len(faults) - columns else {}
        labels |= {"ylabel": "loss less healthy one's"} if place % columns == 0 else {}
        axes = look.axes(figure, lines, columns, place + 1, title=fault.name, **labels)
        bands = [[smooth(each.losses) for each in healthy[name, fault.setting]] for name in OPTIMIZERS]
        steps = np.arange(1, len(bands[0][0]) + 1)
        low = np.min([each - band[0] for band in bands for each in band], 0)
        high = np.max([each - band[0] for band in bands for each in band], 0)
        axes.fill_between(steps, low, high, color=look.INK, alpha=0.15, linewidth=0, label="five healthy seeds")
        for (name, band), colour in zip(zip(OPTIMIZERS, bands, strict=True), look.COLOURS, strict=False):
            axes.plot(steps, smooth(found[fault.name, name].losses) - band[0], color=colour, label=name)
        axes.set_ylim(-0.4, 0.9)
        if place == 0:
            look.legend(figure, handles=axes.get_legend_handles_labels()[0], ncols=4, loc="outside lower center")
    return figure


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    text = f"steps of each training run; with fewer than {RESUMED + WINDOW} no curve shows much (default: 100)"
    made.add_argument("--steps", type=whole_from(1), default=100, metavar="N", help=text)
    text = f"these bugs only, of {', '.join(FAULTS)} (default: all)"
    made.add_argument("--bugs", nargs="+", choices=FAULTS, default=[*FAULTS], metavar="NAME", help=text)
    made.add_seed("weights and batches")
    made.add_plot("a panel for each bug")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: steps of all ranks of all plans under all optimisers."""
    n_ranks = sum(FAULTS[name].plan.ranks for name in args.bugs) + 2 * SEEDS
    return Need(seconds=args.steps * n_ranks * len(OPTIMIZERS) * STEP_S)


def prepare(args: argparse.Namespace) -> None:
    """Check that it ends today."""
    afford(args, need, steps=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
