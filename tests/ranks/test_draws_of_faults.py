"""Claims about which messages a fault strikes: each fault draws and counts for itself, from its first instant on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import ranks
from ranks import Delay, Drop, Duplicate, Link, Network, Partition

US = 10**6
FREE = Network(name="free", inter=Link(0, 0), ports=False)


def lateness(n: int, faults: list[Any], seed: int = 0, p: int = 2) -> dict[tuple[int, int], list[int]]:
    """Return how late each of n messages of each pair of ranks is, where only faults take time."""

    def program(comm: ranks.Comm) -> Any:
        late: dict[tuple[int, int], list[int]] = {}
        for turn in range(n):
            ranks.spend(comm, (turn + 1) * 100 * US - round(ranks.Wtime() * 10**12))
            others = [rank for rank in range(p) if rank != comm.rank]
            requests = [comm.isend(ranks.Wtime(), other) for other in others]
            for _ in others:
                status = ranks.Status()
                sent_s = comm.recv(status=status)  # the earliest, so that none waits for one that is later
                late.setdefault((status.source, comm.rank), []).append(round((ranks.Wtime() - sent_s) * 10**12))
            ranks.Request.waitall(requests)
        return late

    found: dict[tuple[int, int], list[int]] = {}
    for late in ranks.run(program, p, faults=faults, seed=seed, network=FREE).results:
        found.update(late)
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_faults_of_the_same_probability_strike_independently_of_each_other(seed: int) -> None:
    first, second = Delay(by_ps=1000, probability=0.5), Delay(by_ps=US, probability=0.5)
    late = lateness(300, [first, second], seed)
    for pair in ((0, 1), (1, 0)):
        counts = Counter(late[pair])
        assert sorted(counts) == [0, 1000, US, US + 1000]
        assert min(counts.values()) > 40  # of 75 expected: less has a probability below 1e-5
    assert late[0, 1] != late[1, 0]
    assert lateness(300, [first, second], seed) == late
    assert lateness(300, [first, second], seed + 2) != late


def test_equal_faults_draw_apart_too() -> None:
    fault = Delay(by_ps=1000, probability=0.5)
    counts = Counter(lateness(300, [fault, fault])[0, 1])
    assert sorted(counts) == [0, 1000, 2000]
    assert 100 < counts[1000] < 200  # of 150 expected


@pytest.mark.parametrize("nth", [1, 2, 5])
def test_the_nth_message_is_counted_for_each_pair_of_ranks_and_each_fault(nth: int) -> None:
    late = lateness(6, [Delay(by_ps=1000, nth=nth), Delay(by_ps=70, nth=nth), Delay(by_ps=3, source=1, nth=1)], p=4)
    assert len(late) == 12
    for (source, _), times in late.items():
        expected = [1070 if n + 1 == nth else 0 for n in range(6)]
        if source == 1:
            expected[0] += 3
        assert times == expected


def test_the_nth_message_of_a_tag_does_not_count_others() -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            for n in range(6):
                ranks.spend(comm, US * (n + 1) - round(ranks.Wtime() * 10**12))
                comm.Send(np.zeros(1), 1, tag=n % 2)
            return None
        took = []
        for n in range(6):
            comm.Recv(np.zeros(1), 0, tag=n % 2)
            took.append(round(ranks.Wtime() * 10**12) - US * (n + 1))
        return took

    run = ranks.run(program, 2, faults=[Delay(by_ps=1000, tag=1, nth=2)], network=FREE)
    assert run.results[1] == [0, 0, 0, 1000, 0, 0]


@pytest.mark.parametrize("kind", [Drop, Duplicate])
def test_drops_and_copies_are_drawn_for_each_message_apart(kind: Any) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            return [comm.Send(np.full(1, n), 1) for n in range(200)], comm.Send(np.full(1, -1), 1, 1)
        got, x = [], np.zeros(1, int)
        comm.Recv(x, 0, 1)
        while comm.Iprobe(0, 0):
            comm.Recv(x, 0, 0)
            got.append(int(x[0]))
        return got

    run = ranks.run(program, 2, network=FREE, faults=[kind(probability=0.5, tag=0, tolerated=True)])
    counts = Counter(run.results[1])
    struck = [n for n in range(200) if counts[n] != 1]
    assert 60 < len(struck) < 140
    assert {counts[n] for n in struck} == {0 if kind is Drop else 2}
    pairs = Counter((n in struck, n + 1 in struck) for n in range(199))
    assert min(pairs[a, b] for a in (False, True) for b in (False, True)) > 20


@pytest.mark.parametrize("shift", [-1, 0, 1])
@pytest.mark.parametrize("start_ps", [1, 1000, 10 * US])
@pytest.mark.parametrize("call", ["Send", "send", "Ssend", "Isend"])
def test_a_partition_begins_at_exactly_its_start_and_is_over_at_exactly_its_end(
    call: str, start_ps: int, shift: int
) -> None:
    def program(comm: ranks.Comm, sent_ps: int) -> Any:
        if comm.rank:
            comm.recv(source=0) if call == "send" else comm.Recv(np.zeros(1), 0)
            return round(ranks.Wtime() * 10**12)
        ranks.spend(comm, sent_ps)
        request = getattr(comm, call)(np.zeros(1), 1)
        return request and request.Wait()

    end_ps = start_ps + 5 * US
    for network in (FREE, Network(name="ports", inter=Link(0, 0))):
        for at_ps, lasts in ((start_ps + shift, shift >= 0), (end_ps + shift, shift < 0)):
            faults = [Partition(ranks=(0,), start_ps=start_ps, end_ps=end_ps)]
            there_ps = ranks.run(program, 2, at_ps, faults=faults, network=network).results[1]
            assert there_ps == (end_ps if lasts else at_ps)


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_a_partition_that_never_heals_loses_what_is_sent_from_its_start_on(shift: int) -> None:
    def program(comm: ranks.Comm) -> Any:
        if comm.rank == 0:
            ranks.spend(comm, 1000 + shift)
            return comm.Send(np.zeros(1), 1)
        return comm.Recv(np.zeros(1), 0)

    faults = [Partition(ranks=(1,), start_ps=1000)]
    if shift < 0:
        ranks.run(program, 2, faults=faults, network=FREE)
    else:
        with pytest.raises(ranks.DeadlockError) as caught:
            ranks.run(program, 2, faults=faults, network=FREE)
        assert len(caught.value.lost) == 1
