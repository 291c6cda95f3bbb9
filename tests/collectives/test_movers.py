"""All-to-all, all-gather, gather and scatter: claims in both worlds, unique tokens, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectives
import ranks
from claims import DTYPES, LAYOUTS, OUTS, Case, fixed_cases, rows, same
from claims_of_movers import MOVER_CLAIMS
from real_mpi import launch
from test_collectives import MIXED, NETWORKS, SIZES, X

MPI_PROGRAM = Path(__file__).parents[1] / "mpi_programs" / "mover_claims.py"
ALLTOALLS = [row.function for row in rows("alltoall")]
ALLGATHERS = [row.function for row in rows("allgather")]
GATHERS = [row.function for row in rows("gather")]
SCATTERS = [row.function for row in rows("scatter")]

cases = st.builds(
    Case,
    shape=st.one_of(st.lists(st.integers(0, 6), max_size=3).map(tuple), st.just((3000,))),
    dtype=st.sampled_from([*DTYPES, "S3", "c16,i2"]),
    op=st.just("add"),
    layout=st.sampled_from(LAYOUTS),
    out=st.sampled_from(OUTS),
    seed=st.integers(0, 2**32),
)


@pytest.mark.parametrize("claim", MOVER_CLAIMS)
@settings(max_examples=30)
@given(
    case=cases,
    p=st.sampled_from(SIZES),
    network=st.sampled_from([*NETWORKS, MIXED]),
    buffering=st.sampled_from(["none", "eager", "infinite"]),
)
def test_claim_of_movers_holds_on_simulated_ranks(claim: str, case: Case, p: int, network: Any, buffering: str) -> None:
    ranks.run(MOVER_CLAIMS[claim], p, case, network=network, buffering=buffering)


@pytest.mark.parametrize("claim", MOVER_CLAIMS)
def test_claim_of_movers_holds_for_every_dtype_layout_and_out(claim: str) -> None:
    def all_cases(comm: Any) -> None:
        # Movers do not look at the op, and this one takes every dtype. Claims side by side take turns with the cases.
        for case in fixed_cases(("maximum",))[list(MOVER_CLAIMS).index(claim) % 2 :: 2]:
            MOVER_CLAIMS[claim](comm, case)

    ranks.run(all_cases, 3, check=True)


@pytest.mark.parametrize("p", [1, 3])
def test_every_claim_of_movers_holds_on_real_mpi(p: int) -> None:
    run = launch(p, [str(MPI_PROGRAM)])
    assert run.returncode == 0, run.stderr
    held = sorted(line for line in run.stdout.splitlines() if "held" in line)
    assert held == [f"rank {rank} held {len(MOVER_CLAIMS)} claims" for rank in range(p)], run.stdout


# -- all-to-all ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alltoall", ALLTOALLS)
@pytest.mark.parametrize("p", [*range(1, 18), 31, 32])
def test_alltoall_moves_each_token_to_its_place(alltoall: Any, p: int) -> None:
    """The route of a block does not depend on what is in it, so tokens that are all different prove it for all data."""
    for n in (0, 1, 3):
        tokens = np.arange(p * p * n).reshape(p, p, n)
        run = ranks.run(lambda comm, tokens=tokens: alltoall(comm, tokens[comm.rank]), p, buffering="none")
        same(np.stack(run.results), np.ascontiguousarray(tokens.swapaxes(0, 1)))


def there_and_back(comm: Any, shares: list[np.ndarray], lengths: list[int], widths: list[int], a: int, b: int) -> Any:
    there = collectives.alltoall(comm, shares[comm.rank], a, b, concat_sizes=lengths)
    return there, collectives.alltoall(comm, there, b, a, split_sizes=lengths, concat_sizes=widths)


@pytest.mark.parametrize("p", [1, 2, 3, 4, 7, 8, 13])
def test_sequence_shares_become_head_shares_and_come_back(p: int) -> None:
    """Ulysses' use: tokens not divisible by p, fewer heads than ranks too, every pair of axes."""
    whole = np.arange(11 * 5 * 2 * 3).reshape(11, 5, 2, 3)
    for split in range(4):
        for concat in {*range(4)} - {split}:
            shares, expected = np.array_split(whole, p, axis=concat), np.array_split(whole, p, axis=split)
            lengths, widths = [s.shape[concat] for s in shares], [s.shape[split] for s in expected]
            run = ranks.run(there_and_back, p, shares, lengths, widths, split, concat, buffering="none")
            for rank, (there, back) in enumerate(run.results):
                same(there, np.ascontiguousarray(expected[rank]))
                same(back, np.ascontiguousarray(shares[rank]))


def test_alltoall_of_equal_parts_is_the_same_by_all_algorithms() -> None:
    whole = np.arange(4 * 8 * 12).reshape(4, 8, 12)
    for split, concat in ((1, 2), (2, 1), (1, 1), (-1, -1)):
        results = [
            ranks.run(
                lambda comm, a=split, b=concat, name=name: collectives.alltoall(
                    comm, whole[comm.rank : comm.rank + 1], a, b, algorithm=name
                ),
                4,
            ).results
            for name in ("pairwise", "linear", "bruck", "auto")
        ]
        for pairwise, *others in zip(*results, strict=True):
            for other in others:
                same(pairwise, other)


