"""What do numbers of 16 bits lose, and where?

First come single operations. Each computes in float32 and rounds its result once, as real kernels do; beside it is the
same operation with every step rounded. Then a small GPT is trained in both formats, with and without a master copy of
the parameters in float32, and in float16 with and without a loss scale. A number is lost if it rounds to 0. An update
is lost if the parameter stays what it was.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

import ranks
from collectives.arrays import Array
from experiments.lab import cli, files, progress, tables
from experiments.lab.errors import UsageError
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser, positive, whole_from
from experiments.lab.sixteen import (
    Gradients,
    WithoutMaster,
    rough_attention,
    rough_norm,
    rough_product,
    rough_sum,
    watched,
)
from experiments.lab.tables import Column, pair
from experiments.lab.terminal import say, tell
from experiments.lab.units import decimals
from experiments.pictures.precision import losses
from parallel import local_attention
from parallel.layers import layer_norm, linear
from parallel.precision import BFLOAT16, FLOAT16, rounded, wide
from training import AdamW, GPTSizes, Ledger, Trainer, WarmupCosine
from training.costs import model_state

SHOWS = "What bfloat16 and float16 lose in operations, in updates and in small gradients, and what the loss shows."
TAKES = "12 s"
EXAMPLES = {
    "": "operations, and seven training runs of 150 steps",
    "--steps 600 --plot precision.png": "longer runs, with a picture of curves, gradients and updates",
    "--rate 0.0003": "smaller updates, of which more are lost",
}
BITS = {BFLOAT16: 8, FLOAT16: 11}  # of the significand
LEAST = {"bfloat16": -134, "float16": -25}  # the exponent below which a number rounds to 0
# Rounding error over the size of the numbers, both as root mean squares, in units of 2**-bits. The error is uniform
# within 2**-bits up and down, and numbers from 1 to 2 have uniform logarithms: sqrt(1/3 * ln 2 / 1.5).
ONE_ROUNDING = 0.392
SIZES = GPTSizes(context=32, hidden=32, heads=4, kv_heads=4, ffn=128, layers=2)
BATCH, STEP_S = 8, 0.03
WATCHED = 25  # gradients are looked at in one step of so many
STATE = ("parameters", "gradients", "optimiser")


# -- operations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """An operation on arrays of 16 bits.

    roundings: How often it rounds. compute: Gives its result in float64, as it is, and with each step rounded.
    """

    name: str
    roundings: int
    compute: Callable[[np.random.Generator, np.dtype[Any]], tuple[Array, Array, Array]]


def product(rng: np.random.Generator, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """A product of matrices."""
    x, w = rng.standard_normal((64, 256)).astype(dtype), rng.standard_normal((256, 64)).astype(dtype)
    return exact(x) @ exact(w), linear(x[None], w)[0], rough_product(x, w)


def norm(rng: np.random.Generator, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """A layer norm, of numbers whose mean is not 0."""
    x, gain = (1 + rng.standard_normal((64, 256))).astype(dtype), (1 + rng.standard_normal(256)).astype(dtype)
    centred = exact(x) - exact(x).mean(-1, keepdims=True)
    normal = centred / exact(x).std(-1, keepdims=True)
    return normal * exact(gain), layer_norm(x[None], gain, 0 * gain)[0][0], rough_norm(x) * gain


def attend(rng: np.random.Generator, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """Attention of one head."""
    q, k, v = (rng.standard_normal((256, 16)).astype(dtype) for _ in range(3))
    weights = np.exp(exact(q) @ exact(k).T / 4)
    expected = weights @ exact(v) / weights.sum(-1, keepdims=True)
    out, _ = local_attention().forward(*(each[None, :, None] for each in (q, k, v)))
    return expected, out[0, :, 0], rough_attention(q / np.array(4, dtype), k, v)


def sums(rng: np.random.Generator, dtype: np.dtype[Any]) -> tuple[Array, Array, Array]:
    """Sums of positive numbers, of all sizes."""
    x = (rng.random((128, 4096)) * 2.0 ** rng.uniform(-8, 0, (128, 1))).astype(dtype)
    return exact(x).sum(-1, keepdims=True), rounded(wide(x).sum(-1, keepdims=True), dtype), rough_sum(x)


OPERATIONS = (
    Operation("product of 256 terms", 1, product),
    Operation("layer norm of 256", 2, norm),
    Operation("attention to 256 tokens", 1, attend),
    Operation("sum of 4,096", 1, sums),
)


def exact(x: Array) -> Array:
    """Return the same numbers in float64."""
    return x.astype(np.float64)


def errors(operation: Operation, dtype: np.dtype[Any], seed: int) -> tuple[float, float, float]:
    """Return an operation's error: as expected, with one rounding, and with each step rounded.

    Each is of the size of the right result, in the mean of squares over rows.
    """
    expected, once, always = operation.compute(np.random.default_rng(seed), dtype)

    def error(got: Array) -> float:
        off, of = (np.square(each).sum(-1) for each in (exact(got) - expected, expected))
        return float(np.sqrt((off / of).mean()))

    unit = 2.0 ** -BITS[dtype]
    predicted = ONE_ROUNDING * unit * operation.roundings**0.5
    assert 0.8 < error(once) / predicted < 1.25, f"{operation.name}: loses {error(once):.2g}, expected {predicted:.2g}"
    return predicted, error(once), error(always)


# -- trainings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A training to be done."""

    dtype: str
    has_master: bool = True
    loss_scale: float | None = None
    other_seed: int = 0


