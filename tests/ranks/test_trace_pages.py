"""Claims about the pages of runs: one whole file that needs no network, the trace in it, and a picture that moves.

What the page does under a reader's hand is tried in a real browser, where one is installed.
"""

from __future__ import annotations

import json
import re
import shutil
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hang_pictures import hang_of, outline

import ranks
from inside import Events, facts
from oracle import NETWORKS, play, programs
from processes import run

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = "</script><script>window.hacked = true</script><!-- <b> & \u2028 \"'"


def ring(comm: ranks.Comm, name: str = "ring") -> None:
    with ranks.region(comm, name):
        ranks.spend(comm, 30_000_000 * comm.rank)
        comm.Sendrecv(np.zeros(1000), (comm.rank + 1) % comm.size, 5, np.zeros(1000), (comm.rank - 1) % comm.size, 5)


def written(path: Path, program: Any, size: int, *args: Any, **options: Any) -> str:
    ranks.run(program, size, *args, trace=True).trace.to_html(path / "run.html", **options)
    return (path / "run.html").read_text(encoding="utf-8")


def embedded(page: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    data: dict[str, Any] = json.loads(text)
    return data


def rows(columns: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns.values(), strict=True))


# -- what is in the file -----------------------------------------------------------------------------------------


def test_a_page_is_one_whole_file_that_asks_for_no_other(tmp_path: Path) -> None:
    page = written(tmp_path, ring, 3, title="A ring of 3")
    made = outline(page)
    assert made.elements["html"] == made.elements["body"] == made.elements["figure"] == 1
    assert made.elements["script"] == 2
    assert "A ring of 3" in made.words
    assert not re.search(r"https?:|//[a-z]|src=|href=|@import|url\(|fetch\(|XMLHttp|import\(", page)
    assert not any(made.elements[each] for each in ("link", "img", "iframe", "object"))
    assert "{{" not in page


def test_a_page_has_the_trace_in_it() -> None:
    def program(comm: ranks.Comm) -> None:
        with ranks.region(comm, "talk"):
            if comm.rank == 0:
                comm.Ssend(np.zeros(50, np.uint8), 1, tag=3)
            else:
                ranks.spend(comm, 700)
                comm.Recv(np.zeros(50, np.uint8), 0)

    network = ranks.Network(name="round", inter=ranks.Link(1000, 10_000), overhead_ps=100)
    data = facts(ranks.run(program, 2, network=network, trace=True).trace)
    first = program.__code__.co_firstlineno
    send, work, receive = (f"test_trace_pages.py:{first + lines}" for lines in (3, 5, 6))
    assert (data["size"], data["end"], data["names"]) == (2, 2300, ["talk"])
    assert [(*row[:3], *row[4:-1], data["sites"][row[-1]]) for row in rows(data["bars"])] == [
        (0, 0, 100, 1, send), (0, 100, 1200, 1, send),
        (1, 0, 700, -1, work), (1, 700, 2200, 0, receive), (1, 2200, 2300, 0, receive),
    ]  # fmt: skip
    assert [row[:6] for row in rows(data["messages"])] == [(0, 1, 100, 2300, 3, 50)]
    assert [data["sites"][data["messages"][side][0]] for side in ("sendSite", "receiveSite")] == [send, receive]
    assert rows(data["regions"]) == [(0, 0, 1200, 0), (1, 0, 2300, 0)]
    assert rows(data["marks"]) == []


@settings(max_examples=25)
@given(programs(), st.sampled_from(NETWORKS))
def test_any_run_s_page_has_each_message_once_and_no_rank_does_two_things_at_a_time(calls: Any, network: Any) -> None:
    try:
        trace = ranks.run(play, len(calls), calls, network=network, trace=True).trace
    except ranks.RanksError:
        return
    data = json.loads(json.dumps(facts(trace)))
    assert sorted(row[:4] for row in rows(data["messages"])) == sorted(
        (a.rank, b.rank, a.end_ps, b.end_ps) for a, b in trace.messages()
    )
    bars = rows(data["bars"])
    assert all(0 <= start < end <= data["end"] for _, start, end, *_ in bars)
    assert all(a[0] < b[0] or a[2] <= b[1] for a, b in pairwise(bars))


def test_what_programs_and_people_write_stays_text(tmp_path: Path) -> None:
    page = written(tmp_path, ring, 2, HOSTILE, title=HOSTILE)
    made = outline(page)
    assert made.elements["script"] == 2
    assert made.elements["b"] == 0
    assert embedded(page)["names"] == [HOSTILE]
    assert unescape(page.partition("<title>")[2].partition("</title>")[0]) == HOSTILE
    assert written(tmp_path, ring, 2, "{{title}} {{script}}").count("{{script}}") == 1


@pytest.mark.parametrize("p", [1, 2, 7])
def test_a_page_of_nothing_is_whole(p: int, tmp_path: Path) -> None:
    data = embedded(written(tmp_path, lambda comm: None, p))
    assert (data["size"], data["end"], rows(data["bars"])) == (p, 0, [])


