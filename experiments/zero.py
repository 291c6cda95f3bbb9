"""What does each stage of ZeRO save in memory, and what do ranks send for it?

Data-parallel ranks all have the same parameters, gradients and optimiser moments, although one copy would do. With ZeRO
each rank keeps only a shard: of the moments (stage 1), of gradients too (2), of parameters too (3). When a rank needs
another shard, it gets it from the others. This script trains a small GPT at every stage, with all sequences at once and
in microbatches. It counts what ranks send and hold, and compares the counts with the formula.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from experiments.lab import cli, files, progress, tables
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say, tell
from experiments.lab.trainings import ITEM, Setting, Trained, train_under
from experiments.lab.units import decimals, nice_bytes
from experiments.lab.worlds import World
from experiments.pictures.training import stages
from training import GPTSizes, Plan
from training.costs import model_state, step_memory
from training.costs.traffic import doubling_allreduce
from training.ledger import Account
from training.precision import Widths

SHOWS = "Memory and traffic of ZeRO's stages, by formulas and counted; where ZeRO-2 sends more, and ZeRO-3 how much."
TAKES = "2 s"
EXAMPLES = {
    "": "4 ranks, sequences at once and in 4 microbatches",
    "--ranks 8 --microbatches 8 --plot zero.png": "more ranks, and a picture",
    "--mpi --ranks 2": "on real processes",
}
EXPECTED = """\
Expected of a rank, n parameters, d ranks, g microbatches:
  stage   it holds      it sends, over n(d-1)/d
  0       4n            2
  1       2n + 2n/d     2
  2       n + 3n/d      g+1, and g T/n
  3       4n/d          3g, and g(2T-P)/n
T and P are the tables of tokens and of positions. T serves twice: it has two gradients, and is gathered three times. P
is gathered once.
"""
SIZES = GPTSizes(context=32, hidden=32, heads=4, kv_heads=4, ffn=128, layers=2)
STEPS, STEP_S = 1, 0.05
PAPER = 7_500_000_000, 64  # parameters and ranks
OF_PAPER = Widths(compute=2, sums=2, master=4, moment=4)
STATE = ("parameters", "gradients", "optimiser")


def factor(zero: int, g: int) -> Fraction:
    """Return what a rank sends over n(d-1)/d, averaged over all.

    float(factor(1, 4))  # 2.0
    """
    n, table, positions = SIZES.n_parameters, SIZES.vocab * SIZES.hidden, SIZES.context * SIZES.hidden
    if zero < 2:
        return Fraction(2)
    return g + 1 + Fraction(g * table, n) if zero == 2 else 3 * g + Fraction(g * (2 * table - positions), n)


def state_bytes(n: int, d: int, zero: int, dtype: Any = OF_PAPER) -> float:
    """Return the bytes of parameters, gradients and optimiser on a rank; by default as the paper counts them.

    round(state_bytes(7_500_000_000, 64, 3) / 1e9, 1)  # 1.9
    """
    return sum(model_state(n, n / d, zero, dtype).values())


def counted_factor(sent: list[float]) -> Fraction:
    """Return what ranks have sent, without the sum of losses and norm, over n(d-1)/d, on their average."""
    d = len(sent)
    losses = sum(doubling_allreduce(3, d, rank).numbers for rank in range(d))
    return Fraction(sum(sent) - losses * ITEM) / ((d - 1) * ITEM * SIZES.n_parameters)


def experiment(world: World, args: argparse.Namespace, job: None) -> None:
    """Train at every stage, compare, print."""
    d = world.p
    if world.first:
        say(EXPECTED)
        say(f"Model: {SIZES.n_parameters:,} parameters of float64, AdamW")
        say(f"Ranks: {d} {'processes' if world.real else 'simulated'}, {args.microbatches} sequences on each\n")
    setting = Setting(SIZES, d * args.microbatches, STEPS, args.seed)
    cases = [(g, zero) for g in dict.fromkeys([1, args.microbatches]) for zero in range(4)]
    found = {}
    for g, zero in progress.track(cases, "training"):
        found[g, zero] = train_under(Plan(dp=d, zero=zero, microbatches=g), setting, world)
    if not world.first:
        return
    sent = pair("sent, over n(d-1)/d", decimals(".3f"))
    held = pair("held at most", nice_bytes, "bytes")
    state = Column("lasting", "held", nice_bytes, "bytes")
    rows = [row(d, g, zero, setting, each) for (g, zero), each in found.items()]
    names = [Column("stage", called="stage"), Column("microbatches", names=True)]
    tables.table([*names, *(sent[:1] if world.real else sent), state, *held], rows, "stages")
    tell(" ".join(said(args.microbatches)))
    in_mixed_precision()
    if args.plot:
        files.draw(args.plot, lambda: picture(d, setting, found))


def row(d: int, g: int, zero: int, setting: Setting, found: Trained) -> list[Any]:
    """Return a row of the table; assert that what was counted is as expected."""
    memory = fullest(d, g, zero, setting)
    lasting = sum(memory.peak[kind] for kind in STATE)
    least = state_bytes(SIZES.n_parameters, d, zero, ITEM)
    units = len(SIZES.units())
    assert least <= lasting <= least + 4 * ITEM * units, f"ZeRO-{zero}: {lasting} bytes of state, expected {least}"
    sent = [float(factor(zero, g))]
    if found.sent is not None:
        counted = counted_factor(found.sent)
        assert counted == factor(zero, g), f"ZeRO-{zero}: sends {counted}, expected {factor(zero, g)}"
        sent.append(float(counted))
    return [f"ZeRO-{zero}" if zero else "none", g, *sent, lasting, memory.peak_bytes, found.most_held()]


def fullest(d: int, g: int, zero: int, setting: Setting) -> Account:
    """Return what the rank that holds most is expected to hold."""
    every = step_memory(Plan(dp=d, zero=zero, microbatches=g), SIZES, setting.batch, ITEM)
    return max(every, key=lambda each: each.peak_bytes)


def said(g: int) -> list[str]:
    """Return what the table says, in sentences."""
    sentences = [
        f"ZeRO-3 sends {float(factor(3, 1) / 2):.2f} times as much as plain data parallelism does: half as much again, "
        "because it gathers parameters for the forward and for the backward pass. It does so for each microbatch.",
        "ZeRO-2 sends hardly more than ZeRO-1 if it reduces gradients once a step: only the table of tokens has two "
        "gradients. With microbatches, each one reduces its gradients, because no rank keeps the whole sum.",
    ]
    if g > 1:
        two, three = (float(factor(zero, g) / 2) for zero in (2, 3))
        sentences.append(f"With {g} microbatches ZeRO-2 sends {two:.2f}, ZeRO-3 {three:.2f} times as much as ZeRO-1.")
    return sentences


def in_mixed_precision() -> None:
    """Print what the paper's example takes."""
    n, d = PAPER
    each = [state_bytes(n, d, zero) / 1e9 for zero in range(4)]
    ours = [state_bytes(n, d, zero, "bfloat16") / 1e9 for zero in range(4)]
    say("")
    tell(
        f"The paper's example, {n / 1e9:g} billion parameters on {d} ranks, 2 bytes each, their gradients 2, Adam's "
        f"state 12: {', '.join(f'{gigabytes:.1f}' for gigabytes in each[:-1])} and {each[-1]:.1f} GB a rank. With "
        f"gradients of float32, as here: {', '.join(f'{gigabytes:.1f}' for gigabytes in ours[:-1])} and {ours[-1]:.1f}."
    )


