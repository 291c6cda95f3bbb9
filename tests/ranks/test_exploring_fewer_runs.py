"""Claims about ranks that are explored alone, as nothing else can come to them: fewer runs, and the same outcomes."""

from __future__ import annotations

from typing import Any

import pytest

import ranks
from explored import MODES, drawn, explored, possible
from inside import ChoosingWorld, Search, carry_out
from programs_of_calls import NETWORK

POLLS = ("Test", "Iprobe", "Get_status")


def first_of_two(comm: Any, source: int) -> tuple[int, list[Any]]:
    """Return which of two messages of `source` a rank waited for first, and the requests of both."""
    requests = [comm.irecv(source=source, tag=tag) for tag in (0, 1)]
    return ranks.Request.waitany(requests)[0], requests


def send_two(comm: Any, *dests: int) -> None:
    for dest in dests:
        comm.send("a", dest, 0)
        comm.send("b", dest, 1)


def pairs(comm: Any) -> int | None:
    if comm.rank % 2:
        return send_two(comm, comm.rank - 1)
    first, requests = first_of_two(comm, comm.rank + 1)
    ranks.Request.waitall(requests)
    return first


@pytest.mark.parametrize("n_pairs", [1, 2, 3])
def test_waits_that_have_nothing_to_do_with_each_other_need_no_run_that_is_ended_early(n_pairs: int) -> None:
    searches = [
        Search(
            lambda choose: carry_out(ChoosingWorld(2 * n_pairs, NETWORK, "infinite", choose), pairs, (), None).results,
            narrows=narrows,
        )
        for narrows in (False, True)
    ]
    all_results, results = ([repr(each) for each in search] for search in searches)
    assert sorted(results) == sorted(all_results)
    assert len(set(results)) == len(results) == 2**n_pairs
    assert searches[1].n_pruned == 0 < searches[0].n_pruned + (n_pairs == 1)
    assert ranks.explore(pairs, 2 * n_pairs, modes="infinite").runs == {"infinite": 2**n_pairs}


def one_after_another(comm: Any) -> int | None:
    """Rank 0 may have its first message before rank 1 has gone on, and only then."""
    if comm.rank == 2:
        comm.send("a", 0, 0)
        return send_two(comm, 1)
    if comm.rank == 1:
        first, requests = first_of_two(comm, 2)
        comm.send("b", 0, 1)
    else:
        requests = [comm.irecv(source=2, tag=0), comm.irecv(source=1, tag=1)]
        first = ranks.Request.waitany(requests)[0]
    ranks.Request.waitall(requests)
    return first


def test_what_was_left_out_beside_a_rank_that_is_explored_alone_is_explored_after_it() -> None:
    found = ranks.explore(one_after_another, 3, modes="infinite")
    assert sorted(outcome.results[:2] for outcome in found.outcomes) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_random_programs_have_the_same_outcomes(seeds: Any) -> None:
    n_narrowed = n_before = n_after = 0
    for seed in seeds(120):
        program = drawn(seed)
        calls = [op.call for ops in program for op in ops]
        if not any(call in ("Waitany", "Waitsome") for call in calls) or any(call.startswith(POLLS) for call in calls):
            continue
        for mode in MODES:
            found, search = explored(program, mode, narrows=True)
            assert found.keys() == possible(seed, mode), (seed, mode)
            if search.has_narrowed:
                n_narrowed += 1
                n_before += explored(program, mode)[1].n_pruned
                n_after += search.n_pruned
    assert n_narrowed > 10
    assert n_after < n_before


def fails_on_two_ranks(comm: Any) -> None:
    if comm.rank == 2:
        return send_two(comm, 0, 1)
    first_of_two(comm, 2)
    raise ValueError(f"rank {comm.rank}")


def polls(comm: Any) -> int | None:
    """The number of failed polls is seen before rank 0 has gone on and after that."""
    if comm.rank == 2:
        return send_two(comm, 0)
    if comm.rank == 0:
        first, requests = first_of_two(comm, 2)
        comm.send("c", 1)
        ranks.Request.waitall(requests)
        return first
    n_failed = 0
    while not comm.iprobe(source=0):
        n_failed += 1
    comm.recv(source=0)
    return n_failed


def cancels(comm: Any) -> Any:
    """A receive is cancelled before rank 0 has gone on, and after that."""
    if comm.rank == 2:
        return send_two(comm, 0)
    if comm.rank == 0:
        first, requests = first_of_two(comm, 2)
        request = comm.issend("c", 1)
        if first:
            request.Cancel()
        request.Wait()
        ranks.Request.waitall(requests)
        return first
    request, status = comm.irecv(source=0), ranks.Status()
    request.Cancel()
    request.Wait(status)
    return status.Is_cancelled()


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (fails_on_two_ranks, ["ValueError: rank 0", "ValueError: rank 1"]),
        (polls, [f"results [{first}, {n}, None]" for first in (0, 1) for n in (0, 1, 2)]),
        (
            cancels,
            ["DeadlockError: rank 0 hangs", "results [0, False, None]", "results [1, False, None]",
             "results [1, True, None]"],
        ),
    ],
)  # fmt: skip
def test_no_rank_is_explored_alone_where_others_may_fail_poll_or_cancel_meanwhile(
    program: Any, expected: list[str]
) -> None:
    found = ranks.explore(program, 3, modes="infinite")
    assert sorted(outcome.what() for outcome in found.outcomes) == expected
    assert found.complete
    for outcome in found.outcomes:
        assert outcome.runs["infinite"] >= 1
