"""How many tokens does each expert of a mixture get, how many are dropped, and what does the balance loss do?

Each block of a small GPT has a router and several experts, which are spread over the ranks; the router sends each token
to some of the experts. The model is trained with several weights of the balance loss: once with room for all tokens,
and once with a few more places than an expert needs if all experts get equally many tokens. A token that finds no place
skips that expert: it is dropped there.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import ranks
from experiments.lab import cli, files, progress, tables
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, count, positive
from experiments.lab.tables import Column
from experiments.lab.terminal import say, tell
from experiments.lab.units import decimals
from experiments.lab.worlds import Simulated
from experiments.pictures.experts import routing
from training import AdamW, GPTSizes, Plan, Trainer
from training.costs import step_traffic

SHOWS = "Tokens of each expert during training, dropped tokens, and the busiest rank, by weight of the balance loss."
TAKES = "15 s"
EXAMPLES = {
    "": "8 experts on 4 ranks, 2 for each token",
    "--plot experts.png": "each expert's share of the tokens over the steps, drawn",
    "--experts 16 --top-k 1 --capacity 1": "as in Switch: one expert for each token, and no spare places",
    "--balance 0 1 --steps 200": "other weights, for longer",
}
EXPECTED = """\
Expected, with T tokens of a sequence, k of E experts each, capacity factor cf:
  places         C = kT cf / E of each expert, rounded up, in each sequence
  dropped        mean of max(0, n - C) over kT/E, n tokens asking for an expert;
                 at random n would be binomial: T tokens, chance k/E
  balance loss   E times the sum of f P over experts: 1 if all are alike,
                 up to E/k if k experts have all
"""
SIZES = GPTSizes(context=32, hidden=32, heads=4, kv_heads=4, ffn=32, layers=2, experts=8)
SEQUENCES = 2  # of each rank
LAST = 10  # steps at the end, whose mean the table shows
ITEM, RANK_S = 8, 0.012  # bytes of a number; seconds of a step of a rank


@dataclass(frozen=True)
class Found:
    """A training: its losses without and with weights of the router's, and tokens by step, rank, block and expert."""

    losses: Any
    auxiliary: Any
    asked: Any
    kept: Any

    @property
    def dropped(self) -> Any:
        """The share of slots that found no place, by step."""
        return 1 - self.kept.sum((1, 2, 3)) / self.asked.sum((1, 2, 3))

    def late(self, tokens: Any) -> Any:
        """Return the sum over the last steps."""
        return tokens[-LAST:].sum(0)


def program(comm: Any, plan: Plan, sizes: GPTSizes, args: argparse.Namespace, steps: int) -> Any:
    """Train; return losses, what the routers' add, and, for each step, what this rank asked for and sent."""
    optimizer = AdamW(rate=0.01)
    trainer = Trainer(comm, plan, sizes=sizes, batch=batch_of(plan), seed=args.seed, optimizer=optimizer)
    loads = []
    for _ in range(steps):
        trainer.step()
        loads.append(trainer.loads())
    return trainer.history.losses, trainer.history.auxiliary, loads


def batch_of(plan: Plan) -> int:
    """Return the sequences of a step."""
    return SEQUENCES * plan.dp


def trained(world: Simulated, sizes: GPTSizes, args: argparse.Namespace) -> Found:
    """Train with experts over all ranks; assert that what ranks send is by formula, and that nothing is lost."""
    plan = Plan(dp=world.p, ep=world.p)
    begun, run = (ranks.run(program, world.p, plan, sizes, args, steps) for steps in (0, args.steps))
    expected = np.zeros(world.p, np.int64)
    for step in range(args.steps):
        routed = [{place: load.kept for place, load in each[2][step].items()} for each in run.results]
        expected += [each.n_bytes for each in step_traffic(plan, sizes, batch_of(plan), ITEM, routed=routed)]
    sent = np.subtract(run.bytes_sent, begun.bytes_sent)
    assert (sent == expected).all(), f"{sizes}: ranks send {sent}, expected {expected}"
    blocks = [(f"block.{i}", 0) for i in range(sizes.layers)]
    asked, kept = (
        np.array(
            [
                [[getattr(each[2][step][at], what) for at in blocks] for each in run.results]
                for step in range(args.steps)
            ]
        )
        for what in ("asked", "kept")
    )
    slots, capacity = SEQUENCES * sizes.context * sizes.top_k, sizes.routing.capacity(sizes.context)
    assert (asked.sum(-1) == slots).all(), "a token asked for more or fewer experts than top_k"
    if capacity is None:
        assert (kept == asked).all(), "tokens were dropped, though there was room for all"
    else:
        assert (kept <= np.minimum(asked, SEQUENCES * capacity)).all(), "an expert took more than it had places for"
    return Found(np.array(run.results[0][0]), np.array(run.results[0][1]), asked, kept)


def at_random(sizes: GPTSizes) -> float:
    """Return the share of tokens that an expert has no place for if each chooses its experts at random.

    round(at_random(replace(SIZES, capacity_factor=1.0)), 3)  # 0.122
    """
    tokens, share = sizes.context, sizes.top_k / sizes.experts
    capacity = sizes.routing.capacity(tokens)
    if capacity is None:
        return 0.0
    over = range(capacity + 1, tokens + 1)
    chances = (math.comb(tokens, n) * share**n * (1 - share) ** (tokens - n) for n in over)
    return sum(chance * (n - capacity) for n, chance in zip(over, chances, strict=True)) / (tokens * share)


