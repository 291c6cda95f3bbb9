"""The claims of `sorting_claims.py` on simulated ranks and on real MPI, a proof for small p, and exact counts."""

from __future__ import annotations

import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ranks
from broken import sorting_wrong as wrong
from real_mpi import launch
from sorting import (
    NETWORKS,
    bitonic_block_sort,
    bitonic_sort,
    odd_even_block_sort,
    partition,
    partition_sort,
    sample_bound,
    sample_sort,
)
from sorting.blocks import moves, redistribute
from sorting.keys import CHUNK
from sorting.partition import PIECE_BYTES, SAMPLES, SPARE
from sorting_claims import (
    CLAIMS,
    DTYPES,
    KINDS,
    LAYOUTS,
    SORTS,
    SPREADS,
    Case,
    block_sizes,
    claim_refused,
    claim_sorted,
    fixed_cases,
    values,
)

PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "sorting_claims_on_mpi.py"
EVERY_INPUT = [[2, 2, 2], [2] * 4, [1] * 7, [1, 0, 2, 1], [0, 3, 0], [3, 1, 2, 0, 1], [1] * 5, [4, 3]]
BLOCK_SORTS = {"bitonic": bitonic_block_sort, "odd_even_transposition": odd_even_block_sort}

cases = st.builds(
    Case, n=st.integers(0, 60), spread=st.sampled_from(SPREADS), dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(KINDS), layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 2**32),
)  # fmt: skip


@pytest.mark.parametrize("claim", CLAIMS)
@settings(max_examples=60)
@given(
    case=cases, p=st.integers(1, 17), buffering=st.sampled_from(["none", "eager", "infinite"]),
    network=st.sampled_from(sorted(ranks.presets)),
)  # fmt: skip
def test_claim_holds_on_simulated_ranks(claim: str, case: Case, p: int, buffering: str, network: str) -> None:
    ranks.run(CLAIMS[claim], p, case, buffering=buffering, network=network)


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_holds_for_every_spread_dtype_kind_and_layout(claim: str) -> None:
    for case in fixed_cases():
        ranks.run(CLAIMS[claim], 5, case)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("special", [[0.0, -0.0], [np.nan, -np.nan], [np.nan, -0.0, 0.0, -np.inf]])
@pytest.mark.parametrize("name", SORTS)
def test_every_bit_is_kept_where_one_rank_alone_has_special_values(name: str, special: list[float], dtype: str) -> None:
    """At the beginning of a block that is looked at in parts; long enough for NumPy's vectorised sorts."""
    rng, n = np.random.default_rng(3), CHUNK + 1000
    x = rng.standard_normal((3, n)).astype(dtype)
    x[1, :5000] = rng.choice(np.array(special, dtype), 5000)
    run = ranks.run(lambda c: SORTS[name](c, x[c.rank]), 3)
    integers = f"i{x.itemsize}"
    assert np.array_equal(np.concatenate(run.results).view(integers), bitonic_sort(x.ravel()).view(integers))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_every_claim_holds_on_real_mpi(p: int) -> None:
    run = launch(p, [str(PROGRAM)])
    assert run.returncode == 0, run.stderr
    held = sorted(line for line in run.stdout.splitlines() if "held" in line)
    assert held == [f"rank {rank} held {len(CLAIMS)} claims" for rank in range(p)], run.stdout


@pytest.mark.parametrize("sort", BLOCK_SORTS.values(), ids=BLOCK_SORTS)
@pytest.mark.parametrize("sizes", EVERY_INPUT)
def test_merge_split_networks_sort_every_input(sort: Any, sizes: list[int]) -> None:
    """A merge-split is a network of comparators, so by the 0-1 principle all zero-one blocks are a proof.

    Blocks are sorted first: only the number of ones in each counts.
    """
    p = len(sizes)
    for ones in product(*(range(size + 1) for size in sizes)):
        blocks = [np.arange(size) >= size - one for size, one in zip(sizes, ones, strict=True)]
        run = ranks.run(lambda c, blocks=blocks: sort(c, blocks[c.rank]), p)
        assert [block.size for block in run.results] == sizes
        assert np.concatenate(run.results).tolist() == sorted(np.concatenate(blocks).tolist())


