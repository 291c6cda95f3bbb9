"""Pages of their own: a run that one can zoom into, hover over and play, in one file that needs no network."""

from __future__ import annotations

import json
import re
from html import escape
from importlib.resources import files
from typing import Any

from ranks.draw.events import Events

KINDS = ("waiting", "compute", "send", "receive")  # in the order of page.js


def page(title: str, pieces: list[str]) -> str:
    """Return a whole HTML page made of pieces; it brings the pictures of `viewer` to life."""
    template, script = ((files("ranks.draw") / name).read_text(encoding="utf-8") for name in ("page.html", "page.js"))
    parts = {"title": escape(title), "body": "".join(pieces), "script": script}
    return re.sub("{{(title|body|script)}}", lambda found: parts[found[1]], template)


def piece(element: str, text: str) -> str:
    """Return an HTML element with text in it."""
    return f"<{element}>{escape(text)}</{element}>"


def viewer(trace: Events, hang: Any = None) -> str:
    """Return the space-time picture of a run as a piece of a page. hang: the DeadlockError that ended it."""
    # A "<" could end the script early, or begin a comment in it.
    text = json.dumps(facts(trace, hang), separators=(",", ":")).replace("<", "\\u003c")
    label = f"What {trace.size} ranks did when"
    data = f'<script type="application/json">{text}</script>'
    return f'<figure class="trace" tabindex="0" aria-label="{label}">{data}</figure>'


def facts(trace: Events, hang: Any = None) -> dict[str, Any]:
    """Return what the page shows of a run, by columns; a site is a place in `sites`, a region's name one in `names`."""
    last_ps = max(trace.end_ps, 0 if hang is None else hang.time_ps)
    end_ps = last_ps if hang is None else max(1, last_ps * 5 // 4)  # a hang lasts for ever
    sites, names = _Places(), _Places()
    bars = [
        (event.rank, start_ps, stop_ps, KINDS.index(what), event.peer, sites[event.site])
        for what, start_ps, stop_ps, event in trace.bars()
    ]
    messages = [
        (a.rank, a.peer, a.end_ps, b.end_ps, a.tag, a.n_bytes, sites[a.site], sites[b.site])
        for a, b in trace.messages()
    ]
    lost = [(a.rank, a.peer, a.end_ps, None, a.tag, a.n_bytes, sites[a.site], -1) for a in trace.unreceived()]
    marks = _marks(trace, hang) if hang is not None else []
    crashed = {rank: start_ps for rank, start_ps, role, *_ in marks if role == "crashed"}
    regions = [
        (rank, start_ps, min(stop_ps, crashed.get(rank, stop_ps)), names[name])
        for name, rank, start_ps, stop_ps in trace.visits(end_ps)
    ]
    return {
        "size": trace.size,
        "end": end_ps,
        "bars": _columns("rank start end what peer site", sorted(bars)),
        "messages": _columns("source dest sent received tag bytes sendSite receiveSite", messages + lost),
        "regions": _columns("rank start end name", sorted(regions)),
        "marks": _columns("rank start role text more", marks),
        "sites": list(sites),
        "names": list(names),
    }


class _Places(dict[str, int]):
    """Texts, each with its place in the order in which they were first asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def _columns(names: str, rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names.split())}


def _marks(trace: Events, hang: Any) -> list[tuple[int, int, str, str, str]]:
    """Return what has become of each rank: its last time, "core", "behind", "crashed" or "returned", and words."""
    last = dict.fromkeys(range(trace.size), 0)
    for event in trace.events:
        last[event.rank] = max(last[event.rank], event.end_ps)
    marks = []
    for each in hang.blocked:
        role = "core" if each.rank in hang.core else "behind"
        short = f"{each.call.text.partition('(')[0]} at {each.call.site}"
        marks.append((each.rank, last[each.rank], role, short, f"{each.call.text}\n{each.call.site}\n{each.reason}"))
    marks += [(rank, last[rank], "crashed", "crashed", how) for rank, how in getattr(hang, "failed", {}).items()]
    return marks + [(rank, time_ps, "returned", "returned", "") for rank, time_ps in trace.returns().items()]
