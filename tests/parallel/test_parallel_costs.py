"""Claims about what strategies send, keep and wait for: formulas against counts on simulated ranks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import parallel
import ranks
from block_claims import sizes_of
from parallel import costs
from parallel.attention.local import Attention, Kernel
from parallel.layers import saved_bytes
from parallel_claims import Case

LENGTHS = {1: [7], 2: [5, 3], 3: [4, 0, 6], 4: [2, 2, 2, 2], 5: [3, 3, 2, 2, 2], 6: [1, 2, 3, 4, 5, 6]}
HEADS = [(4, 4), (6, 2), (6, 3), (5, 1), (8, 4)]


def counted(program: Any, p: int) -> tuple[list[int], list[int]]:
    """Return elements of float64 sent by each rank in program(comm, backward), forward and backward."""
    forward = ranks.run(program, p, False).bytes_sent
    both = ranks.run(program, p, True).bytes_sent
    return [n // 8 for n in forward], [(b - n) // 8 for b, n in zip(both, forward, strict=True)]


def inputs(n: int, heads: int, kv_heads: int, batch: int = 2) -> list[np.ndarray]:
    return [np.zeros((batch, n, h, 3)) for h in (heads, kv_heads, kv_heads)]


@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("p", LENGTHS)
def test_attention_sends_exactly_what_its_formula_says(p: int, heads: int, kv_heads: int) -> None:
    lengths = LENGTHS[p]
    u = 2 if p % 2 == 0 else p

    def ulysses(comm: Any, backward: bool) -> None:
        q, k, v = inputs(lengths[comm.rank], heads, kv_heads)
        _, saved = parallel.ulysses_attention(comm, q, k, v, lengths=lengths)
        if backward:
            parallel.ulysses_attention_backward(comm, saved, q)

    def ring(comm: Any, backward: bool) -> None:
        q, k, v = inputs(lengths[comm.rank], heads, kv_heads)
        _, saved = parallel.ring_attention(comm, q, k, v, lengths=lengths, overlap=p % 2 == 0)
        if backward:
            parallel.ring_attention_backward(comm, saved, q)

    def usp(comm: Any, backward: bool) -> None:
        q, k, v = inputs(lengths[comm.rank], heads, kv_heads)
        grid = parallel.usp_grid(comm, u)
        _, saved = parallel.usp_attention(grid, q, k, v, lengths=lengths)
        if backward:
            parallel.usp_attention_backward(grid, saved, q)

    for program, traffic in (
        (ulysses, costs.ulysses_traffic(lengths, heads, kv_heads, 3)),
        (ring, costs.ring_traffic(lengths, kv_heads, 3)),
        (usp, costs.usp_traffic(lengths, u, heads, kv_heads, 3)),
    ):
        expected = traffic.times(2)  # the batch
        assert counted(program, p) == (expected.forward, expected.backward)


def test_without_lengths_ranks_tell_each_other_ten_numbers() -> None:
    def program(comm: Any, known: bool) -> None:
        lengths = [4] * comm.size if known else None
        parallel.ulysses_attention(comm, *inputs(4, 4, 4), lengths=lengths)

    asked, known = (ranks.run(program, 5, known) for known in (False, True))
    assert [a - b for a, b in zip(asked.bytes_sent, known.bytes_sent, strict=True)] == [4 * 10 * 8] * 5
    assert [a - b for a, b in zip(asked.sends, known.sends, strict=True)] == [4] * 5
    assert known.sends == [2 * 4] * 5


@pytest.mark.parametrize("p", [2, 4, 8])
def test_traffic_is_that_of_the_papers_where_everything_divides(p: int) -> None:
    n, heads, head_dim = 16, 8, 4
    lengths, whole = [n // p] * p, n * heads * head_dim
    ulysses = costs.ulysses_traffic(lengths, heads, heads, head_dim)
    assert ulysses.forward == ulysses.backward == [4 * whole * (p - 1) // p**2] * p
    ring = costs.ring_traffic(lengths, heads, head_dim)
    assert [a + b for a, b in zip(ring.forward, ring.backward, strict=True)] == [6 * whole * (p - 1) // p] * p
    tensor = costs.tensor_parallel_traffic(n, heads * head_dim, p)
    assert tensor.forward == tensor.backward == [4 * whole * (p - 1) // p] * p
    for kept, times in ((False, 10), (True, 8)):
        sequence = costs.sequence_parallel_traffic(lengths, heads * head_dim, keep_gathered=kept)
        total = [a + b for a, b in zip(sequence.forward, sequence.backward, strict=True)]
        assert total == [times * whole * (p - 1) // p] * p


def block_program(make: Any, case: Case, comm: Any, backward: bool) -> Any:
    """Run a block of zeros; return the bytes that it keeps."""
    strategy, n = make(comm)
    parameters = parallel.random_parameters(np.random.default_rng(0), sizes_of(case))
    if isinstance(strategy, parallel.TensorParallel):
        parameters = parallel.split_parameters(parameters, sizes_of(case), comm.size, comm.rank)
    x = np.random.default_rng(comm.rank).random((case.batch, n, sizes_of(case).hidden))
    y, saved = parallel.block(strategy, parameters, x)
    if backward:
        parallel.block_backward(strategy, parameters, saved, y)
    return saved_bytes(saved)


def tensor(case: Case, comm: Any) -> Any:
    return parallel.TensorParallel(comm, sizes_of(case), parallel.local_attention()), case.n


def sequence(case: Case, keep_gathered: bool, lengths: list[int], comm: Any) -> Any:
    strategy = parallel.SequenceParallel(
        comm, sizes_of(case), parallel.local_attention(), tokens=lengths[comm.rank], lengths=lengths,
        keep_gathered=keep_gathered,
    )  # fmt: skip
    return strategy, lengths[comm.rank]


@pytest.mark.parametrize("p", LENGTHS)
def test_a_megatron_block_sends_exactly_what_its_formula_says(p: int) -> None:
    lengths = LENGTHS[p]
    case = Case(sum(lengths), heads=4, kv_heads=4, batch=1)
    hidden = sizes_of(case).hidden
    expected = costs.tensor_parallel_traffic(case.n, hidden, p)
    program = partial(block_program, partial(tensor, case), case)
    assert counted(program, p) == (expected.forward, expected.backward)
    for kept in (False, True):
        expected = costs.sequence_parallel_traffic(lengths, hidden, keep_gathered=kept)
        program = partial(block_program, partial(sequence, case, kept, lengths), case)
        assert counted(program, p) == (expected.forward, expected.backward)


@pytest.mark.parametrize("p", [1, 2, 4])
@pytest.mark.parametrize("strategy", ["ulysses", "ring", "tensor_parallel", "sequence_parallel", "keep_gathered"])
def test_a_block_keeps_exactly_what_its_formula_says(strategy: str, p: int) -> None:
    case = Case(8, heads=4, kv_heads=4, head_dim=4)
    sizes = parallel.BlockSizes(hidden=16, heads=4, kv_heads=4, ffn=64)
    lengths = [case.n // p] * p

    def make(comm: Any) -> Any:
        if strategy == "tensor_parallel":
            return parallel.TensorParallel(comm, sizes, parallel.local_attention())
        if strategy in ("ulysses", "ring"):
            forward, backward = (
                (parallel.ulysses_attention, parallel.ulysses_attention_backward)
                if strategy == "ulysses"
                else (parallel.ring_attention, parallel.ring_attention_backward)
            )
            return parallel.SequenceSharded(comm, sizes, Attention(partial(forward, comm), partial(backward, comm)))
        kept = strategy == "keep_gathered"
        attention = parallel.local_attention()
        return parallel.SequenceParallel(
            comm, sizes, attention, tokens=lengths[comm.rank], lengths=lengths, keep_gathered=kept
        )

    def program(comm: Any) -> int:
        whole = parallel.random_parameters(np.random.default_rng(0), sizes)
        made = make(comm)
        megatron = isinstance(made, parallel.TensorParallel)
        parameters = parallel.split_parameters(whole, sizes, p, comm.rank) if megatron else whole
        n = case.n if strategy == "tensor_parallel" else lengths[comm.rank]
        _, saved = parallel.block(made, parameters, np.random.default_rng(0).random((1, n, 16)))
        return saved_bytes(saved)

    expected = costs.saved_elements(sizes, case.n, p, strategy) * 8
    assert ranks.run(program, p).results == [expected] * p


@pytest.mark.parametrize(("layout", "over"), [("plain", 1.87), ("striped", 1.05), ("zigzag", 1.00)])
def test_the_critical_path_under_a_causal_mask_is_as_published(layout: str, over: float) -> None:
    assert round(costs.causal_critical_path(layout, 8 * 16, 8), 2) == over


def charging(comm: Any, ps_per_pair: int = 0, ps: int = 0) -> Kernel:
    """Return a kernel that computes nothing and takes ps, and ps_per_pair for each pair that a causal mask shows."""

    def spend(keywords: dict[str, Any]) -> None:
        pairs = costs.visible_pairs(keywords["q_positions"], keywords["k_positions"]) if ps_per_pair else 0
        ranks.spend(comm, ps + ps_per_pair * pairs)

    def forward(q: Any, k: Any, v: Any, into: Any = None, **keywords: Any) -> Any:
        spend(keywords)
        return np.zeros_like(q), np.zeros(q.shape[:3])

    def backward(q: Any, k: Any, v: Any, out: Any, lse: Any, d_out: Any, into: Any = None, **keywords: Any) -> Any:
        spend(keywords)
        return into

    return Kernel(forward, backward)


@pytest.mark.parametrize("layout", ["plain", "striped", "zigzag"])
@pytest.mark.parametrize("p", [1, 2, 3, 8])
def test_the_virtual_clock_shows_the_critical_path(layout: str, p: int) -> None:
    n = 16 * p

    def program(comm: Any) -> None:
        held = parallel.token_positions(layout, n, p)[comm.rank]
        q = np.zeros((1, len(held), 1, 1))
        lengths = [len(each) for each in parallel.token_positions(layout, n, p)]
        parallel.ring_attention(
            comm, q, q, q, causal=True, layout=layout, lengths=lengths, kernel=charging(comm, ps_per_pair=1000)
        )

    free = ranks.Network(name="free", inter=ranks.Link(0, 0))
    expected = costs.causal_critical_path(layout, n, p) * 1000 * n * (n + 1) / 2 / p
    assert ranks.run(program, p, network=free).time_ps == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
@pytest.mark.parametrize("network", ["infiniband", "ethernet", "alpha-beta", "pcie"])
@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_a_ring_takes_exactly_the_time_of_its_formula(p: int, network: str, buffering: str) -> None:
    n, heads, head_dim = 40, 4, 32
    n_bytes = 2 * n * heads * head_dim * 8
    link, preset = ranks.presets[network].inter, ranks.presets[network]
    moved = link.latency_ps + link.transfer_ps(n_bytes)

    def program(comm: Any, overlap: bool, compute: int, backward: bool) -> int:
        q = np.zeros((1, n, heads, head_dim))
        kernel = charging(comm, ps=compute)
        _, saved = parallel.ring_attention(comm, q, q, q, lengths=[n] * p, overlap=overlap, kernel=kernel)
        if backward:
            parallel.ring_attention_backward(comm, saved, q)
        return 0

    def time(overlap: bool, compute: int, backward: bool) -> int:
        return ranks.run(program, p, overlap, compute, backward, network=network, buffering=buffering).time_ps

    for overlap in (False, True):
        for compute in (0, moved // 3, 3 * moved):
            expected = costs.ring_forward_ps(preset, p, n_bytes, compute, overlap=overlap)
            assert time(overlap, compute, backward=False) == expected
        backward = time(overlap, 3 * moved, backward=True) - time(overlap, 3 * moved, backward=False)
        assert backward == costs.ring_backward_ps(preset, p, n_bytes, 3 * moved, overlap=overlap)
