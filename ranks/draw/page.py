"""Pages of their own: a run that one can zoom into, hover over and play, in one file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from ranks.draw.events import Events

KINDS = ("waiting", "compute", "send", "receive")  # in the order of drawing.js
_FILES = ("page.html", "drawing.js", "page.js")


def page(title: str, pieces: list[str]) -> str:
    """Return a whole HTML page made of pieces; it brings the pictures of `viewer` to life."""
    template, *scripts = ((files("ranks.draw") / name).read_text(encoding="utf-8") for name in _FILES)
    parts = {"title": escape(title), "body": "".join(pieces), "script": "\n".join(scripts)}
    return re.sub("{{(title|body|script)}}", lambda found: parts[found[1]], template)


def piece(element: str, text: str) -> str:
    """Return an HTML element with text in it."""
    return f"<{element}>{escape(text)}</{element}>"


def heading(name: str) -> str:
    """Return a heading to which `contents` leads."""
    return f'<h2 id="{escape(name)}">{escape(name)}</h2>'


def contents(names: list[str]) -> str:
    """Return a list of what is on a page, which leads to each `heading`."""
    lines = (f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in names)
    return f"<nav><ul>{''.join(lines)}</ul></nav>"


def viewer(trace: Events, error: Any = None) -> str:
    """Return the space-time picture of a run as a piece of a page. error: the RanksError that ended it."""
    # A "<" could end the script early, or begin a comment in it.
    text = json.dumps(facts(trace, error), separators=(",", ":")).replace("<", "\\u003c")
    label = f"What {trace.size} ranks did when"
    data = f'<script type="application/json">{text}</script>'
    return f'<figure class="trace" tabindex="0" aria-label="{label}">{data}</figure>'


def facts(trace: Events, error: Any = None) -> dict[str, Any]:
    """Return what the page shows of a run, by columns; a site is a place in `sites`, a region's name one in `names`."""
    end_ps = trace.end_with(error)
    fates = [] if error is None else trace.fates(error)
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
    gone = {fate.rank: fate.time_ps for fate in fates if fate.role == "failed"}
    regions = [
        (rank, start_ps, min(stop_ps, gone.get(rank, stop_ps)), names[name])
        for name, rank, start_ps, stop_ps in trace.visits(end_ps)
    ]
    return {
        "size": trace.size,
        "end": end_ps,
        "bars": _columns("rank start end what peer site", sorted(bars)),
        "messages": _columns("source dest sent received tag bytes sendSite receiveSite", messages + lost),
        "regions": _columns("rank start end name", sorted(regions)),
        "marks": _columns("rank start role text more", fates),
        "sites": list(sites),
        "names": list(names),
    }


class _Places(dict[str, int]):
    """Texts, each with its place in the order in which they were first asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def _columns(names: str, rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(names.split())}
