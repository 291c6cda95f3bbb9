"""Claims about traces: their events, what vector clocks prove, and the files and pictures made of them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.quiver import Quiver

import collectives
import ranks
from oracle import NETWORKS, play, programs

NETWORK = ranks.Network(name="round", inter=ranks.Link(1000, 10_000), overhead_ps=100)


def pair(comm: ranks.Comm) -> None:
    with ranks.region(comm, "talk"):
        if comm.rank == 0:
            comm.Ssend(np.zeros(50, np.uint8), 1, tag=3)
        else:
            ranks.spend(comm, 700)
            comm.Recv(np.zeros(50, np.uint8), 0)


def test_events_of_one_message_are_as_long_as_the_clock_says() -> None:
    events = ranks.run(pair, 2, network=NETWORK, trace=True).trace.events
    assert {(e.rank, e.kind, e.start_ps, e.end_ps) for e in events} == {
        (0, "enter", 0, 0), (0, "send", 0, 100), (0, "wait", 100, 1200), (0, "leave", 1200, 1200),
        (0, "return", 1200, 1200),
        (1, "enter", 0, 0), (1, "compute", 0, 700), (1, "receive", 700, 2300), (1, "leave", 2300, 2300),
        (1, "return", 2300, 2300),
    }  # fmt: skip
    assert {(e.peer, e.tag, e.n_bytes) for e in events if e.rank == 0 and e.peer >= 0} == {(1, 3, 50)}
    assert {(e.peer, e.tag, e.n_bytes) for e in events if e.rank == 1 and e.peer >= 0} == {(0, 3, 50)}
    assert {e.name for e in events if e.kind in ("enter", "leave")} == {"talk"}
    assert len({e.message for e in events if e.peer >= 0}) == 1
    first = pair.__code__.co_firstlineno
    assert {e.kind: e.site for e in events if e.site} == {
        kind: f"test_trace.py:{first + lines}"
        for kind, lines in {"send": 3, "wait": 3, "compute": 5, "receive": 6}.items()
    }


def test_the_site_of_a_message_names_the_line_that_led_to_it_whoever_made_the_call() -> None:
    def twice(comm: ranks.Comm) -> None:
        collectives.ring_allgather(comm, np.zeros(2))
        for _ in range(2):
            collectives.ring_allgather(comm, np.zeros(2))
        comm.send(None, comm.rank)
        comm.recv()

    first = twice.__code__.co_firstlineno
    events = ranks.run(twice, 3, trace=True).trace.events
    called = [event.site.partition("called at ")[2] for event in events if event.rank == 0 and event.kind == "send"]
    lines = [f"test_trace.py:{first + line})" for line in (1, 1, 3, 3, 3, 3)]
    assert called[:6] == lines
    assert {event.site for event in events if event.peer == event.rank} == {
        f"test_trace.py:{first + line}" for line in (4, 5)
    }


def test_a_rank_s_time_is_computing_sending_receiving_and_waiting() -> None:
    trace = ranks.run(pair, 2, network=NETWORK, trace=True).trace
    assert [(event.rank, what, start_ps, end_ps) for what, start_ps, end_ps, event in trace.bars()] == [
        (0, "send", 0, 100), (1, "compute", 0, 700), (0, "waiting", 100, 1200), (1, "waiting", 700, 2200),
        (1, "receive", 2200, 2300),
    ]  # fmt: skip


def test_all_work_is_computing_also_a_straggler_s_and_that_on_shared_memory() -> None:
    link = ranks.Link(0, 2000)
    network = ranks.Network(name="g", inter=link, intra=link, ranks_per_node=2, reduce_fs_per_byte=1000)

    def program(comm: ranks.Comm) -> None:
        clock = ranks.reduction_clock(comm)
        assert clock is not None
        clock(10)
        ranks.spend(comm, 0)
        charge = ranks.shared_array(comm, 1).charge
        assert charge is not None
        charge(1, 10)

    trace = ranks.run(program, 2, network=network, faults=ranks.Straggler(rank=1, factor=3), trace=True).trace
    work = [(e.rank, e.end_ps - e.start_ps) for e in trace.events if e.kind == "compute"]
    assert sorted(work) == [(0, 10), (0, 20), (1, 30)]


def test_a_region_that_an_exception_leaves_is_left_and_one_that_is_open_lasts_until_the_end() -> None:
    def program(comm: ranks.Comm) -> None:
        with suppress(KeyError), ranks.region(comm, "left"):
            ranks.spend(comm, 5)
            raise KeyError
        open_region = ranks.region(comm, "open")
        open_region.__enter__()
        inner_region = ranks.region(comm, "inner")
        inner_region.__enter__()
        ranks.spend(comm, 5)

    trace = ranks.run(program, 1, trace=True).trace
    assert trace.visits() == [("left", 0, 0, 5), ("inner", 0, 5, 10), ("open", 0, 5, 10)]
    assert trace.visits(20) == [("left", 0, 0, 5), ("inner", 0, 5, 20), ("open", 0, 5, 20)]


def test_a_trace_has_one_event_for_each_send_and_receive() -> None:
    def program(comm: ranks.Comm) -> None:
        for n in (0, 1, 2, 2, 2):
            comm.Sendrecv(np.zeros(n), (comm.rank + 1) % comm.size, 0, np.zeros(5), (comm.rank - 1) % comm.size)
        comm.isend("self", comm.rank).wait()
        comm.recv(source=comm.rank)

    run = ranks.run(program, 3, trace=True)
    kinds = [event.kind for event in run.trace.events]
    assert (kinds.count("send"), kinds.count("receive")) == (sum(run.sends), sum(run.receives)) == (18, 18)


def depends(events: list[ranks.Event]) -> Any:
    """Return which event happened before which, by closing program order and messages transitively."""
    n = len(events)
    before = np.zeros((n, n), bool)
    for a, first in enumerate(events):
        for b, second in enumerate(events):
            same_rank = first.rank == second.rank and a < b
            message = (first.kind, second.kind) == ("send", "receive") and first.message == second.message
            before[a, b] = same_rank or message
    for middle in range(n):
        before |= np.outer(before[:, middle], before[middle])
    return before


@settings(max_examples=60)
@given(programs(), st.sampled_from(NETWORKS))
def test_vector_clocks_say_what_happened_before_what(calls: Any, network: ranks.Network) -> None:
    try:
        trace = ranks.run(play, len(calls), calls, network=network, trace=True).trace
    except ranks.RanksError:
        return
    clocks, before = trace.vector_clocks(), depends(trace.events)
    assert clocks.shape == (len(trace.events), len(calls))
    for a, first in enumerate(trace.events):
        for b in range(len(trace.events)):
            assert before[a, b] == (a != b and clocks[a, first.rank] <= clocks[b, first.rank])


def test_the_longest_chain_counts_rounds() -> None:
    def ring(comm: ranks.Comm) -> None:
        for _ in range(comm.size - 1):
            comm.sendrecv(None, (comm.rank + 1) % comm.size, source=(comm.rank - 1) % comm.size)

    def star(comm: ranks.Comm) -> None:
        for rank in range(1, comm.size):
            comm.send(None, rank) if comm.rank == 0 else comm.rank == rank and comm.recv(source=0)

    assert [ranks.run(ring, p, trace=True).trace.longest_chain() for p in (1, 2, 5)] == [0, 1, 4]
    assert [ranks.run(star, p, trace=True).trace.longest_chain() for p in (1, 2, 5)] == [0, 1, 1]


def star_barrier(comm: ranks.Comm, answers: bool) -> None:
    with ranks.region(comm, "barrier"):
        if comm.rank:
            comm.send(None, 0)
            comm.recv(source=0) if answers else None
        else:
            for source in range(1, comm.size):
                comm.recv(source=source)
            for dest in range(1, comm.size):
                comm.send(None, dest) if answers else None


@pytest.mark.parametrize("p", [1, 2, 5])
def test_a_barrier_is_proved_and_one_without_its_answers_refuted(p: int) -> None:
    good = ranks.run(star_barrier, p, True, trace=True).trace
    assert good.left_before_entered("barrier") == []
    bad = ranks.run(star_barrier, p, False, trace=True).trace
    # Rank 0 hears of all; all others leave before any other one has entered.
    assert sorted(bad.left_before_entered("barrier")) == [(a, b) for a in range(p) for b in range(1, p) if a != b]


def test_a_barrier_that_holds_only_the_first_time_is_refuted() -> None:
    def program(comm: ranks.Comm) -> None:
        star_barrier(comm, True)
        star_barrier(comm, False)

    pairs = ranks.run(program, 3, trace=True).trace.left_before_entered("barrier")
    assert sorted(pairs) == [(0, 1), (0, 2), (1, 2), (2, 1)]


def test_a_region_that_not_all_ranks_visit_alike_is_refused() -> None:
    def program(comm: ranks.Comm) -> None:
        if comm.rank:
            with ranks.region(comm, "some"):
                pass

    trace = ranks.run(program, 3, trace=True).trace
    for name in ("some", "other"):
        with pytest.raises(ValueError, match=f"visits to region '{name}'.*same number, at least 1, on every rank"):
            trace.left_before_entered(name)


def test_a_region_does_nothing_when_not_traced_or_on_another_world() -> None:
    with ranks.region(object(), "anything"):
        pass
    assert ranks.run(pair, 2, network=NETWORK).times_ps == [1200, 2300]


# -- files and pictures ----------------------------------------------------------------------------------------


def exchange(comm: ranks.Comm) -> None:
    """A ring in two regions, with rendezvous and a late rank: everything that a picture can show."""
    with ranks.region(comm, "ring"):
        for n in range(3):
            ranks.spend(comm, 40_000_000 * (comm.rank == 2) * (n == 1))
            right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
            comm.Sendrecv(np.zeros(20_000), right, n, np.zeros(20_000), left, n)
    star_barrier(comm, True)


def test_chrome_trace_is_what_perfetto_reads(tmp_path: Path) -> None:
    run = ranks.run(exchange, 4, trace=True)
    run.trace.to_chrome(tmp_path / "trace.json")
    document = json.loads((tmp_path / "trace.json").read_text())
    events = document["traceEvents"]
    by_kind = {kind: [e for e in events if e["ph"] == kind] for kind in "MXsf"}
    assert sum(map(len, by_kind.values())) == len(events)
    assert [(e["tid"], e["name"], e["args"]["name"]) for e in by_kind["M"]] == [
        (rank, "thread_name", f"rank {rank}") for rank in range(4)
    ]
    assert all(e["pid"] == 0 and 0 <= e["tid"] < 4 for e in events)
    for e in by_kind["X"]:
        assert e["name"]
        assert e["ts"] >= 0
        assert e["dur"] >= 0
        assert e["ts"] + e["dur"] <= run.time_ps / 1e6
    starts, ends = ({e["id"]: e for e in by_kind[kind]} for kind in "sf")
    assert len(starts) == len(by_kind["s"]) == len(by_kind["f"]) == sum(run.sends)
    assert starts.keys() == ends.keys()
    slices = [(e["tid"], e["ts"], e["ts"] + e["dur"]) for e in by_kind["X"] if e["name"] not in ("ring", "barrier")]
    for e in by_kind["s"] + by_kind["f"]:  # an arrow is drawn only from slice to slice
        assert any(tid == e["tid"] and begin <= e["ts"] <= end for tid, begin, end in slices)
        assert e["ph"] == "s" or (e["bp"] == "e" and e["ts"] >= starts[e["id"]]["ts"])
        assert (e["cat"], e["name"]) == ("message", starts[e["id"]]["name"])
    assert {e["name"] for e in by_kind["X"]} >= {"ring", "barrier", "send to 1", "receive from 3"}
    assert any(e["name"].startswith("wait to ") for e in by_kind["X"])


def test_pictures_are_made_as_svg_and_png(tmp_path: Path) -> None:
    trace = ranks.run(exchange, 4, trace=True).trace
    figure = trace.picture(tmp_path / "ring.svg", title="a ring")
    trace.picture(tmp_path / "ring.png")
    assert (tmp_path / "ring.png").read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(tmp_path / "ring.svg").getroot().tag.endswith("svg")
    axes = figure.axes[0]
    assert axes.get_title() == "a ring"
    assert axes.get_xlabel() == "virtual time, µs"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "compute", "send", "receive", "waiting", "region", "message",
    ]  # fmt: skip
    assert [text.get_text() for text in axes.texts] == ["ring", "barrier"]


def test_a_legend_lists_what_is_short_too_since_its_edge_is_seen() -> None:
    def program(comm: Any) -> None:
        ranks.spend(comm, 10**12)
        comm.Sendrecv(np.zeros(1), 1 - comm.rank, recvbuf=np.zeros(1))

    figure = ranks.run(program, 2, trace=True).trace.picture()
    listed = [text.get_text() for text in figure.legends[0].get_texts()]
    assert listed == ["compute", "send", "receive", "waiting", "message"]


@pytest.mark.parametrize("p", [1, 2, 70])
def test_pictures_are_made_of_few_and_of_many_ranks_and_of_nothing(p: int, tmp_path: Path) -> None:
    trace = ranks.run(star_barrier, p, True, trace=True).trace
    trace.picture(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    ranks.run(lambda comm: None, p, trace=True).trace.picture(tmp_path / "nothing.svg")


@pytest.mark.parametrize(
    ("time_ps", "unit", "end"),
    [(3, "ps", 3), (1200, "ns", 1.2), (5 * 10**6, "µs", 5), (3 * 10**10, "ms", 30), (10**12, "s", 1)],
)
def test_the_axis_is_in_the_unit_that_fits_and_ends_after_the_last_event(time_ps: int, unit: str, end: float) -> None:
    trace = ranks.run(ranks.spend, 1, time_ps, trace=True).trace
    axes = trace.picture().axes[0]
    assert axes.get_xlabel() == f"virtual time, {unit}"
    assert axes.get_xlim()[1] == pytest.approx(1.01 * end)
    assert trace.picture(until_ps=2 * time_ps).axes[0].get_xlim()[1] == pytest.approx(2.02 * end)


def test_a_picture_of_some_ranks_says_so() -> None:
    trace = ranks.run(star_barrier, 70, True, trace=True).trace
    assert trace.picture().axes[0].get_ylabel() == "ranks 0 to 63 of 70"
    axes = trace.picture(ranks=range(2, 4)).axes[0]
    assert axes.get_ylabel() == "ranks 2 to 3 of 70"
    assert axes.get_ylim() == (3.6, 1.3)
    (frames,) = [each for each in axes.collections if each.get_label() == "region"]
    assert len(frames.get_paths()) == 2
    (arrows,) = [each for each in axes.collections if isinstance(each, Quiver)]
    assert arrows.N == 4, "also what other ranks send them, and they to others"
    for wrong in (range(0), range(69, 71), range(-1, 2), range(3, 0, -1), [1, 2], 3):
        with pytest.raises(ValueError, match=r"picture: got ranks=.*, expected .* 0 to 69"):
            trace.picture(ranks=wrong)
