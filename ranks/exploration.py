"""The result of exploring a program, and the report about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ranks.hangs.errors import DeadlockError
from ranks.messages.ledger import ranks_text

# A report shows so many outcomes, and so many characters of a result or an error.
_SHOWN, _EXAMPLES, _WIDTH = 10, 1, 200


@dataclass(slots=True)
class Outcome:
    """A way in which a program may end.

    results: These are what the ranks returned, as in `Run.results`; None after a failure.
    failure: This is the error that ended the run, such as a DeadlockError; None if the run ended well.
    replay: `ranks.run(program, size, replay=outcome.replay)` shows the outcome again; an example is "none:0,2,1".
    runs: It says by buffering mode how many of the explored runs came to this outcome, as in {"none": 2, "eager": 2}.
    critical: It says in words which choice was the last before which a good end could still be reached; None if there
        was none, or if it was not looked for.
    """

    results: list[Any] | None
    failure: Exception | None
    replay: str
    runs: dict[str, int] = field(default_factory=dict)
    critical: str | None = None

    def __str__(self) -> str:
        return f"{self.what()}  in {_times(sum(self.runs.values()))} ({', '.join(self.runs)})  replay={self.replay!r}"

    def what(self) -> str:
        """Return in a few words how the program ended."""
        if self.failure is None:
            return f"results {_short(repr(self.results))}"
        first = _short(str(self.failure).partition("\n")[0])
        if isinstance(self.failure, DeadlockError):
            stuck = [each.rank for each in self.failure.blocked]
            first = f"{type(self.failure).__name__}: {ranks_text(stuck)} hang{'s' * (len(stuck) == 1)}"
        return first if first.startswith(type(self.failure).__name__) else f"{type(self.failure).__name__}: {first}"


@dataclass(frozen=True, slots=True)
class Exploration:
    """The result of `explore`.

    verdict: It is "holds" if every schedule ends well, "fails" if one does not, and "undecided" if none was found to
        fail before the search was cut off.
    runs: It says by buffering mode how many runs were made; an example is {"none": 6, "eager": 6}.
    outcomes: These are all different outcomes that were found, failures first.
    cut: It names the modes in which the search was cut off, and says how many runs were ended early there because they
        led to what was known already; an example is {"each": 1200}.
    skipped: These modes were not explored: the program has no wildcards, probes or polls, so they give the same as
        "none" does.
    polls: It is None, or the bound on polls that was assumed: no poll failed more often, although one might have.
    """

    verdict: str
    runs: dict[str, int]
    outcomes: list[Outcome]
    cut: dict[str, int] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    polls: int | None = None

    @property
    def complete(self) -> bool:
        """Whether no search was cut off, so that there are no other outcomes, whatever the verdict."""
        return not self.cut

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes in which the program did not end well."""
        return [outcome for outcome in self.outcomes if outcome.failure is not None]

    def __str__(self) -> str:
        counts = ", ".join(f"{mode}: {n}" for mode, n in self.runs.items())
        lines = [f"{self.verdict}, with {self._counted()}, after {_times(sum(self.runs.values()))} ({counts})"]
        lines += [f"  {note}" for note in self._notes()]
        # If nothing failed and nothing is decided, results are only examples.
        n_shown = _EXAMPLES if self.verdict == "undecided" else _SHOWN
        for outcome in self.outcomes[:n_shown]:
            lines.append(f"  {outcome}")
            if outcome.critical:
                lines.append(f"    {outcome.critical}")
        if len(self.outcomes) > n_shown:
            n = len(self.outcomes) - n_shown
            lines.append(f"  and {n:,} more outcome{'s' * (n != 1)}")
        return "\n".join(lines)

    def _counted(self) -> str:
        n_failures = len(self.failures)
        n_results = len(self.outcomes) - n_failures
        failures = f"{n_failures:,} different failures" if n_failures > 1 else "1 failure"
        results = f"{n_results:,} different results" if n_results > 1 else "1 result" if n_results else "no result"
        return f"{failures} and {results}" if n_failures else results

    def _notes(self) -> list[str]:
        notes = []
        if not self.complete:
            places = [f"{mode} after {_times(self.runs[mode])}{_early(n)}" for mode, n in self.cut.items()]
            remedy = "" if self.failures else "; remedy: raise max_runs, name fewer modes, or explore fewer ranks"
            notes.append(f"cut off: {', '.join(places)}; there may be other outcomes{remedy}")
        elif self.verdict == "fails":
            which = "every schedule" if self.polls is None else "every schedule within the bound on polls"
            notes.append(f"{which} was explored: there are no other outcomes")
        if self.polls is not None:
            often = {0: "never", 1: "at most once"}.get(self.polls, f"at most {self.polls} times")
            loop = "a poll in a loop that changes nothing"
            notes.append(f"assumed: {loop} fails on purpose {often} (polls={self.polls})")
        if self.skipped:
            need = "needs no runs of its" if len(self.skipped) == 1 else "need no runs of their"
            notes.append(f"no wildcards, probes or polls: {' and '.join(self.skipped)} {need} own")
        return notes


def _short(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _early(n: int) -> str:
    return f" and {n:,} that were ended early" if n else ""


def _times(n: int) -> str:
    return f"{n:,} run{'s' * (n != 1)}"