RUNS = {
    "float32": Run("float32"),
    "float32, other seed": Run("float32", other_seed=1),
    "bfloat16": Run("bfloat16"),
    "bfloat16, no master copy": Run("bfloat16", has_master=False),
    "float16": Run("float16"),
    "float16, loss not scaled": Run("float16", loss_scale=1.0),
    "float16, no master copy": Run("float16", has_master=False),
}


@dataclass(frozen=True)
class Found:
    """What a training came to. lost: the share of updates that were lost, by step. state: its bytes a parameter."""

    losses: list[float]
    scale: float
    gradients: Gradients
    lost: list[float]
    state: float
    gain_moved: float


def trained(run: Run, args: argparse.Namespace) -> Found:
    """Train on one rank."""
    adam = AdamW(rate=WarmupCosine(args.rate, max(1, args.steps // 10), args.steps + 1))
    optimizer = adam if run.has_master else WithoutMaster(adam, np.dtype(run.dtype))
    gradients, ledger = Gradients(), Ledger()

    def program(comm: Any) -> Trainer:
        trainer = Trainer(
            comm, sizes=SIZES, batch=BATCH, seed=args.seed + run.other_seed, optimizer=optimizer, dtype=run.dtype,
            loss_scale=run.loss_scale,
        )  # fmt: skip
        trainer.listen(ledger)
        for step in range(args.steps):
            with watched(gradients) if step % WATCHED == 0 else nullcontext():
                trainer.step()
        return trainer

    try:
        [trainer] = ranks.run(program, 1).results
    except FloatingPointError as problem:
        raise UsageError(f"--rate: got {args.rate:g}, with which {run.dtype} fails: {problem}") from problem
    gains = [state.updated_arrays()["x"][state.places[name]] for state in trainer.states.values()
             for name in state.places if "gain" in name]  # fmt: skip
    return Found(
        trainer.history.losses,
        trainer.history.scales[-1],
        gradients,
        [optimizer.by_step[step].share for step in sorted(optimizer.by_step)] if not run.has_master else [],
        sum(ledger.peak[kind] for kind in STATE) / SIZES.n_parameters,
        float(max(abs(each - 1).max() for each in gains)),
    )


def row(name: str, found: dict[str, Found]) -> list[Any]:
    """Return what is known of a training; assert that its state is as large as expected."""
    run, mine, plain = RUNS[name], found[name], found["float32"]
    loss, of_float32 = end(mine.losses), end(plain.losses)
    n = SIZES.n_parameters
    state = sum(model_state(n, n, 0, run.dtype).values()) / n
    assert mine.state == state, f"{name}: {mine.state} bytes a parameter, expected {state}"
    small: tuple[float | None, float | None] = (None, None)
    if run.dtype in LEAST:
        least = LEAST[run.dtype] - np.log2(mine.scale)
        small = plain.gradients.below(least), mine.gradients.rounding.share
    late = mine.lost[-max(1, len(mine.lost) // 10) :]
    without_master = state - 4 if not run.has_master else state
    lost = (float(np.mean(mine.lost)), float(np.mean(late))) if mine.lost else (None, None)
    return [name, loss, None if mine is plain else loss - of_float32, *lost, *small, without_master]


def end(losses: list[float]) -> float:
    """Return the mean of the last tenth."""
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


# -- the run ---------------------------------------------------------------------------------------------------------


def share(x: float) -> str:
    """Return a share in percent."""
    return f"{decimals('.2g')(100 * x)} %" if x else "0 %"


def experiment(world: None, args: argparse.Namespace, job: None) -> None:
    """Measure operations, train, compare, print."""
    rows = [[each.name, *(value for dtype in BITS for value in errors(each, dtype, args.seed))] for each in OPERATIONS]
    columns = [Column("operation")]
    for dtype in BITS:
        columns += [*pair(f"{dtype}, rounded once", share), Column("each step rounded", str(dtype), share)]
    tables.table(columns, rows, "operations")
    say("Errors, as shares of the right result.\n")
    found = {name: trained(run, args) for name, run in progress.track([*RUNS.items()], "training")}
    columns = [
        Column("training"),
        Column("at the end", "loss", decimals(".4f")),
        Column("less float32's", "loss", lambda x: f"{round(x, 4) + 0.0:+.4f}"),  # no -0.0000
        Column("in all", "updates lost", share),
        Column("last tenth", "updates lost", share),
        *pair("gradients lost", share),
        Column("bytes a parameter", show=decimals("g")),
    ]
    tables.table(columns, [row(name, found) for name in RUNS], "trainings")
    said(found, args)
    if args.plot:
        curves = {name: each.losses for name, each in found.items()}
        lost = {name: each.lost for name, each in found.items() if each.lost}
        files.draw(args.plot, lambda: losses(curves, found["float32"].gradients.exponents, lost))


def said(found: dict[str, Found], args: argparse.Namespace) -> None:
    """Say what the tables show."""
    gradients = found["float32"].gradients
    moved = found["bfloat16, no master copy"].gain_moved
    tell(
        "Gradients lost are a share of the gradients of activations; expected is the share by their sizes in float32. "
        f"{share(gradients.below(-14))} of these are below float16's least normal number, 2**-14, and lose bits; "
        f"multiplied by {found['float16'].scale:g}, {share(gradients.below(-14 - np.log2(found['float16'].scale)))}."
    )
    tell(
        f"A parameter x keeps its value if an update is smaller than about 2**-9 x. Adam's updates are about "
        f"{args.rate:g} or less. The gains of norms begin at 1. In bfloat16 they end at most {moved:.2g} away from 1 "
        f"without a master copy, and {found['bfloat16'].gain_moved:.2g} with one."
    )
    tell(
        "Bytes a parameter count parameters, gradients, moments and master copy. They do not count what stands in for "
        "the copy in the runs without one."
    )


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_argument(
        "--steps", type=whole_from(1), default=150, metavar="N", help="steps of each training run (default: 150)"
    )
    text = "the largest learning rate (default: 0.003)"
    made.add_argument("--rate", type=positive, default=0.003, metavar="R", help=text)
    made.add_seed("weights, batches and numbers")
    made.add_plot("loss curves, sizes of gradients and lost updates")
    return made


def need(args: argparse.Namespace) -> Need:
    """Return what a run takes."""
    return Need(seconds=args.steps * len(RUNS) * STEP_S)


def prepare(args: argparse.Namespace) -> None:
    """Check that it ends today."""
    afford(args, need, steps=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
