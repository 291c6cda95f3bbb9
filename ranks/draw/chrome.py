"""Events in the format that Perfetto opens."""

from __future__ import annotations

from typing import Any

from ranks.draw.events import Events

_SLICES = ("compute", "send", "receive", "wait")


def chrome_events(trace: Events) -> list[dict[str, Any]]:
    """Return the trace in Chrome's trace event format, times in microseconds.

    Source: Duca and Sinclair, "Trace Event Format": X slices, s/f flow arrows, M names.
    """
    events: list[dict[str, Any]] = [
        {"ph": "M", "pid": 0, "tid": rank, "name": "thread_name", "args": {"name": f"rank {rank}"}}
        for rank in range(trace.size)
    ]
    for name, rank, start_ps, end_ps in trace.visits():
        events.append(_slice(name, rank, start_ps, end_ps, {}))
    for event in trace.events:
        if event.kind in _SLICES:
            facts: dict[str, Any] = {"at": event.site}
            name = event.kind
            if event.message >= 0:
                name += f" {'from' if event.kind == 'receive' else 'to'} {event.peer}"
                facts |= {"peer": event.peer, "tag": event.tag, "bytes": event.n_bytes}
            events.append(_slice(name, event.rank, event.start_ps, event.end_ps, facts))
    for send, receive in trace.messages():
        flow = {"cat": "message", "name": f"{send.n_bytes} B", "id": send.message, "pid": 0}
        events.append({"ph": "s", "tid": send.rank, "ts": send.start_ps / 1e6, **flow})
        events.append({"ph": "f", "bp": "e", "tid": receive.rank, "ts": receive.end_ps / 1e6, **flow})
    return events


def _slice(name: str, rank: int, start_ps: int, end_ps: int, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "pid": 0, "tid": rank, "name": name, "args": facts,
        "ts": start_ps / 1e6, "dur": (end_ps - start_ps) / 1e6,
    }  # fmt: skip