@pytest.mark.parametrize("sort", SORTS.values(), ids=SORTS)
@pytest.mark.parametrize("p", [1, 2, 3, 10])
def test_bad_input_on_one_rank_is_the_same_error_on_every_rank_and_leaves_nothing_behind(sort: Any, p: int) -> None:
    ranks.run(claim_refused, p, sort)


# -- exact counts and balance ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 32])
@pytest.mark.parametrize("name", BLOCK_SORTS)
def test_block_sorts_send_once_for_each_comparator_and_once_for_each_part_that_moves(p: int, name: str) -> None:
    network = NETWORKS[name](p)
    touching = [sum(rank in pair for stage in network.stages for pair in stage) for rank in range(p)]
    for sizes in ([40] * p, [(7 * rank) % 5 for rank in range(p)]):
        total, capacity = sum(sizes), max(sizes)
        have = [min(capacity, max(0, total - capacity * rank)) for rank in range(p)]
        moved = [sum(source == rank != dest for source, dest, _, _ in moves(have, sizes)) for rank in range(p)]
        if len(set(sizes)) == 1:
            assert moved == [0] * p
        run = ranks.run(lambda c, sizes=sizes: BLOCK_SORTS[name](c, np.zeros(sizes[c.rank])), p)
        assert run.sends == [(p - 1).bit_length() + touching[rank] + moved[rank] for rank in range(p)]
    equal = ranks.run(lambda c: BLOCK_SORTS[name](c, np.arange(40.0)), p)
    assert equal.bytes_sent == [64 * (p - 1) + 40 * 8 * touching[rank] for rank in range(p)]
    if name == "bitonic" and p == 1 << (p.bit_length() - 1):
        k = p.bit_length() - 1
        assert sum(touching) == 2 * (p * k * (k + 1) // 4)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 32])
def test_sample_and_partition_sorts_send_as_often_as_their_formulas_say(p: int) -> None:
    rounds = (p - 1).bit_length()
    x = np.random.default_rng(0).standard_normal((p, 200))
    run = ranks.run(lambda c: sample_sort(c, x[c.rank]), p)
    assert run.sends == [p - 1 + 3 * rounds] * p
    run = ranks.run(lambda c: partition_sort(c, x[c.rank]), p)
    # All elements are samples here and none is there twice, so the cuts are exact, and nothing moves at the end.
    starts = np.searchsorted(np.sort(x.ravel())[::200], x, side="right") - 1
    parts = [np.bincount(of_rank, minlength=p) for of_rank in starts]
    assert run.sends == [3 * rounds + np.count_nonzero(part) - 1 for part in parts]
    two = ranks.run(lambda c: partition_sort(c, np.random.default_rng(c.rank).standard_normal(20_000)), 2)
    assert sum(two.sends) - 2 * 4 in (0, 1)


@pytest.mark.parametrize("p", [2, 3, 5, 8])
def test_partition_sort_sends_a_piece_at_a_time(p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "PIECE_BYTES", 64)
    x = np.random.default_rng(1).standard_normal((p, 200))
    starts = np.searchsorted(np.sort(x.ravel())[::200], x, side="right") - 1
    parts = [np.delete(np.bincount(of_rank, minlength=p), rank) for rank, of_rank in enumerate(starts)]
    run = ranks.run(lambda c: partition_sort(c, x[c.rank]), p)
    assert run.sends == [3 * (p - 1).bit_length() + int(np.ceil(part / 8).sum()) for part in parts]
    for case in fixed_cases():
        if case.n <= 301:
            ranks.run(CLAIMS["partition"], p, case)


def test_partition_sort_takes_memory_for_one_copy() -> None:
    """And a sixteenth on both sides, pieces, and what ranks have for each other more than they get."""
    n = 2**17
    x = np.random.default_rng(2).standard_normal((2, n))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    ranks.run(lambda c: partition_sort(c, x[c.rank]), 2)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 2 * 8 * n * (1 + 2 / SPARE + 0.1) + 2 * PIECE_BYTES


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=17), kind=st.sampled_from(KINDS), seed=st.integers(0, 99)
)  # fmt: skip
def test_sample_sort_is_balanced_whatever_the_sizes_and_values(sizes: list[int], kind: str, seed: int) -> None:
    every = values(Case(0, "", "i4", kind, seed=seed), sum(sizes))
    starts = np.cumsum([0, *sizes])
    run = ranks.run(lambda c: sample_sort(c, every[starts[c.rank] : starts[c.rank + 1]]), len(sizes))
    counts = [block.size for block in run.results]
    assert max(counts) <= sample_bound(sizes)
    p, n = len(sizes), sum(sizes)
    assert sample_bound(sizes) <= n / p + (p + 1) * -(-n // p**2) if n else sample_bound(sizes) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_partition_sort_cuts_near_the_right_places(kind: str) -> None:
    """What has to move at the end is what the samples misjudged: 5 deviations of the splitters at most."""
    n, p = 100_000, 4
    every = values(Case(0, "", "f8", kind), n * p)
    run = ranks.run(lambda c: partition_sort(c, every[n * c.rank : n * (c.rank + 1)]), p, trace=True)
    sent = sum(run.bytes_sent)
    data = 8 * n * p
    misjudged = 5 * 0.5 / SAMPLES**0.5 * data * (p - 1)
    assert sent <= data + misjudged + 8 * SAMPLES * p + 10_000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_redistribution_keeps_the_global_order(pairs: list[tuple[int, int]]) -> None:
    have, want = [a for a, _ in pairs], [b for _, b in pairs]
    want[-1] += max(0, sum(have) - sum(want))
    have[-1] += max(0, sum(want) - sum(have))
    starts = np.cumsum([0, *have])
    run = ranks.run(lambda c: redistribute(c, np.arange(starts[c.rank], starts[c.rank + 1]), have, want), len(pairs))
    assert [block.size for block in run.results] == want
    assert np.concatenate(run.results).tolist() == list(range(sum(have)))
    assert run.sends == [sum(s == r != d for s, d, _, _ in moves(have, want)) for r in range(len(pairs))]


def test_no_schedule_of_two_or_three_ranks_hangs_or_gives_another_result() -> None:
    for sort in SORTS.values():

        def program(comm: Any, sort: Any = sort) -> Any:
            return sort(comm, np.array([5 - comm.rank, 3])).tolist()

        for p in (2, 3):
            found = ranks.explore(program, p)  # in all buffering modes
            assert found.verdict == "holds", found
            assert len(found.outcomes) == 1


# -- a suite that cannot fail proves nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("variant", wrong.BLOCK_SORTS, ids=lambda f: f.__name__)
def test_a_wrong_distributed_sort_is_rejected(variant: Any) -> None:
    def claim(comm: Any, case: Case) -> None:
        claim_sorted(comm, case, variant, keeps_sizes=True)

    def claims() -> None:
        for p in (1, 2, 3, 4):
            for case in fixed_cases():
                if case.n <= 301:
                    ranks.run(claim, p, case, buffering="none")

    with pytest.raises((AssertionError, ranks.RanksError)):
        claims()


def test_a_sample_sort_that_does_not_tell_equal_values_apart_is_rejected_by_its_balance() -> None:
    case = Case(300, "equal", "i8", "constant")
    assert block_sizes(case, 4) == [300] * 4
    with pytest.raises(AssertionError, match="got sizes"):
        ranks.run(lambda c: claim_sorted(c, case, wrong.sample_sort_by_value_alone, keeps_sizes=False), 4)