def test_a_hang_s_page_says_what_became_of_each_rank(tmp_path: Path) -> None:
    def program(comm: Any) -> None:
        with ranks.region(comm, "going"):
            if comm.rank == 0:
                return
            ranks.spend(comm, 400)
            comm.send(1, 0)
            comm.recv(source=3)

    crash = ranks.Crash(rank=3, send=1)
    error = hang_of(program, 4, trace=True, network=NETWORKS[-1], faults=[crash])
    error.to_html(tmp_path / "hang.html")
    page = (tmp_path / "hang.html").read_text(encoding="utf-8")
    data = embedded(page)
    here = f"recv at test_trace_pages.py:{program.__code__.co_firstlineno + 6}"
    assert sorted(row[:4] for row in rows(data["marks"])) == [
        (0, 0, "returned", "returned"), (1, 400, "core", here), (2, 400, "behind", here),
        (3, 400, "failed", "crashed"),
    ]  # fmt: skip
    assert data["end"] == 500
    assert sorted(rows(data["regions"])) == [(0, 0, 0, 0), (1, 0, 500, 0), (2, 0, 500, 0), (3, 0, 400, 0)]
    assert [row[:4] for row in rows(data["messages"])] == [(1, 0, 400, None), (2, 0, 400, None)]
    made = outline(page)
    assert str(error).splitlines()[0] in made.words
    for each in error.blocked:
        assert each.call.text in made.words
        assert any(each.reason in more for more in data["marks"]["more"])


def test_a_hang_s_page_without_a_trace_says_how_to_get_a_picture(tmp_path: Path) -> None:
    error = hang_of(lambda comm: comm.recv(source=1 - comm.rank), 2)
    error.to_html(tmp_path / "hang.html", title="a < b")
    made = outline((tmp_path / "hang.html").read_text(encoding="utf-8"))
    assert made.elements["figure"] == 0
    assert "run it with trace=True" in made.words
    assert "a < b" in made.words


# -- under a reader's hand ---------------------------------------------------------------------------------------

HAND = """
const v = document.querySelector("figure.trace").viewer, c = v.canvas, said = {};
const frame = () => { v.draw(); return v.context.getImageData(0, 0, c.width, c.height).data; };
const at = (kind, x, y, more) => {
  const box = c.getBoundingClientRect(), place = { clientX: box.left + x, clientY: box.top + y, bubbles: true };
  c.dispatchEvent(new (kind === "wheel" ? WheelEvent : PointerEvent)(kind, { ...place, cancelable: true, ...more }));
};
const key = name => v.figure.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const seen = () => [v.from, v.to];
c.setPointerCapture = () => {};
"""


