"""All-to-all, gather and scatter: their claims in both worlds, unique tokens, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import collectives
import ranks
from claims import DTYPES, LAYOUTS, OUTS, Case, fixed_cases, same
from claims_of_movers import MOVER_CLAIMS
from ranks.real import launch
from test_collectives import MIXED, NETWORKS, SIZES, X, fails

MPI_PROGRAM = Path(__file__).parent / "mpi_programs" / "mover_claims.py"
ALLTOALLS = [collectives.linear_alltoall, collectives.pairwise_alltoall, collectives.bruck_alltoall]

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
@settings(max_examples=40)
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
        for case in fixed_cases():
            if case.op in ("add", "maximum"):
                MOVER_CLAIMS[claim](comm, case)

    ranks.run(all_cases, 3, check=True)


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_every_claim_of_movers_holds_on_real_mpi(p: int) -> None:
    run = launch(p, [str(MPI_PROGRAM)], timeout_s=240)
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
            for name in ("pairwise", "linear", "bruck")
        ]
        for pairwise, linear, bruck in zip(*results, strict=True):
            same(pairwise, linear)
            same(pairwise, bruck)


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


# -- wrong calls -----------------------------------------------------------------------------------------------


def test_wrong_arguments_of_alltoall_say_who_got_what_expected_what_and_what_to_do() -> None:
    pairwise, of_axes, v = collectives.pairwise_alltoall, collectives.alltoall, collectives.alltoallv
    fails(lambda c: pairwise(c, X), ValueError, "pairwise_alltoall: got x of shape (6,) on rank 0, expected (3, ...)")
    fails(lambda c: pairwise(c, np.array(3)), ValueError, "got x of shape ()", "remedy: reshape it")
    fails(lambda c: pairwise(c, [1, 2, 3]), TypeError, "pairwise_alltoall: got x of type list")
    fails(lambda c: pairwise(c, X[:3], out=np.empty(2)), ValueError, "got out with shape (2,)")
    fails(lambda c: of_axes(c, [X]), TypeError, "alltoall: got x of type list")
    fails(lambda c: of_axes(c, X, 1), ValueError, "alltoall: got split_axis=1 for x of shape (6,)")
    fails(lambda c: of_axes(c, X, 0, -2), ValueError, "got concat_axis=-2", "remedy: choose one of 1")
    fails(lambda c: of_axes(c, X, 0, None), ValueError, "got concat_axis=None")
    fails(lambda c: of_axes(c, np.array(1)), ValueError, "got split_axis=0 for x of shape ()")
    fails(lambda c: of_axes(c, X, algorithm="ring"), ValueError, "got algorithm 'ring', expected pairwise or linear")
    fails(lambda c: of_axes(c, X, split_sizes=[1, 2, 4]), ValueError, "got split_sizes [1, 2, 4]", "adding up to 6")
    fails(lambda c: of_axes(c, X, split_sizes=[1, 5]), ValueError, "for each of 3 ranks")
    fails(lambda c: of_axes(c, X, split_sizes=[-1, 5, 2]), ValueError, "an integer from 0 up")
    fails(lambda c: of_axes(c, X, concat_sizes=[1, 1, 1]), ValueError, "got concat_sizes=[1, 1, 1] on rank 0")
    fails(lambda c: of_axes(c, X, concat_sizes=[2.0, 2, 2]), ValueError, "got concat_sizes [2.0, 2, 2]")
    fails(lambda c: of_axes(c, X[:5], algorithm="bruck"), ValueError, "expected equal ones for algorithm 'bruck'")
    fails(lambda c: of_axes(c, X, out=np.empty(5)), ValueError, "alltoall: got out with shape (5,)")
    fails(lambda c: v(c, X, [1, 2, 2]), ValueError, "alltoallv: got counts [1, 2, 2]", "adding up to 6")
    fails(lambda c: v(c, X, 2), ValueError, "alltoallv: got counts 2")
    fails(lambda c: v(c, X, [2, 2, 2], [1, 2, 2]), ValueError, "got receive_counts=[1, 2, 2] on rank 0")
    fails(lambda c: v(c, X, [2, 2, 2], algorithm="bruck"), ValueError, "expected pairwise or linear")
    fails(lambda c: v(c, X, [2, 2, 2], out=np.empty(7)), ValueError, "got out with shape (7,)")


@pytest.mark.parametrize("algorithm", ["pairwise", "linear"])
def test_a_block_of_another_size_than_expected_is_refused_where_it_comes(algorithm: str) -> None:
    def expecting(comm: Any, size: int) -> Any:
        counts = [2, 2, 2]
        expected = [2, size, 2] if comm.rank == 0 else counts
        return collectives.alltoallv(comm, X, counts, expected, algorithm=algorithm)

    fails(lambda c: expecting(c, 3), ValueError, "alltoallv: got 16 bytes from rank 1 on rank 0, expected 24")
    fails(lambda c: expecting(c, 1), ranks.TruncationError, "16 B", "8 B")


@pytest.mark.parametrize(
    "call",
    [
        lambda c, odd: collectives.pairwise_alltoall(c, np.zeros(5, "f4" if odd else "f8")),
        lambda c, odd: collectives.bruck_alltoall(c, np.zeros((5, 2) if odd else (5, 3))),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5)), 0, 0 if odd else 1),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5)), 1 if odd else 0, 1),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5 + odd)), 0, 1),
        lambda c, odd: collectives.alltoall(c, np.zeros((5 + odd, 5)), 0, 1),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5)), 0, 1, concat_sizes=[5, 5, 5, 5, 5 + odd]),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5)), 0, 1, split_sizes=[1, 1, 1, 1 + odd, 1 - odd]),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5)), 0, 1, algorithm="bruck" if odd else "linear"),
        lambda c, odd: collectives.alltoall(c, np.zeros((5, 5), "i8" if odd else "f8"), 0, 1),
        lambda c, odd: collectives.alltoallv(c, np.zeros(5, "i8" if odd else "f8"), [1] * 5),
        lambda c, odd: collectives.alltoallv(c, np.zeros(5), [1] * 5, [1] * 5 if odd else None),
    ],
)
def test_ranks_that_differ_in_any_argument_of_a_mover_are_told_so(call: Any) -> None:
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(lambda comm: call(comm, comm.rank == 3), 5)
    assert list(caught.value.calls.values()) == [[0, 1, 2, 4], [3]]
