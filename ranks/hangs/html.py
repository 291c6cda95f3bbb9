"""The report of a hang as HTML: for notebooks, and as a page of its own."""

from __future__ import annotations

import io
from html import escape
from importlib.util import find_spec
from typing import Any

from ranks.draw.page import viewer
from ranks.words.extras import how_to_install, need

# Colours that read on the page's ground, be that light or dark.
_STYLE = """
<style>
.ranks-report { font-family: system-ui, sans-serif }
.ranks-report .head { font-size: 1.15em; font-weight: 600; color: #d55e00 }
.ranks-report table { border-collapse: collapse; margin: 0.8em 0 }
.ranks-report td, .ranks-report th { text-align: left; padding: 0.25em 0.8em; border-bottom: 1px solid #8886 }
.ranks-report tr.core td { background: #d55e0022 }
.ranks-report code, .ranks-report pre { font-family: ui-monospace, monospace; font-size: 0.95em }
.ranks-report svg { max-width: 100%; height: auto }
</style>
"""
# Ranks listed in the table.
_ROWS = 32


def report(error: Any, *, live: bool = False) -> str:
    """Return the report of a hang as a piece of HTML: what it is, who waits for what, the picture, and the rest.

    live: The picture is the one that `ranks.draw.page.page` brings to life, not one that stands still.
    """
    lines = str(error).splitlines()
    rows = [_row(error, index) for index in range(min(len(error.blocked), _ROWS))]
    more = f"<p>and {len(error.blocked) - _ROWS} more ranks</p>" if len(error.blocked) > _ROWS else ""
    # The table does not show crashes, lost messages, advice and replay; this does.
    rest = [line.strip() for line in lines[1:] if line.lstrip().startswith(("passes", "lost:", "replay:", "and "))]
    failed = [f"rank {rank} {how}" for rank, how in getattr(error, "failed", {}).items()]
    table = f"<table><tr><th>rank</th><th>is in</th><th>at</th><th>and</th></tr>{''.join(rows)}</table>"
    notes = "".join(f"<p>{escape(line)}</p>" for line in failed + rest)
    drawn = viewer(error.trace, error) if live and error.trace is not None else _picture(error)
    return (
        f'{_STYLE}<div class="ranks-report"><p class="head">{escape(lines[0])}</p>'
        f"{table if rows else ''}{more}{drawn}{notes}</div>"
    )


def _row(error: Any, index: int) -> str:
    each = sorted(error.blocked, key=lambda blocked: (blocked.rank not in error.core, blocked.rank))[index]
    source = f"<br><code>{escape(each.call.source)}</code>" if each.call.source else ""
    near = "".join(f"<br>nearly: {escape(text)}" for text in each.near)
    kind = ' class="core"' if each.rank in error.core else ""
    return (
        f"<tr{kind}><td>{each.rank}</td><td><code>{escape(each.call.text)}</code></td>"
        f"<td>{escape(each.call.site)}{source}</td><td>{escape(each.reason)}{near}</td></tr>"
    )


def _picture(error: Any) -> str:
    """Return the picture as SVG, or how to get one."""
    if error.trace is None:
        return "<p>run it with trace=True to see the messages before the hang</p>"
    if find_spec("matplotlib") is None:
        return f"<p>to see the messages before the hang, {escape(how_to_install('show'))}</p>"
    return svg(error)


def svg(error: Any) -> str:
    """Return the picture of a traced hang as an SVG element, the same in every run."""
    need("the picture of a hang", "matplotlib")
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "ranks"}):
        error.picture().savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