def in_browser(page: Path, script: str, page_ms: int) -> dict[str, Any]:
    """Return `said` after a script has run in the page, whose clock stops after page_ms."""
    if BROWSER is None:
        pytest.skip("no browser is installed here; remedy: apt-get install chromium")
    tried = page.with_suffix(".tried.html")
    # The title holds the answer; what fails says why.
    wrapped = f"(async () => {{ {HAND} {script}; return said; }})().catch(e => ({{ failed: `${{e.stack}}` }}))"
    ending = f"<script>{wrapped}.then(said => {{ document.title = JSON.stringify(said); }});</script></body>"
    tried.write_text(page.read_text(encoding="utf-8").replace("</body>", ending), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    options += [
        "--window-size=1200,800",
        f"--virtual-time-budget={page_ms}",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    done = run([BROWSER, *options, tried.as_uri()])
    title = re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(unescape(title[1]))
    assert "failed" not in said, said["failed"]
    return said


def test_a_reader_zooms_pans_hovers_steps_and_plays(tmp_path: Path) -> None:
    written(tmp_path, ring, 3, HOSTILE)
    script = """
        const green = [0, 158, 115];
        const pixels = frame(), has = i => green.every((part, k) => pixels[i + k] === part);
        said.computing = 0;
        for (let i = 0; i < pixels.length; i += 4) if (has(i)) said.computing++;
        said.legend = [...v.figure.querySelectorAll(".legend i")].length;
        said.focused = document.activeElement === v.figure;
        said.hacked = "hacked" in window;
        said.papers = [];
        for (const theme of ["dark", "light", "no theme", "auto"]) {
          postMessage(theme, "*");
          await new Promise(done => setTimeout(done, 20));
          said.papers.push(getComputedStyle(document.body).backgroundColor);
        }
        said.whole = c.offsetWidth === v.figure.clientWidth;
        const [x0, y0, x1, y1] = v.ends(0), [x, y] = [x0 + 0.4 * (x1 - x0), y0 + 0.4 * (y1 - y0)];
        at("pointermove", x, y);
        said.message = v.tip.textContent;
        at("pointermove", v.x(1e7), v.y(2) + 0.6 * v.row);
        said.bar = v.tip.textContent;
        at("pointerleave", 0, 0);
        said.left = v.tip.hidden;
        const under = v.from + (300 - 56) / v.width * (v.to - v.from);
        at("wheel", 300, 40, { deltaY: -600 });
        said.zoomed = seen();
        said.still = Math.abs(v.x(under) - 300);
        at("pointerdown", 300, 40); at("pointermove", 200, 40); at("pointerup", 200, 40); at("pointermove", 100, 40);
        said.dragged = seen();
        at("wheel", 300, 40, { deltaY: 9000 });
        said.out = seen();
        key("+"); key("0");
        said.fitted = seen();
        key("ArrowLeft"); key("ArrowLeft");
        said.stepped = [v.now, v.note.textContent];
        key("ArrowRight");
        said.back = v.now;
        v.goto(0);
        // Frames by the page's clock: on a busy machine it may end before the browser's own frames come.
        window.requestAnimationFrame = draw => setTimeout(() => draw(performance.now()), 16);
        window.cancelAnimationFrame = clearTimeout;
        key(" ");
        await new Promise(done => setTimeout(done, 1000));
        key(" ");
        said.played = v.now / v.data.end;
        v.figure.blur();
        at("wheel", 300, 40, { deltaY: -600 });
        said.scrolled = seen();
        """
    said = in_browser(tmp_path / "run.html", script, page_ms=1500)
    data = embedded((tmp_path / "run.html").read_text(encoding="utf-8"))
    end, sites, message = data["end"], data["sites"], {name: each[0] for name, each in data["messages"].items()}
    assert said["computing"] > 1000, "a tenth of the picture is computing"
    assert said["legend"] == 6
    assert said["focused"]
    assert not said["hacked"]
    assert said["papers"] == ["rgb(13, 17, 23)", *["rgb(255, 255, 255)"] * 3]
    assert said["whole"], "the picture's border is inside of its figure"
    head, sent, received = said["message"].split("\n")
    assert head == f"rank {message['source']} → rank {message['dest']}: 8,000 B, tag 5"
    assert sent == f"sent 200 ns, {sites[message['sendSite']]}"
    assert re.fullmatch(rf"received [\d.]+ µs, {re.escape(sites[message['receiveSite']])}", received)
    assert said["bar"].splitlines()[:2] == ["rank 2: compute", "0 ps to 60 µs, 60 µs"]
    assert said["left"]
    (low, high), (moved_low, moved_high) = said["zoomed"], said["dragged"]
    assert high - low == pytest.approx(np.exp(-1.2) * end)
    assert said["still"] < 0.01, "the time under the mouse stays where it is"
    assert moved_low > low
    assert moved_high - moved_low == pytest.approx(high - low)
    assert said["out"] == said["fitted"] == said["scrolled"] == [0, end]
    times = sorted({*data["bars"]["start"], *data["bars"]["end"], *data["messages"]["sent"]})
    assert (said["stepped"][0], said["back"]) == (times[-3], times[-2])
    assert re.match(r"At [\d.]+ µs:\nrank \d: ", said["stepped"][1])
    assert 0 < said["played"] < 0.5, "playing what is in view takes longer than a second"


def test_of_a_thousand_ranks_and_a_hundred_thousand_events_only_what_can_be_seen_is_drawn(tmp_path: Path) -> None:
    trace, size = Events(1000), 1000
    for number in range(50_000):
        rank, start_ps = number % size, number // size * 1000 + number % 7 * 50
        peer = (rank + 3) % size
        trace.events.append(ranks.Event(rank, "send", start_ps, start_ps + 100, peer, 1, 8, number))
        trace.events.append(ranks.Event(peer, "receive", start_ps + 120, start_ps + 900, rank, 1, 8, number))
    ranks.Trace.to_html(trace, tmp_path / "run.html")  # type: ignore[arg-type]
    said = in_browser(
        tmp_path / "run.html",
        """
        const fill = v.context.fillRect.bind(v.context);
        let boxes = 0;
        v.context.fillRect = (...box) => { boxes++; fill(...box); };
        const drawn = () => { boxes = 0; v.draw(); return [boxes, v.visible.length, v.every]; };
        said.whole = drawn();
        for (let k = 0; k < 5; k++) v.zoom(0.5, 0.5);
        v.stretch(1 / 32, 200);
        said.part = drawn();
        said.rows = v.last - v.first;
        """,
        page_ms=20,
    )
    boxes, arrows, every = said["whole"]
    assert boxes < 0.6 * 100_000, "ranks that share a row of pixels are drawn once"
    assert arrows <= 3000
    assert arrows * every == pytest.approx(50_000, rel=0.01)
    boxes, arrows, every = said["part"]
    assert said["rows"] < 50
    assert boxes < 1000
    assert (every, 0 < arrows < 1000) == (1, True)
