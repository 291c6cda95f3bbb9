"""Claims about reports as pictures and HTML: what they show is what hangs, and they come without a trace too."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import collectives
import ranks
from broken.ranks_unsafe import another_tag, both_send_first
from inside import chrome_events, page

VOID = {"br", "meta", "path", "use", "rect"}


class Outline(HTMLParser):
    """Checks that elements nest, and keeps the text and the elements."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: Counter[str] = Counter()
        self.words = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements[tag] += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def outline(html: str) -> Outline:
    made = Outline()
    made.feed(html)
    made.close()
    assert made.open == []
    return made


def hang_of(program: Any, size: int, **options: Any) -> ranks.DeadlockError:
    with pytest.raises(ranks.DeadlockError) as caught:
        ranks.run(program, size, **options)
    return caught.value


def crosses(axes: Any, marker: str) -> list[tuple[float, float]]:
    return [(*line.get_xdata(), *line.get_ydata()) for line in axes.lines if line.get_marker() == marker]


def labels(figure: Any) -> list[str]:
    """Return what the legend lists."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def boxes(axes: Any, label: str) -> list[tuple[float, float, float]]:
    """Return rank, start and end of the boxes with this label."""
    (found,) = [each for each in axes.collections if each.get_label() == label]
    corners = [path.get_extents() for path in found.get_paths()]
    return [((box.y0 + box.y1) / 2, box.x0, box.x1) for box in corners]


def test_a_picture_shows_the_core_the_others_and_the_messages_that_nobody_received() -> None:
    def program(comm: Any) -> None:
        if comm.rank < 2:
            another_tag(comm)
        else:
            comm.recv(source=0)

    error = hang_of(program, 3, trace=True)
    axes = error.picture().axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == [f"{each.call.text.partition('(')[0]} at {each.call.site}" for each in error.blocked]
    colours = [text.get_color() for text in axes.texts]
    assert colours[0] == colours[1] != colours[2]
    (end,) = crosses(axes, "x")
    assert 0 < end[3] < 1, "the message of rank 0 to rank 1 ends before rank 1's line"
    assert [(event.rank, event.peer, event.tag) for event in error.trace.unreceived()] == [(0, 1, 4)]


def test_a_picture_of_a_run_that_ended_well_shows_no_hang() -> None:
    run = ranks.run(lambda comm: comm.sendrecv(1, 1 - comm.rank), 2, trace=True)
    figure = run.trace.picture()
    assert not figure.axes[0].texts
    assert labels(figure) == ["send", "receive", "waiting", "message"]


def test_a_picture_marks_the_rank_that_crashed() -> None:
    def program(comm: Any) -> None:
        with ranks.region(comm, "exchange"):
            for _ in range(3):
                comm.sendrecv(1, 1 - comm.rank)

    error = hang_of(program, 2, trace=True, faults=[ranks.Crash(rank=1, send=2)])
    axes = error.picture().axes[0]
    ((when, rank),) = crosses(axes, "X")
    assert rank == 1
    ends = {rank: end for rank, _, end in boxes(axes, "region")}
    assert ends[1] == when < ends[0], "its region ends where it crashed, that of the other never"
    assert [text.get_text() for text in axes.texts][-1] == "crashed"


def test_a_picture_says_who_has_returned_and_frames_a_region_that_is_open_until_the_end() -> None:
    def program(comm: Any) -> None:
        if comm.rank:
            with ranks.region(comm, "going"):
                ranks.spend(comm, 500)
                comm.recv(source=0)

    figure = hang_of(program, 2, trace=True).picture()
    axes = figure.axes[0]
    assert [(text.get_text(), text.get_position()[1]) for text in axes.texts if text.get_text() != "going"] == [
        (f"recv at test_hang_pictures.py:{program.__code__.co_firstlineno + 4}", 1),
        ("returned", 0),
    ]
    assert labels(figure) == ["compute", "region", "core of the hang"]
    hatch, frame = boxes(axes, "core of the hang"), boxes(axes, "region")
    assert boxes(axes, "compute") == [(1, 0, 500)]
    assert frame == [(1, 0, 625)], "the region is open until the end of the picture"
    assert hatch == [(1, 500, 625)]


def test_a_picture_needs_a_trace() -> None:
    with pytest.raises(ValueError, match="remedy: run it with trace=True"):
        hang_of(both_send_first, 2, buffering="none").picture()


def test_html_says_what_the_text_says_and_has_the_picture() -> None:
    error = hang_of(another_tag, 2, trace=True)
    made = outline(error._repr_html_())
    assert made.elements["svg"] == 1
    assert made.elements["tr"] == 1 + 2
    for each in error.blocked:
        for part in (each.call.text, each.call.site, each.call.source, each.reason, *each.near):
            assert part
            assert part in made.words
    assert str(error).splitlines()[0] in made.words
    assert error.replay in made.words


def test_html_of_a_run_without_trace_says_how_to_get_a_picture() -> None:
    error = hang_of(both_send_first, 2, buffering="none")
    made = outline(error._repr_html_())
    assert made.elements["svg"] == 0
    assert "run it with trace=True" in made.words
    assert 'passes with buffering="infinite"' in made.words


def test_html_escapes_what_programs_write() -> None:
    def program(comm: Any) -> None:
        comm.recv(source=1 - comm.rank)  # <b>&

    made = outline(hang_of(program, 2)._repr_html_())
    assert made.elements["b"] == 0
    assert "# <b>&" in made.words


def test_html_of_many_ranks_is_cut_and_of_faults_names_them() -> None:
    def program(comm: Any) -> None:
        comm.sendrecv(1, (comm.rank + 1) % comm.size)

    error = hang_of(program, 80, faults=[ranks.Drop(source=7, tolerated=True), ranks.Crash(rank=3, send=1)])
    made = outline(error._repr_html_())
    assert "rank 3 crashed in its send number 1" in made.words
    big = outline(hang_of(lambda comm: comm.recv(source=comm.rank - 1 if comm.rank else 79), 80)._repr_html_())
    assert big.elements["tr"] == 33
    assert "and 48 more ranks" in big.words


def test_a_page_is_whole() -> None:
    made = outline(page("a < b", [hang_of(another_tag, 2, trace=True)._repr_html_()]))
    assert made.elements["html"] == made.elements["body"] == made.elements["title"] == 1
    assert made.words.strip().startswith("a < b")


def test_the_picture_is_the_same_in_every_run() -> None:
    one, two = (hang_of(another_tag, 2, trace=True)._repr_html_() for _ in range(2))
    assert one == two


def test_perfetto_gets_a_flow_arrow_for_each_message_received_and_a_slice_for_each_send() -> None:
    run = ranks.run(lambda comm: comm.sendrecv(np.zeros(3), (comm.rank + 1) % 3), 3, trace=True)
    events = chrome_events(run.trace)
    starts, ends = ({e["id"]: e for e in events if e["ph"] == kind} for kind in "sf")
    assert starts.keys() == ends.keys()
    assert len(starts) == 3
    slices = [e for e in events if e["ph"] == "X"]
    for number, start in starts.items():
        assert any(s["tid"] == start["tid"] and s["ts"] <= start["ts"] <= s["ts"] + s["dur"] for s in slices)
        end = ends[number]
        assert end["bp"] == "e"
        assert any(s["tid"] == end["tid"] and s["ts"] <= end["ts"] <= s["ts"] + s["dur"] for s in slices)


def test_every_error_of_a_traced_run_has_the_events_up_to_there() -> None:
    def program(comm: Any) -> None:
        if comm.rank == 0:
            comm.Send(np.zeros(3), 1)
        elif comm.rank == 1:
            ranks.spend(comm, 5)
            comm.Recv(np.zeros(2), 0)
        else:
            comm.recv(source=0)

    with pytest.raises(ranks.TruncationError) as caught:
        ranks.run(program, 3, trace=True)
    error = caught.value
    assert [(fate.rank, fate.role, fate.words) for fate in error.trace.fates(error)] == [
        (1, "failed", "TruncationError"), (0, "returned", "returned"),
    ]  # fmt: skip
    figure = error.trace.picture(error=error)
    assert [text.get_text() for text in figure.axes[0].texts] == ["TruncationError", "returned"]
    assert [cross[1] for cross in crosses(figure.axes[0], "X")] == [1]
    with pytest.raises(ranks.TruncationError) as caught:
        ranks.run(program, 3)
    assert caught.value.trace is None


def test_a_picture_says_which_collective_each_rank_called() -> None:
    def program(comm: Any) -> None:
        collectives.barrier(comm) if comm.rank == 2 else collectives.broadcast(comm, np.zeros(1))

    with pytest.raises(ranks.CollectiveMismatchError) as caught:
        ranks.run(program, 3, trace=True)
    error = caught.value
    said = {fate.rank: fate.words for fate in error.trace.fates(error)}
    assert said == {rank: text for text, of_ranks in error.calls.items() for rank in of_ranks}
    assert "barrier" in said[2]
    assert "broadcast" in said[0]
