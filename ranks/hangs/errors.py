"""The errors of runs in which nothing can move any more; each carries the facts of its report."""

from __future__ import annotations

from typing import Any

from ranks.words.errors import RanksError


class DeadlockError(RanksError):
    """No rank can move.

    Attributes: core (world ranks that wait for each other, or for one that has returned), blocked (one
    `diagnosis.Blocked` per rank that waits), time_ps, buffering, seed, passes_with (a buffering mode in which
    the program finishes, or None), lost (lines on messages that faults have lost), replay (the call that shows it
    again), trace (the events up to there, if the run was traced). A notebook shows it with a picture.
    """

    def __init__(self, text: str, **facts: Any) -> None:
        self.rank, self.call, self.site = None, "", ""
        self.core: list[int] = facts["core"]
        self.blocked: list[Any] = facts["blocked"]
        self.time_ps: int = facts["time_ps"]
        self.buffering: str = facts["buffering"]
        self.seed: int = facts["seed"]
        self.passes_with: str | None = facts["passes_with"]
        self.lost: list[str] = facts["lost"]
        self.trace: Any = facts["trace"]
        self.replay: str = facts["replay"]
        Exception.__init__(self, text)

    def _repr_html_(self) -> str:
        from ranks.hangs.html import report

        return report(self)

    def to_html(self, path: Any, *, title: str = "Why does it hang?") -> None:
        """Write the report as a page in one file. If the run was traced, the page has a picture of it to zoom into."""
        from pathlib import Path

        from ranks.draw.page import page, piece
        from ranks.hangs.html import report

        Path(path).write_text(page(title, [piece("h1", title), report(self, live=True)]), encoding="utf-8")

    def picture(self, path: Any = None, *, title: str = "") -> Any:
        """Return the space-time picture of a traced run up to its end, a matplotlib Figure; with a path, save it."""
        if self.trace is None:
            raise ValueError("picture: got a run without trace, expected trace=True; remedy: run it with trace=True")
        return self.trace.picture(path, title=title, error=self)


class RankFailedError(DeadlockError):
    """A rank crashed (a fault of the run), so that not all ranks could finish.

    Attributes: those of DeadlockError (core and blocked are empty if all others have returned), and failed ({rank:
    how it crashed}).
    """

    def __init__(self, text: str, **facts: Any) -> None:
        super().__init__(text, **facts)
        self.failed: dict[int, str] = facts["failed"]


class LivelockError(DeadlockError):
    """Ranks poll with Test or Iprobe for something that can no longer come."""
