"""What does a rank send, and what does it keep, when ranks share attention, forward and backward?

The papers disagree: a ring sends 4 or 6 times its tokens, and Megatron calls 8 or 10 collectives. This script runs
every variant, compares its output and gradients with dense attention, and counts what ranks send and keep. The
disagreements are choices: what a rank keeps, nobody needs to send again.
"""

from __future__ import annotations

import experiments.lab.endings  # noqa: F401  # first, so that Ctrl-C during later imports is one line too

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

import parallel
import ranks
from collectives import ring_allgather, ring_reduce_scatter
from experiments.lab import cli, files, progress, tables
from experiments.lab.limits import Need, afford
from experiments.lab.options import Parser
from experiments.lab.tables import Column
from experiments.lab.terminal import say
from experiments.lab.units import decimals
from experiments.lab.worlds import Simulated
from experiments.pictures.parts import parts
from parallel.attention.local import Attention
from parallel.layers import saved_bytes

SHOWS = "What ranks send and keep under Ulysses, four rings and Megatron, and which choice explains each paper's count."
TAKES = "1 s"
EXAMPLES = {"": "4 ranks", "--ranks 8": "8 ranks"}
HEAD_DIM, TOKENS = 4, 4  # of a head, of a rank: the counts are over tokens times hidden
DENSE_BYTES, DENSE_S = 2500, 2e-5  # of p ranks of p heads, over p^3 and p^4, as measured
ITEM = 8  # bytes of a float64

Array = np.ndarray[Any, np.dtype[Any]]


def ring_that_keeps_all(comm: Any) -> Attention:
    """Return attention of a rank's queries over all keys and values, which it gathers once and keeps.

    Backward only their gradients travel: every rank's are summed where the tokens are.
    """

    def forward(q: Array, k: Array, v: Array) -> tuple[Array, Any]:
        whole = ring_allgather(comm, np.stack([k, v]))
        keys, values = (np.concatenate([*whole[:, which]], 1) for which in (0, 1))
        return parallel.local_attention().forward(q, keys, values)

    def backward(saved: Any, d_out: Array) -> tuple[Array, Array, Array]:
        d_q, *d_whole = parallel.local_attention().backward(saved, d_out)
        by_rank = np.stack([np.split(each, comm.size, 1) for each in d_whole], 1)
        mine = ring_reduce_scatter(comm, by_rank.reshape(-1)).reshape(by_rank.shape[1:])
        return d_q, mine[0], mine[1]

    return Attention(forward, backward)


def ring_from_home(comm: Any) -> Attention:
    """Return ring attention whose backward is that of common code: a block's gradient sets out from its own rank.

    Then it takes p moves to come home, one more than if it sets out from the first rank that the block visits.
    """

    def passed_on(x: Array) -> Array:
        came = np.empty_like(x)
        comm.Sendrecv(x, (comm.rank + 1) % comm.size, recvbuf=came, source=(comm.rank - 1) % comm.size)
        return came

    def backward(saved: Any, d_out: Array) -> tuple[Array, Array, Array]:
        kv, d_q = np.stack([saved.k, saved.v]), np.zeros_like(saved.q)
        d_kv = np.zeros_like(kv)
        for step in range(comm.size):
            into = d_q, d_kv[0], d_kv[1]
            saved.kernel.backward(saved.q, kv[0], kv[1], saved.out, saved.lse, d_out, into=into)
            d_kv = passed_on(d_kv)
            if step < comm.size - 1:
                kv = passed_on(kv)
        return d_q, d_kv[0], d_kv[1]

    return Attention(partial(parallel.ring_attention, comm, lengths=[TOKENS] * comm.size), backward)


def ulysses(comm: Any) -> Attention:
    """Return Ulysses."""
    forward = partial(parallel.ulysses_attention, comm, lengths=[TOKENS] * comm.size)
    return Attention(forward, partial(parallel.ulysses_attention_backward, comm))


def ring(comm: Any) -> Attention:
    """Return ring attention as in `parallel/`."""
    forward = partial(parallel.ring_attention, comm, lengths=[TOKENS] * comm.size)
    return Attention(forward, partial(parallel.ring_attention_backward, comm))


@dataclass(frozen=True)
class Way:
    """What papers say that a rank sends forward and backward, over tokens * hidden of all ranks; our formula of p.

    attention: of a rank's tokens; None for Megatron's blocks, which `strategy` makes.
    """

    papers: str
    formula: Callable[[int], Fraction]
    attention: Callable[[Any], Attention] | None = None
    strategy: Callable[..., Any] | None = None


def sequence_parallel(comm: Any, sizes: Any, attention: Attention, *, keep_gathered: bool) -> Any:
    """Return Megatron's sequence parallelism for TOKENS on each rank."""
    lengths = [TOKENS] * comm.size
    return parallel.SequenceParallel(
        comm, sizes, attention, tokens=TOKENS, lengths=lengths, keep_gathered=keep_gathered
    )


WAYS = {
    "Ulysses": Way("8/p", lambda p: 8 * Fraction(p - 1, p * p), ulysses),
    "ring": Way("4", lambda p: 6 * Fraction(p - 1, p), ring),
    "ring, common code": Way("4", lambda p: 6 - Fraction(4, p), ring_from_home),
    "ring that keeps all": Way("4", lambda p: 4 * Fraction(p - 1, p), ring_that_keeps_all),
    "Megatron, tensor": Way("8", lambda p: 8 * Fraction(p - 1, p), strategy=parallel.TensorParallel),
    "Megatron, sequence": Way(
        "8 or 10", lambda p: 10 * Fraction(p - 1, p), strategy=partial(sequence_parallel, keep_gathered=False)
    ),
    "the same, keeping": Way(
        "8 or 10", lambda p: 8 * Fraction(p - 1, p), strategy=partial(sequence_parallel, keep_gathered=True)
    ),
}


