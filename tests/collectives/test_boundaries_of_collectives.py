"""Boundaries that changes to the code could cross unseen: segments, identities, counts, ties."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from claims import rows, same
from collectives import CATALOGUE
from test_collectives import fails

# How many elements each of them cuts into segments.
SEGMENTED = {
    "chain_broadcast": lambda n, p: n,
    "segmented_ring_allreduce": lambda n, p: -(-n // p),
    "double_tree_allreduce": lambda n, p: -(-n // 2),
}
# How many messages each of them is in.
HOPS = {
    "chain_broadcast": lambda p: p - 1,
    "segmented_ring_allreduce": lambda p: 2 * p * (p - 1),
    "double_tree_allreduce": lambda p: 4 * (p - 1),
}


@pytest.mark.parametrize("name", SEGMENTED)
@pytest.mark.parametrize("dtype", ["i2", "i8", "m8[s]"])
def test_segments_are_as_few_as_their_size_allows_and_exceed_it_by_less_than_an_element(name: str, dtype: str) -> None:
    """Seen on the messages: what an algorithm sends in pieces of up to `largest` elements, cut at segment_bytes."""
    itemsize = np.dtype(dtype).itemsize
    for p, n, segment_bytes in ((2, 7, 16), (3, 100, 24), (5, 83, 40), (4, 64, 16), (3, 50, 7), (4, 9, 10_000)):
        call, largest = partial(getattr(collectives, name), segment_bytes=segment_bytes), SEGMENTED[name](n, p)
        run = ranks.run(call, p, np.zeros(n, dtype), trace=True)
        sizes = [event.n_bytes for event in run.trace.events if event.kind == "send"]
        assert max(sizes) < max(segment_bytes, 1) + itemsize, (p, n, segment_bytes)
        segments = -(-largest * itemsize // segment_bytes)
        assert max(sizes) * segments >= largest * itemsize, "a piece is missing"
        assert len(sizes) == HOPS[name](p) * segments, (p, n, segment_bytes)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "F", ">f8"])
def test_rank_0_of_an_exscan_gets_what_it_is_told_also_if_that_is_not_finite(dtype: str) -> None:
    for row in rows("exscan"):
        for first in (np.nan, np.inf, -np.inf, 0.5):
            run = ranks.run(lambda c, f=row.function, v=first: f(c, np.ones(3, dtype), np.maximum, first=v), 2)
            same(run.results[0], np.full(3, first).astype(dtype))
            same(run.results[1], np.ones(3, dtype))


@pytest.mark.parametrize("dtype", ["i4", "u8", "?"])
def test_what_a_dtype_cannot_hold_is_no_first_value(dtype: str) -> None:
    for row in rows("exscan"):
        for first in (np.nan, np.inf, 0.5, 2**70):
            fails(lambda c, f=row.function, v=first: f(c, np.ones(3, dtype), np.bitwise_or, first=v), ValueError,
                  f"{row.function.__name__}: got first=")  # fmt: skip


@pytest.mark.parametrize("algorithm", ["pairwise", "linear"])
@pytest.mark.parametrize(("sent", "expected"), [(0, 1), (0, 3), (1, 0), (3, 0), (2, 3), (3, 2)])
def test_a_block_of_another_size_than_expected_is_an_error_also_if_one_of_them_is_empty(
    algorithm: str, sent: int, expected: int
) -> None:
    """Nothing that was never written comes back."""

    def program(comm: Any) -> Any:
        counts = [1, 1, 1]
        if comm.rank == 1:
            counts = [sent, 1, 1]
        came = [1, expected, 1] if comm.rank == 0 else [1, 1, 1]
        return collectives.alltoallv(comm, np.arange(float(sum(counts))), counts, came, algorithm=algorithm)

    kind = ValueError if sent < expected else ranks.TruncationError
    with pytest.raises(kind, match="rank 0"):
        ranks.run(program, 3)


@pytest.mark.parametrize("operation", CATALOGUE)
def test_of_equally_fast_algorithms_the_first_of_the_catalogue_is_chosen(operation: str) -> None:
    ties = 0
    for network in ("alpha-beta", "infiniband", "nvlink"):
        for p in (1, 2, 3, 4, 8):
            for n in (0, 1, 48):
                choice = collectives.choose(operation, collectives.Machine.of(ranks.presets[network], p), n, 8)
                places = {name: place for place, name in enumerate(CATALOGUE[operation])}
                order = [(time_ps, places[name]) for name, time_ps in choice.candidates]
                assert order == sorted(order), (network, p, n)
                ties += len({time_ps for time_ps, _ in order}) < len(order)
    assert ties, "no two are equally fast"


@pytest.mark.parametrize("p", [2, 4, 6, 10, 16])
def test_the_neighbour_exchange_sends_half_as_often_as_the_ring_and_as_much(p: int) -> None:
    run = ranks.run(collectives.neighbour_exchange_allgather, p, np.zeros(5))
    assert (run.sends, run.bytes_sent) == ([p // 2] * p, [40 * (p - 1)] * p)
