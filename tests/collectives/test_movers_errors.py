"""What all-to-all, all-gather, gather and scatter say to arguments that do not fit, on one rank or among all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from claims import rows
from test_collectives import X, fails

ALLGATHERS = [row.function for row in rows("allgather")]
GATHERS = [row.function for row in rows("gather")]
SCATTERS = [row.function for row in rows("scatter")]


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
    fails(lambda c: of_axes(c, X, algorithm="ring"), ValueError, "got algorithm 'ring', expected auto or pairwise or")
    fails(lambda c: of_axes(c, X, split_sizes=[1, 2, 4]), ValueError, "got split_sizes [1, 2, 4]", "adding up to 6")
    fails(lambda c: of_axes(c, X, split_sizes=[1, 5]), ValueError, "for each of 3 ranks")
    fails(lambda c: of_axes(c, X, split_sizes=[-1, 5, 2]), ValueError, "an integer from 0 up")
    fails(lambda c: of_axes(c, X, concat_sizes=[1, 1, 1]), ValueError, "got concat_sizes=[1, 1, 1] on rank 0")
    fails(lambda c: of_axes(c, X, concat_sizes=[2.0, 2, 2]), ValueError, "got concat_sizes [2.0, 2, 2]")
    fails(lambda c: of_axes(c, X[:5], algorithm="bruck"), ValueError, "got algorithm 'bruck'", "not all equal")
    fails(lambda c: of_axes(c, X, out=np.empty(5)), ValueError, "alltoall: got out with shape (5,)")
    fails(lambda c: v(c, X, [1, 2, 2]), ValueError, "alltoallv: got counts [1, 2, 2]", "adding up to 6")
    fails(lambda c: v(c, X, 2), ValueError, "alltoallv: got counts 2")
    fails(lambda c: v(c, X, [2, 2, 2], [1, 2, 2]), ValueError, "got receive_counts=[1, 2, 2] on rank 0")
    fails(lambda c: v(c, X, [2, 2, 2], algorithm="bruck"), ValueError, "expected pairwise or linear")
    fails(lambda c: v(c, X, [2, 2, 2], out=np.empty(7)), ValueError, "got out with shape (7,)")


def test_wrong_arguments_of_gather_and_scatter_say_who_got_what_expected_what_and_what_to_do() -> None:
    for f in (*GATHERS, *ALLGATHERS):
        who = f.__name__
        fails(lambda c, f=f: f(c, [1, 2]), TypeError, f"{who}: got x of type list")
        fails(lambda c, f=f: f(c, X, counts=[6, 6]), ValueError, f"{who}: got counts [6, 6]", "for each of 3 ranks")
        fails(lambda c, f=f: f(c, X, counts=[6, 5, 6]), ValueError, "on rank 1, 6 elements", "remedy: pass the same")
        fails(lambda c, f=f: f(c, X, out=np.empty(18)), ValueError, f"{who}: got out with shape (18,)", "(3, 6)")
    for f in GATHERS:
        fails(lambda c, f=f: f(c, X, root=3), ValueError, f"{f.__name__}: got root=3, expected 0 to 2")
    x = np.zeros((3, 2))
    for f in SCATTERS:
        who = f.__name__
        fails(lambda c, f=f: f(c, x, root=-1), ValueError, f"{who}: got root=-1, expected 0 to 2")
        fails(lambda c, f=f: f(c, None, out=np.empty(2)), TypeError, f"{who}: got x of type NoneType")
        fails(lambda c, f=f: f(c, x), ValueError, f"{who}: got out=None on rank 1", "remedy: pass np.empty")
        fails(lambda c, f=f: f(c, X, out=np.empty(2)), ValueError, f"{who}: got x of shape (6,)", "expected (3, ...)")
        fails(lambda c, f=f: f(c, np.array(1), out=np.empty(2)), ValueError, f"{who}: got x of shape ()")
        fails(lambda c, f=f: f(c, X, counts=[1, 2, 4], out=np.empty(2)), ValueError, "adding up to 6")
        fails(lambda c, f=f: f(c, X, counts=[2, 1, 3], out=np.empty(2)), ValueError, "got out with shape (2,)")
        fails(lambda c, f=f: f(c, x, out=[0, 0]), TypeError, "of type list")


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
        *(lambda c, odd, f=f: f(c, X, root=1 if odd else 2) for f in GATHERS),
        *(lambda c, odd, f=f: f(c, np.zeros(6, "f4" if odd else "f8")) for f in (*GATHERS, *ALLGATHERS)),
        *(lambda c, odd, f=f: f(c, np.zeros((2, 3) if odd else (3, 2))) for f in (*GATHERS, *ALLGATHERS)),
        *(lambda c, odd, f=f: f(c, X, counts=[6, 6 + odd, 6, 6, 6]) for f in (*GATHERS, *ALLGATHERS)),
        *(lambda c, odd, f=f: f(c, np.ones((5, 2)), out=np.ones(2, "f4" if odd else "f8")) for f in SCATTERS),
        *(lambda c, odd, f=f: f(c, np.ones((5, 2)), out=np.ones(3 if odd else 2)) for f in SCATTERS),
        *(
            lambda c, odd, f=f: f(c, X, counts=[2, 1 + odd, 1 - odd, 1, 1], out=np.ones([2, 1, 1, 1, 1][c.rank]))
            for f in SCATTERS
        ),
        *(lambda c, odd, f=f: f(c, np.ones((5, 2)), root=1 if odd else 2, out=np.ones(2)) for f in SCATTERS),
        lambda c, odd: collectives.alltoallv(c, np.zeros(5, "i8" if odd else "f8"), [1] * 5),
        lambda c, odd: collectives.alltoallv(c, np.zeros(5), [1] * 5, [1] * 5 if odd else None),
    ],
)
def test_ranks_that_differ_in_any_argument_of_a_mover_are_told_so(call: Any) -> None:
    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(lambda comm: call(comm, comm.rank == 3), 5)
    assert list(caught.value.calls.values()) == [[0, 1, 2, 4], [3]]