@dataclass(frozen=True)
class Counted:
    """What each rank sends forward and backward and keeps between them, over tokens * hidden of all ranks; messages."""

    forward: Fraction
    backward: Fraction
    kept: Fraction
    messages: int

    @property
    def sent(self) -> Fraction:
        """What a rank sends."""
        return self.forward + self.backward


def counted(name: str, p: int) -> Counted:
    """Return what ranks send and keep, counted in a run of p ranks with p heads; assert that all send alike.

    counted("Ulysses", 4).sent  # Fraction(3, 2): 8 (p-1)/p^2

    Messages and memory of Megatron are those of a block, without the sums of the parameters' gradients.
    """
    program = partial(_attention_program if WAYS[name].attention else _block_program, WAYS[name])
    forward, both = (ranks.run(program, p, backward) for backward in (False, True))
    whole = ITEM * p * TOKENS * p * HEAD_DIM
    assert len({*both.bytes_sent}) == len({*forward.bytes_sent}) == 1, f"{name}: ranks send {both.bytes_sent}"
    once, twice = Fraction(forward.bytes_sent[0], whole), Fraction(both.bytes_sent[0], whole)
    return Counted(once, twice - once, Fraction(forward.results[0], whole), both.sends[0])


def _attention_program(way: Way, comm: Any, backward: bool) -> int:
    """Compare with dense attention; return the bytes kept."""
    assert way.attention
    p, attention = comm.size, way.attention(comm)
    arrays = [*np.random.default_rng(0).standard_normal((4, 1, p * TOKENS, p, HEAD_DIM))]
    *mine, d_out = (parallel.shard(each, p, comm.rank) for each in arrays)
    out, saved = attention.forward(*mine)
    got, expected = [out], [parallel.attention(*arrays[:3])]
    if backward:
        got += attention.backward(saved, d_out)
        expected += parallel.attention_backward(*arrays)
    for result, right in zip(got, expected, strict=True):
        error = abs(result - parallel.shard(right, p, comm.rank)).max()
        assert error < 1e-12, f"off by {error} from dense attention"
    return saved_bytes(saved)


def _block_program(way: Way, comm: Any, backward: bool) -> int:
    """Run a block of Megatron's; return the bytes kept."""
    assert way.strategy
    p = comm.size
    sizes = parallel.BlockSizes(p * HEAD_DIM, p, p, 4 * p * HEAD_DIM)
    strategy = way.strategy(comm, sizes, parallel.local_attention())
    parameters = parallel.random_parameters(np.random.default_rng(0), sizes)
    tokens = TOKENS if isinstance(strategy, parallel.SequenceParallel) else p * TOKENS
    x = np.random.default_rng(1).standard_normal((1, tokens, sizes.hidden))
    mine = parallel.split_parameters(parameters, sizes, p, comm.rank)
    y, saved = parallel.block(strategy, mine, x)
    if backward:
        parallel.block_backward(strategy, mine, saved, y)
    return saved_bytes(saved)


def experiment(world: Simulated, args: argparse.Namespace, job: None) -> None:
    """Count, compare, print."""
    p = world.p
    say(f"Ranks: {p} simulated, {TOKENS} tokens on each, {p} heads of {HEAD_DIM}")
    say("Counts are elements, over tokens * hidden of all ranks: of attention alone, for Megatron of a whole block.")
    rows = []
    for name in progress.track([*WAYS], "counting"):
        found, expected = counted(name, p), WAYS[name].formula(p)
        assert found.sent == expected, f"{name}: sends {found.sent}, expected {expected}"
        shares = [expected, found.forward, found.backward, found.sent, found.kept]
        rows.append([name, WAYS[name].papers, *map(float, shares), found.messages])
    sent = [Column(each, "sent", decimals(".3f")) for each in ("expected", "forward", "backward", "both")]
    tables.table(
        [Column("way"), Column("papers"), *sent, Column("kept", show=decimals(".3f")), Column("messages")], rows
    )
    say("Attention: output and gradients are those of dense attention within 1e-12.")
    if args.plot:
        files.draw(args.plot, lambda: picture(p, rows))


def picture(p: int, rows: list[list[Any]]) -> Any:
    """Return a Figure of what a rank sends forward and backward, and what it keeps between them."""
    bars = {row[0]: {"sent forward": row[3], "sent backward": row[4]} for row in rows}
    title = f"Sent by each of {p} ranks, in elements over tokens * hidden of all"
    return parts(title, bars, {row[0]: row[6] for row in rows}, "kept", "{:g}".format)


def parser() -> Parser:
    """Return the options."""
    made = Parser(__doc__, EXAMPLES)
    made.add_ranks("there are as many heads", default=4, least=2)
    made.add_plot("what a rank sends and keeps")
    return made


def prepare(args: argparse.Namespace) -> None:
    """Check that the machine can hold dense attention on each rank, to compare with."""
    afford(args, lambda args: Need(DENSE_BYTES * args.ranks**3, seconds=DENSE_S * args.ranks**4), ranks=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment from the command line."""
    return cli.main(parser(), prepare, experiment, argv)


if __name__ == "__main__":
    sys.exit(main())