def picture(d: int, setting: Setting, found: dict[tuple[int, int], Trained]) -> Any:
    """Return a Figure of what ranks send and hold at each stage."""
    sent, was_sent, held, was_held = {}, {}, {}, {}
    for (g, zero), each in found.items():
        name = f"{f'ZeRO-{zero}' if zero else 'none'}, {g} microbatch{'es' * (g > 1)}"
        sent[name] = float(factor(zero, g))
        was_sent[name] = None if each.sent is None else float(counted_factor(each.sent))
        held[name], was_held[name] = fullest(d, g, zero, setting).peak, each.most_held()
    sizes = [2**power for power in range(11)]
    by_ranks = {f"ZeRO-{zero}" if zero else "none": [state_bytes(1, p, zero) for p in sizes] for zero in range(4)}
    return stages(sent, was_sent, held, was_held, sizes, by_ranks)


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("each has its own sequences", default=4, network="infiniband", mpi=2, least=2)
    made.add_argument("--microbatches", type=count, default=4, metavar="M", help="microbatches of a batch (default: 4)")
    made.add_seed("parameters and sums")
    made.add_plot("what ranks send and hold at each stage", mpi=True)
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: every rank has arrays of its own, and a step goes through all sequences."""
    sequences, passes = args.microbatches, STEPS * 8
    return Need(
        memory=args.ranks * (60 * ITEM * SIZES.n_parameters + 2e6 * sequences),
        messages=passes * args.ranks**2 * 20 * sequences,
        seconds=STEP_S * passes * args.ranks * sequences,
    )


def prepare(args: argparse.Namespace) -> None:
    """Check that the machine has what the ranks hold."""
    afford(args, need, ranks=1, microbatches=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
