"""Claims about exploring programs that poll: what polls may say, and how often they may say no."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import ranks


def test_a_loop_of_polls_is_explored_to_its_end() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        polls = 0
        while not comm.iprobe():
            polls += 1
        return polls, comm.recv()

    for polls in range(4):
        found = ranks.explore(program, 2, modes=["eager"], polls=polls)
        assert sorted(outcome.results[0][0] for outcome in found.outcomes) == list(range(polls + 1))


def test_polls_for_something_that_never_comes_are_a_livelock() -> None:
    def program(comm: Any) -> None:
        while comm.rank == 0 and not comm.iprobe():
            pass

    (failure,) = ranks.explore(program, 2).failures
    assert isinstance(failure.failure, ranks.LivelockError)
    assert failure.failure.core == [0]


def test_a_cancel_may_come_before_or_after_the_message_is_had() -> None:
    def program(comm: Any) -> Any:
        if comm.rank == 0:
            request = comm.irecv()
            request.Cancel()
            status = ranks.Status()
            request.wait(status)
            return (status.Is_cancelled(), comm.recv() if status.Is_cancelled() else None)
        return comm.send("x", 0)

    found = ranks.explore(program, 2)
    assert found.verdict == "holds"
    assert sorted(outcome.results[0] for outcome in found.outcomes) == [(False, None), (True, "x")]


def test_the_cancel_of_a_send_may_come_before_or_after_a_wildcard_has_its_message() -> None:
    """The two do not commute: a search that takes them to would miss that the message was had first."""

    def program(comm: Any) -> Any:
        if comm.rank == 0:
            first = comm.recv()
            return [first, comm.recv(source=2)] if first == 1 else [first]
        if comm.rank == 1:
            request, status = comm.issend(1, 0), ranks.Status()
            request.Cancel()
            request.wait(status)
            return status.Is_cancelled()
        return comm.send(2, 0)

    found = ranks.explore(program, 3)
    assert found.verdict == "holds", found
    assert sorted((o.results[0], o.results[1]) for o in found.outcomes) == [([1, 2], False), ([2], True)]


def test_a_poll_may_say_no_again_after_its_rank_has_done_something_else() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            comm.send("x", 0)
            return comm.recv()
        first = comm.iprobe()
        comm.send("y", 1)
        second = comm.iprobe()
        return first, second, comm.recv()

    found = ranks.explore(program, 2, modes=["eager"])
    assert (False, False) in {outcome.results[0][:2] for outcome in found.outcomes}


def test_a_poll_may_say_no_once_before_and_once_after_something_new_has_come() -> None:
    """Only if noes are tried first does the search come to both: what else could happen goes to sleep otherwise."""

    def program(comm: Any) -> Any:
        noes = 0
        if comm.rank == 0:
            while not comm.iprobe(tag=5):
                noes += 1
            return noes, sorted([comm.recv(tag=5), comm.recv(tag=5)])
        if comm.rank == 3:
            got = [comm.recv()]
            comm.send(3, 0, tag=5)
            return sorted([*got, comm.recv()])
        if comm.rank == 1:
            comm.send(1, 0, tag=5)
        return comm.send(comm.rank, 3)

    found = ranks.explore(program, 4, modes=["infinite"])
    assert found.verdict == "holds"
    assert {outcome.results[0][0] for outcome in found.outcomes} == {0, 1, 2}


def test_failed_polls_take_time_so_that_waiting_for_a_time_ends() -> None:
    def program(comm: Any) -> int:
        polls, end = 0, ranks.Wtime() + 5e-6
        while ranks.Wtime() < end:
            polls += 1
            comm.iprobe()
        return polls

    found = ranks.explore(program, 1, network="infiniband")
    assert [outcome.results for outcome in found.outcomes] == [[50]]


def test_polls_between_which_messages_travel_are_no_livelock() -> None:
    def program(comm: Any) -> None:
        for n in range(200):
            if comm.rank == 0:
                comm.send(n, 1)
                comm.iprobe(tag=9)
            else:
                comm.recv(source=0)

    for polls in (0, 1):
        assert ranks.explore(program, 2, polls=polls).verdict == "holds"


def gives_up_by_range(comm: Any, n: int) -> str:
    for _ in range(n):
        if comm.Iprobe(source=1):
            return "got"
    return "gave up"


def gives_up_by_counting(comm: Any, n: int) -> str:
    while n:
        n -= 1
        if comm.Iprobe(source=1):
            return "got"
    return "gave up"


@pytest.mark.parametrize("poll", [gives_up_by_range, gives_up_by_counting])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 100, 6000])
def test_a_loop_that_gives_up_after_some_polls_is_no_livelock(poll: Any, n: int) -> None:
    found = ranks.explore(lambda comm: poll(comm, n) if comm.rank == 0 else None, 2, modes=["none"])
    assert [outcome.results for outcome in found.outcomes] == [["gave up", None]]


def turns(comm: Any) -> None:
    tag = 0
    while not comm.Iprobe(tag=tag):
        tag = 1 - tag


def forever_in_an_iterator(comm: Any) -> None:
    for _ in itertools.repeat(None):
        if comm.Iprobe():
            return


def keeps_a_log(comm: Any) -> None:
    log = []
    while not comm.Iprobe():
        log.append(1)


@pytest.mark.parametrize("program", [turns, forever_in_an_iterator, keeps_a_log])
def test_a_loop_of_polls_for_what_never_comes_is_a_livelock(program: Any) -> None:
    found = ranks.explore(program, 2, modes=["none"])
    assert [type(outcome.failure) for outcome in found.outcomes] == [ranks.LivelockError]


# -- what a poll has seen it sees again ------------------------------------------------------------------------


def answers(ask: Any, n_messages: int = 1, **options: Any) -> set[Any]:
    """Return what ask(comm) may return on rank 0 while rank 1 sends it messages 0, 1, ... under these tags."""

    def program(comm: Any) -> Any:
        if comm.rank == 1:
            return [comm.send(n, 0, tag=n) for n in range(n_messages)]
        got = ask(comm)
        while comm.iprobe(source=1):
            comm.recv(source=1)
        return got

    found = ranks.explore(program, 2, modes=["infinite"], polls=3, **options)
    return {outcome.results[0] for outcome in found.outcomes if outcome.results is not None}


@pytest.mark.parametrize("first", [{}, {"source": 1}, {"tag": 0}])
@pytest.mark.parametrize("second", [{}, {"source": 1}, {"source": 1, "tag": 0}])
def test_a_message_that_a_probe_has_seen_is_seen_until_it_is_received(first: Any, second: Any) -> None:
    both = answers(lambda comm: (comm.iprobe(**first), comm.iprobe(**second)))
    assert both == {(False, False), (False, True), (True, True)}
    assert answers(lambda comm: (comm.probe(**first), comm.iprobe(**second))) == {(True, True)}
    assert answers(lambda comm: (comm.probe(**first), comm.recv(source=1), comm.iprobe(**second))) == {(True, 0, False)}


def test_a_message_that_was_not_seen_may_still_be_on_its_way() -> None:
    both = answers(lambda comm: (comm.iprobe(tag=0), comm.iprobe(tag=1)), n_messages=2)
    assert both == {(False, False), (False, True), (True, False), (True, True)}


def test_of_two_messages_that_were_seen_one_is_left_when_a_wildcard_was_posted_for_the_other() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return comm.send(comm.rank, 0)
        comm.probe(source=1)
        comm.probe(source=2)
        request = comm.irecv()
        seen = comm.iprobe()
        return seen, comm.recv() + request.wait()

    found = ranks.explore(program, 3)
    assert [outcome.results[0] for outcome in found.outcomes] == [(True, 3)]


def test_a_request_that_was_found_complete_stays_complete() -> None:
    def ask(comm: Any) -> Any:
        request = comm.irecv(source=1)
        got = request.Get_status(), request.Get_status(), request.test()[0]
        request.wait()
        return got

    assert answers(ask) == {(False, False, False), (False, False, True), (False, True, True), (True, True, True)}


@pytest.mark.parametrize("call", ["testany", "testsome", "testall", "waitsome"])
def test_calls_for_several_requests_know_which_one_was_found_complete(call: str) -> None:
    def ask(comm: Any) -> Any:
        requests = [comm.irecv(source=1, tag=tag) for tag in range(2)]
        known = requests[1].Get_status()
        answer = getattr(ranks.Request, call)(requests)
        ranks.Request.waitall(requests)
        return known, str(answer[:2] if call == "testany" else answer[0])

    got = {answer for known, answer in answers(ask, n_messages=2) if known}
    assert (
        got
        == {
            "testany": {"(0, True)", "(1, True)"},
            "testsome": {"[1]", "[0, 1]"},
            "testall": {"False", "True"},
            "waitsome": {"[1]", "[0, 1]"},
        }[call]
    )


# -- how often polls may fail ----------------------------------------------------------------------------------


def polls_twice(comm: Any) -> Any:
    """Two polls that follow each other may both fail."""
    if comm.rank:
        return comm.send(1, 0)
    first, second = comm.iprobe(), comm.iprobe()
    return first, second, comm.recv()


def polls_three_times_in_a_loop(comm: Any) -> Any:
    """A loop of three polls, of which one is let fail by default."""
    if comm.rank:
        return comm.send(1, 0)
    seen = [comm.iprobe() for _ in range(3)]
    return seen, comm.recv()


def test_polls_at_different_places_may_all_fail_and_nothing_is_assumed() -> None:
    found = ranks.explore(polls_twice, 2)
    assert {outcome.results[0][:2] for outcome in found.outcomes} == {(False, False), (False, True), (True, True)}
    assert found.polls is None
    assert "assumed" not in str(found)


def test_a_report_says_that_a_poll_in_a_loop_was_not_let_fail_more_often() -> None:
    found = ranks.explore(polls_three_times_in_a_loop, 2)
    assert (found.verdict, found.polls) == ("holds", 1)
    assert str(found).splitlines()[1] == (
        "  assumed: a poll in a loop that changes nothing fails on purpose at most once (polls=1)"
    )
    assert [False, False, False] not in [outcome.results[0][0] for outcome in found.outcomes]
    found = ranks.explore(polls_three_times_in_a_loop, 2, polls=3)
    assert found.polls is None
    assert [False, False, False] in [outcome.results[0][0] for outcome in found.outcomes]
    assert "fails on purpose never (polls=0)" in str(ranks.explore(polls_three_times_in_a_loop, 2, polls=0))
    assert "at most 2 times (polls=2)" in str(ranks.explore(polls_three_times_in_a_loop, 2, polls=2))


def test_a_poll_may_fail_again_once_its_rank_has_learnt_something() -> None:
    def program(comm: Any) -> Any:
        if comm.rank:
            return [comm.send(tag, 0, tag=tag) for tag in range(2)]
        seen = [comm.iprobe(tag=tag) for tag in (1, 0, 1)]  # one place, so that the bound counts
        return seen, comm.recv(tag=0), comm.recv(tag=1)

    found = ranks.explore(program, 2)
    assert [False, True, False] in [outcome.results[0][0] for outcome in found.outcomes]


def test_a_loop_that_sends_while_it_polls_is_explored_to_its_end() -> None:
    """Each message that it sends would let the next poll fail again, for ever."""

    def program(comm: Any) -> Any:
        if comm.rank == 0:
            while not comm.iprobe(source=1):
                comm.send("?", 2)
            comm.send("end", 2)
            return comm.recv(source=1)
        if comm.rank == 1:
            return comm.send("!", 0)
        while comm.recv(source=0) != "end":
            pass
        return None

    found = ranks.explore(program, 3, modes=["infinite"])
    assert found.verdict == "holds"
    assert found.polls == 1