def into_overlapping_memory(comm: Any, algorithm: str, axis: int, shift: int) -> tuple[Any, Any]:
    base = np.arange(48) + 48 * comm.rank
    x = base[:32].reshape(8, 4)
    expected = collectives.alltoall(comm, x, axis, axis, algorithm=algorithm)
    return expected, collectives.alltoall(comm, x, axis, axis, algorithm=algorithm, out=base[shift:][:32].reshape(8, 4))


@pytest.mark.parametrize("algorithm", ["pairwise", "linear", "bruck"])
def test_out_of_alltoall_may_be_x_or_overlap_it(algorithm: str) -> None:
    for axis in (0, 1):
        for shift in (0, 4, 16):
            for expected, got in ranks.run(into_overlapping_memory, 4, algorithm, axis, shift).results:
                same(got, expected)


def alltoallv_of_zeros(comm: Any, counts: list[list[int]], known: bool) -> Any:
    mine = counts[comm.rank]  # the matrix is symmetric: what goes to a rank is as long as what comes from it
    return collectives.alltoallv(comm, np.zeros(sum(mine)), mine, mine if known else None)


@pytest.mark.parametrize("p", [1, 2, 5, 8])
def test_alltoallv_sends_each_block_once_and_asks_only_if_it_must(p: int) -> None:
    counts = [[source + dest for dest in range(p)] for source in range(p)]
    run = ranks.run(alltoallv_of_zeros, p, counts, True)
    leaving = [8 * (sum(counts[rank]) - counts[rank][rank]) for rank in range(p)]
    assert (run.sends, run.bytes_sent) == ([p - 1] * p, leaving)
    asked = ranks.run(alltoallv_of_zeros, p, counts, False)
    told = ranks.run(lambda comm: collectives.bruck_alltoall(comm, np.zeros(comm.size, np.int64)), p)
    assert asked.sends == [a + b for a, b in zip(run.sends, told.sends, strict=True)]
    assert asked.bytes_sent == [a + b for a, b in zip(run.bytes_sent, told.bytes_sent, strict=True)]


# -- all-gather, gather, scatter -------------------------------------------------------------------------------


def uneven_tokens(p: int) -> tuple[list[int], np.ndarray]:
    """Return a size for each rank, some 0, and so many tokens that are all different."""
    counts = [(3 * rank + 1) % 4 for rank in range(p)]
    return counts, np.arange(sum(counts))


def block_of(tokens: np.ndarray, counts: list[int], rank: int) -> np.ndarray:
    return np.split(tokens, np.cumsum(counts)[:-1])[rank]


@pytest.mark.parametrize("allgather", ALLGATHERS)
@pytest.mark.parametrize("p", [*range(1, 18), 31, 32])
def test_each_allgather_moves_each_token_to_its_place(allgather: Any, p: int) -> None:
    for n in (0, 1, 5):
        run = ranks.run(lambda comm, n=n: allgather(comm, np.arange(n) + n * comm.rank), p, buffering="none")
        for result in run.results:
            same(result, np.arange(n * p).reshape(p, n))
    counts, tokens = uneven_tokens(p)
    run = ranks.run(lambda comm: allgather(comm, block_of(tokens, counts, comm.rank), counts=counts), p)
    for result in run.results:
        same(result, tokens)


@pytest.mark.parametrize("gather", GATHERS)
@pytest.mark.parametrize("p", range(1, 18))
def test_gather_moves_each_token_to_its_place_at_any_root(gather: Any, p: int) -> None:
    counts, tokens = uneven_tokens(p)
    for root in range(p):
        run = ranks.run(
            lambda comm, root=root: gather(comm, block_of(tokens, counts, comm.rank), counts=counts, root=root),
            p,
            buffering="none",
        )
        for rank, result in enumerate(run.results):
            if rank == root:
                same(result, tokens)
            else:
                assert result is None


@pytest.mark.parametrize("scatter", SCATTERS)
@pytest.mark.parametrize("p", range(1, 18))
def test_scatter_moves_each_token_to_its_place_from_any_root(scatter: Any, p: int) -> None:
    counts, tokens = uneven_tokens(p)

    def program(comm: Any, root: int) -> Any:
        out = np.empty(counts[comm.rank], int)
        return scatter(comm, tokens if comm.rank == root else None, counts=counts, root=root, out=out)

    for root in range(p):
        for rank, result in enumerate(ranks.run(program, p, root, buffering="none").results):
            same(result, block_of(tokens, counts, rank))


def test_scatter_looks_at_x_on_the_root_only() -> None:
    for scatter in SCATTERS:
        run = ranks.run(
            lambda c, f=scatter: f(c, [X, "nothing", 3][c.rank], counts=[1, 2, 3], out=np.empty(c.rank + 1)), 3
        )
        same(np.concatenate(run.results), X)
