"""Claims about hangs: they are known at once, and the report names the ranks at fault, their lines and what helps."""

from __future__ import annotations

import inspect
import io
import sys
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from broken.ranks_unsafe import HANGS, Hang, another_tag, both_send_first, hangs_in_a_helper, helper, waitany_of_two
from inside import deadlock_cores
from oracle import blocks_itself


def hang_of(program: Any, size: int, *, args: Any = (), **options: Any) -> ranks.DeadlockError:
    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, size, *args, **options)
    return caught.value


def line_of(program: Any, rank: int) -> int:
    """Return the line of `program` that is marked as the one where `rank` hangs."""
    program = helper if program is hangs_in_a_helper else program
    lines, first = inspect.getsourcelines(program)
    marks = [line.partition("#")[2].split(",") for line in lines]
    return first + next(i for i, mark in enumerate(marks) if f"rank {rank}" in [part.strip() for part in mark])


@pytest.mark.parametrize("hang", HANGS, ids=lambda hang: f"{hang.program.__name__}-{hang.buffering}")
def test_hang_is_explained_by_its_core_its_lines_and_what_helps(hang: Hang) -> None:
    error = hang_of(hang.program, hang.size, buffering=hang.buffering)
    assert (error.core, error.passes_with) == (hang.core, hang.passes_with)
    blocked = {each.rank: each for each in error.blocked}
    for rank in hang.core:
        call = blocked[rank].call
        assert (call.site, call.line) == (f"ranks_unsafe.py:{line_of(hang.program, rank)}", line_of(hang.program, rank))
        assert f"  rank {rank}  {call.text}" in str(error)
    for part in hang.says:
        assert part in str(error)
    assert type(error) is ranks.DeadlockError


@pytest.mark.parametrize("hang", HANGS, ids=lambda hang: f"{hang.program.__name__}-{hang.buffering}")
@pytest.mark.parametrize("network", ["alpha-beta", "dgx-h100"])
def test_hang_has_the_same_core_on_another_network_and_when_traced(hang: Hang, network: str) -> None:
    error = hang_of(hang.program, hang.size, buffering=hang.buffering, network=network, trace=True)
    assert error.core == hang.core


def test_report_of_an_unsafe_exchange_reads_as_pinned() -> None:
    line = line_of(both_send_first, 0)
    error = hang_of(both_send_first, 2, buffering="none", seed=7)
    assert str(error) == (
        "DeadlockError at t=0.2 µs: ranks 0 and 1 wait for each other (buffering=none, seed=7)\n"
        f"  rank 0  Send(dest=1, tag=0, 800 B)  ranks_unsafe.py:{line}  waits for rank 1 to receive (source=0, tag=0)\n"
        f"  rank 1  Send(dest=0, tag=0, 800 B)  ranks_unsafe.py:{line}  waits for rank 0 to receive (source=1, tag=0)\n"
        f"  ranks_unsafe.py:{line} is: comm.Send(np.zeros(100), 1 - comm.rank)  # rank 0, rank 1\n"
        '  passes with buffering="infinite": the program relies on buffered sends\n'
        "  replay: ranks.run(both_send_first, 2, network='infiniband', buffering='none', seed=7)"
    )
    assert (error.time_ps, error.buffering, error.seed) == (200_000, "none", 7)