def experiment(world: Simulated, args: argparse.Namespace, job: GPTSizes) -> None:
    """Train with each weight, with room for all and with limited places; print."""
    say(EXPECTED)
    say(f"Model: {job.layers} blocks of {job.experts} experts, {job.top_k} for each token, {job.ffn} features in each")
    say(f"Ranks: {world.p} simulated, each with {job.experts / world.p:g} experts of each block on average")
    say(f"Steps: {args.steps}, each of {SEQUENCES} sequences of {job.context} letters a rank\n")
    cases = [(balance, factor) for balance in args.balance for factor in (None, args.capacity)]
    found = {}
    for balance, factor in progress.track(cases, "training"):
        found[balance, factor] = trained(world, replace(job, balance=balance, capacity_factor=factor), args)
    columns = [
        Column("weight", show="{:g}".format),
        Column("factor", "capacity", "{:g}".format),
        Column("at random", "dropped", decimals(".1%")),
        Column("measured", "dropped", decimals(".1%")),
        *(Column(name, "tokens, over the mean", decimals(".2f")) for name in ("busiest", "idlest", "busiest rank")),
        Column("balance loss", show=decimals(".3f")),
        Column("cross entropy", show=decimals(".3f")),
    ]
    tables.table(columns, [row(job, *case, each) for case, each in found.items()], "experts")
    last = min(LAST, args.steps)
    tell(
        f"The weight is that of the balance loss. Numbers are means over the last {last} steps and all blocks. A dash "
        "means that there is room for all tokens, or that no balance loss is computed. A formula says how many tokens "
        "would be dropped at random. In each step, ranks send the bytes that the formula gives for the routed tokens."
    )
    if args.plot:
        files.draw(args.plot, lambda: picture(job, args, found))


def row(job: GPTSizes, balance: float, factor: float | None, found: Found) -> list[Any]:
    """Return a row of the table."""
    experts = found.late(found.asked).sum(0)
    by_rank = [each.sum(-1) for each in np.array_split(found.late(found.kept).sum(0), found.kept.shape[1], -1)]
    relative = experts / experts.mean(-1, keepdims=True)
    busiest_rank = np.max(by_rank, 0) / np.mean(by_rank, 0)
    loss = float(found.auxiliary[-LAST:].mean()) / (balance * job.layers) if balance else None
    expected = at_random(replace(job, capacity_factor=factor)) if factor else 0.0
    return [
        balance, factor, expected, float(found.dropped[-LAST:].mean()), float(relative.max(-1).mean()),
        float(relative.min(-1).mean()), float(busiest_rank.mean()), loss, float(found.losses[-LAST:].mean()),
    ]  # fmt: skip


def picture(job: GPTSizes, args: argparse.Namespace, found: dict[tuple[float, float | None], Found]) -> Any:
    """Return a Figure: shares of the last block's experts over the steps, and what is dropped."""
    shares, dropped = {}, {}
    for balance in args.balance:
        tokens = found[balance, None].asked[:, :, -1].sum(1)
        name = f"weight of the balance loss {balance:g}"
        shares[name] = tokens / tokens.sum(1, keepdims=True)
        dropped[name] = found[balance, args.capacity].dropped
    return routing(shares, dropped, at_random(replace(job, capacity_factor=args.capacity)), args.capacity)


def weight(text: str) -> float:
    """Return a number from 0 up."""
    try:
        return 0.0 if float(text) == 0 else positive(text)
    except (ValueError, argparse.ArgumentTypeError):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number from 0 up, such as 0.01") from None


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("each has some of the experts", default=4)
    made.add_argument(
        "--experts", type=count, default=SIZES.experts, metavar="E", help="experts of a block (default: 8)"
    )
    made.add_argument(
        "--top-k", type=count, default=SIZES.top_k, metavar="K", help="experts for each token (default: 2)"
    )
    text = "capacity factor: places of all experts over places that tokens ask for (default: 1.25)"
    made.add_argument("--capacity", type=positive, default=1.25, metavar="CF", help=text)
    text = "weights of the balance loss, one training run each (default: 0 0.01 0.1)"
    made.add_argument("--balance", type=weight, nargs="+", default=[0.0, 0.01, 0.1], metavar="W", help=text)
    made.add_argument("--steps", type=count, default=50, metavar="N", help="steps of training (default: 50)")
    made.add_seed("parameters and sums")
    made.add_plot("each expert's share of the tokens, and the share that is dropped")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes: ranks have arrays of their own, and take steps one after the other."""
    numbers = SIZES.layers * args.experts * SIZES.hidden * (2 * SIZES.ffn + 1) + SIZES.n_parameters
    trainings = 2 * len(args.balance)
    return Need(
        memory=8 * ITEM * args.ranks * numbers,
        messages=trainings * args.steps * args.ranks**2 * 40,
        seconds=trainings * args.steps * args.ranks * RANK_S * (1 + args.experts / 16),
    )


def prepare(args: argparse.Namespace) -> GPTSizes:
    """Return the sizes of the model; raise if experts are too few."""
    for name in ("ranks", "top_k"):
        if getattr(args, name) > args.experts:
            got = f"--{name.replace('_', '-')} {getattr(args, name)} with --experts {args.experts}"
            raise UsageError(f"got {got}, expected at most as many; remedy: more --experts")
    afford(args, need, ranks=1, experts=1, steps=1)
    return replace(SIZES, experts=args.experts, top_k=args.top_k)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