@pytest.mark.parametrize(("encoding", "unit"), [("utf-8", "µs"), ("latin-1", "µs"), ("ascii", "us")])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_without_the_letter_for_micro_gets_a_report_in_us(
    encoding: str, unit: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, stream, io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    report = str(hang_of(both_send_first, 2, buffering="none"))
    assert report.startswith(f"DeadlockError at t=0.2 {unit}: ranks 0 and 1 ")
    assert report.encode(encoding)


def test_report_of_a_wrong_tag_reads_as_pinned() -> None:
    zero, one = line_of(another_tag, 0), line_of(another_tag, 1)
    assert str(hang_of(another_tag, 2)) == (
        "DeadlockError at t=0.2 µs: ranks 0 and 1 wait for each other (buffering=eager, seed=0)\n"
        f"  rank 0  Recv(source=1, tag=4, 16 B)  ranks_unsafe.py:{zero}  waits for rank 1 to send (dest=0, tag=4)\n"
        f"  rank 1  Recv(source=0, tag=5, 16 B)  ranks_unsafe.py:{one}  waits for rank 0 to send (dest=1, tag=5)\n"
        "          nearly: rank 0 has sent 16 B of float64 (tag=4)\n"
        f"  ranks_unsafe.py:{zero} is: comm.Recv(np.zeros(2), 1, tag=4)  # rank 0\n"
        f"  ranks_unsafe.py:{one} is: comm.Recv(np.zeros(2), 0, tag=5)  # rank 1\n"
        "  replay: ranks.run(another_tag, 2, network='infiniband', buffering='eager', seed=0)"
    )


def test_report_of_several_requests_reads_as_pinned() -> None:
    line = line_of(waitany_of_two, 0)
    assert str(hang_of(waitany_of_two, 3)).splitlines()[1] == (
        f"  rank 0  waitany(2 requests)  ranks_unsafe.py:{line}  "
        "waits for rank 1 to send (dest=0, tag=ANY_TAG) or for rank 2 to send (dest=0, tag=ANY_TAG)"
    )


@pytest.mark.parametrize(("source", "text"), [(1, "1"), (ranks.ANY_SOURCE, "ANY_SOURCE")])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_send_names_a_receive_that_nearly_matched_whether_posted_or_not(source: int, text: str, earlier: int) -> None:
    def program(comm: ranks.Comm) -> None:
        b = np.zeros(1)
        for tag in [5] * earlier + [6]:
            if comm.rank:
                (comm.Send if tag == 5 else comm.Ssend)(b, 0, tag)
            else:
                comm.Recv(b, source, 5)

    error = hang_of(program, 2)
    assert [each.near for each in error.blocked if each.rank == 1] == [[f"rank 0 would receive (source={text}, tag=5)"]]


def test_a_send_names_the_receives_that_nearly_matched() -> None:
    def program(comm: ranks.Comm) -> None:
        other = comm.Dup()
        if comm.rank == 0:
            comm.send("x", 1, tag=4)
        else:
            request = other.irecv(source=0)
            comm.recv(tag=5)
            request.wait()

    error = hang_of(program, 2, buffering="none")
    assert [each.near for each in error.blocked] == [
        [
            "rank 1 would receive (source=ANY_SOURCE, tag=5)",
            "rank 1 would receive (source=0, tag=ANY_TAG, communicator 1)",
        ],
        ["rank 0 has sent an object (tag=4)"],
    ]


def test_replay_shows_the_same_hang() -> None:
    first = hang_of(both_send_first, 2, buffering="none", network="nvlink", seed=3)
    with pytest.raises(ranks.DeadlockError) as caught:
        eval(first.replay)
    assert str(caught.value) == str(first)


def test_replay_has_the_arguments_and_a_network_of_ones_own() -> None:
    network = ranks.Network(name="mine", inter=ranks.Link(3, 5), ports=False)
    args = (1,)
    first = hang_of(waits_for, 2, network=network, args=args)
    assert first.replay.startswith(
        "ranks.run(waits_for, 2, *args, network=ranks.Network(name='mine', inter=ranks.Link("
    )
    with pytest.raises(ranks.DeadlockError) as caught:
        eval(first.replay)
    assert str(caught.value) == str(first)


def waits_for(comm: ranks.Comm, source: int) -> None:
    comm.recv(source=source)


def test_core_of_many_ranks_is_shown_in_part_and_named_in_full() -> None:
    error = hang_of(lambda comm: comm.recv(source=(comm.rank + 1) % comm.size), 100)
    assert error.core == list(range(100))
    assert "ranks 0-99 wait for each other" in str(error)
    assert "  of the same core: ranks 2-99 in recv at test_deadlock_reports.py:" in str(error)
    assert len(str(error).splitlines()) < 10


def test_many_ranks_are_grouped_by_the_collective_and_the_line_they_are_in() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank == 0:
            comm.recv(source=0, tag=3)  # rank 0
        inner(comm)

    def inner(comm: ranks.Comm) -> None:
        collectives.ring_allgather(comm, np.zeros(1))

    text = str(hang_of(program, 64))
    assert "rank 0 waits for itself" in text.splitlines()[0]
    groups = [line for line in text.splitlines() if "behind them" in line]
    assert len(groups) == 1
    assert groups[0].startswith("  behind them: ranks 1-63 in Sendrecv of ring_allgather at ring.py:")
    assert len(text.splitlines()) == 5  # messages of a collective are no near matches


def test_a_line_in_a_library_is_shown_with_the_line_of_the_program_that_called_it() -> None:
    error = hang_of(hangs_in_a_helper, 2)
    lines, first = inspect.getsourcelines(hangs_in_a_helper)
    called = first + next(i for i, line in enumerate(lines) if "helper(comm)" in line)
    assert error.blocked[0].call.caller == f"ranks_unsafe.py:{called}"


def test_what_the_program_prints_while_advice_is_sought_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    def program(comm: ranks.Comm) -> None:
        print(f"rank {comm.rank}")
        both_send_first(comm)

    assert hang_of(program, 2, buffering="none").passes_with == "infinite"
    assert capsys.readouterr().out == "rank 0\nrank 1\n"


def test_a_livelock_is_told_from_a_long_wait() -> None:
    def program(comm: ranks.Comm, comes: bool) -> str:
        if comm.rank == 0:
            while not comm.Iprobe(source=1):  # rank 0
                pass
            return comm.recv()
        ranks.spend(comm, 10**9)
        if comes:
            comm.send("at last", 0)
        return comm.recv(source=0) if comm.rank == 2 and not comes else ""

    for network in ("infiniband", "alpha-beta"):
        assert ranks.run(program, 2, True, network=network).results[0] == "at last"
        with pytest.raises(ranks.LivelockError, match="rank 0 polls for something that can no longer come") as caught:
            ranks.run(program, 3, False, network=network)
        blocked = {each.rank: each for each in caught.value.blocked}
        assert sorted(blocked) == caught.value.core == [0, 2]
        assert blocked[0].call.line == line_of(program, 0)
        assert blocked[0].reason == "polls, and nothing is on its way"


def test_ranks_that_poll_and_get_on_are_no_livelock() -> None:
    def program(comm: ranks.Comm) -> int:
        polls = 0
        for _ in range(40):
            polls += comm.Iprobe(tag=9)
        for n in range(3):
            request = comm.irecv(source=1 - comm.rank)
            ranks.spend(comm, 10**7 * comm.rank)
            comm.send(n, 1 - comm.rank)
            while not request.test()[0]:
                polls += 1
        return polls

    polls = ranks.run(program, 2).results
    assert max(polls) > 50


def brute_force_cores(needs: dict[int, list[frozenset[int]]]) -> set[frozenset[int]]:
    """Return the smallest sets of ranks each of which has a need that only the set, or returned ranks, could serve."""
    found: list[frozenset[int]] = []
    everyone = sorted(needs)
    for mask in sorted(range(1, 1 << len(everyone)), key=int.bit_count):
        members = frozenset(r for i, r in enumerate(everyone) if mask >> i & 1)
        stuck = all(any(all(t in members or t not in needs for t in need) for need in needs[r]) for r in members)
        if stuck and not any(core <= members for core in found):
            found.append(members)
    return set(found)


def test_cores_are_minimal_on_random_and_or_graphs() -> None:
    rng = np.random.default_rng(1)
    for _ in range(400):
        sets = rng.integers(1, 3, size=rng.integers(1, 7))
        needs = {
            rank: [frozenset(rng.choice(8, size=rng.integers(1, 4), replace=False).tolist()) for _ in range(n)]
            for rank, n in enumerate(sets)
        }
        cores = deadlock_cores(needs)
        assert cores
        assert {frozenset(core) for core in cores} <= brute_force_cores(needs)


def test_the_core_of_a_thousand_ranks_is_found() -> None:
    needs = {rank: [frozenset([(rank + 1) % 1000 if rank < 990 else 995])] for rank in range(1000)}
    needs[995] = [frozenset([991])]
    needs[991] = [frozenset([995])]
    assert deadlock_cores(needs) == [[991, 995]]
    assert blocks_itself({991, 995}, {991: 995, 995: 991})
