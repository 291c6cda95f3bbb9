"""`ranks.explore`: a program under every schedule that can differ."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ranks.agreement import ranks_text
from ranks.calls import call_of, site_of
from ranks.choosing import Asleep, Chooser, ChoosingWorld, Option
from ranks.errors import DeadlockError, NondeterminismError
from ranks.messages import Message, Operation
from ranks.network import Network, network_named
from ranks.progress import Bar
from ranks.running import BUFFERINGS, carry_out, check_arguments, read_replay
from ranks.schedules import Search, last_good, repeat

# A critical choice is looked for in so many failures, with so many runs each.
_CRITICAL, _CRITICAL_RUNS = 8, 2000


@dataclass(slots=True)
class Outcome:
    """Something that a program may come to.

    results: what the ranks returned, None after a failure. failure: the error that ended the run, or None. replay:
    the argument of `ranks.run` that shows it again. runs: how many of the explored runs came to it, by buffering mode.
    critical: the last choice before which a good end could still be reached, in words; None if there is none.
    """

    results: list[Any] | None
    failure: Exception | None
    replay: str
    runs: dict[str, int] = field(default_factory=dict)
    critical: str | None = None

    def __str__(self) -> str:
        return f"{self._what()}  in {_times(sum(self.runs.values()))} ({', '.join(self.runs)})  replay={self.replay!r}"

    def _what(self) -> str:
        if self.failure is None:
            return f"results {self.results!r:.100}"
        first = str(self.failure).partition("\n")[0]
        if isinstance(self.failure, DeadlockError):
            stuck = [each.rank for each in self.failure.blocked]
            first = f"{type(self.failure).__name__}: {ranks_text(stuck)} hang{'s' * (len(stuck) == 1)}"
        return first if first.startswith(type(self.failure).__name__) else f"{type(self.failure).__name__}: {first}"


@dataclass(frozen=True, slots=True)
class Exploration:
    """What `explore` found out.

    verdict: "holds" (every schedule ends well), "fails" (one does not) or "undecided" (no failure until the search
    was cut off). runs: how many were needed, by buffering mode. outcomes: the different ones, failures first.
    """

    verdict: str
    runs: dict[str, int]
    outcomes: list[Outcome]

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes in which the program did not end well."""
        return [outcome for outcome in self.outcomes if outcome.failure is not None]

    def __str__(self) -> str:
        counts = ", ".join(f"{mode}: {n}" for mode, n in self.runs.items())
        lines = [f"{self.verdict} after {_times(sum(self.runs.values()))} ({counts})"]
        for outcome in self.outcomes:
            lines.append(f"  {outcome}")
            if outcome.critical:
                lines.append(f"    {outcome.critical}")
        return "\n".join(lines)


def explore(
    program: Callable[..., Any],
    size: int,
    *args: Any,
    network: Network | str | None = None,
    modes: Sequence[str] = BUFFERINGS,
    max_runs: int = 10_000,
    polls: int = 1,
) -> Exploration:
    """Run `program(comm, *args)` on `size` simulated ranks under every schedule that can differ; return the verdict.

        def program(comm):
            return [comm.recv(), comm.recv()] if comm.rank == 0 else comm.send(comm.rank, 0)

        found = ranks.explore(program, 3)
        found.verdict  # 'holds'
        sorted(outcome.results[0] for outcome in found.outcomes)  # [[1, 2], [2, 1]]

    modes:    the ways to buffer standard sends that are explored, each on its own.
    max_runs: so many runs are made in each mode before the search is cut off, and the verdict may be "undecided".
    polls:    so many Tests or Iprobes in a row may say no although they could say yes; "holds" is meant up to that.
    Cost:     one run for each schedule that differs from all others in more than the order of independent steps.
    Raises:   ValueError for a mode that is none; NondeterminismError if the program itself differs between runs.
    Source:   sleep sets: Godefroid, "Partial-Order Methods", LNCS 1032, 1996. Choices: `choosing.py`.
    """
    chosen = network_named(network)
    for mode in modes:
        check_arguments(program, size, mode)
    if max_runs < 1 or polls < 0:
        raise ValueError(
            f"ranks.explore: got max_runs={max_runs}, polls={polls}, expected at least 1 and 0; remedy: allow more"
        )
    explorer = _Explorer(program, size, args, chosen, polls)
    runs = {mode: explorer.search(mode, max_runs) for mode in modes}
    outcomes = sorted(explorer.found.values(), key=lambda outcome: outcome.failure is None)
    for outcome in outcomes[:_CRITICAL]:
        if outcome.failure is not None:
            outcome.critical = explorer.critical_choice(outcome.replay)
    failed = bool(outcomes) and outcomes[0].failure is not None
    return Exploration("fails" if failed else "holds" if explorer.complete else "undecided", runs, outcomes)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one run ended."""

    results: list[Any] | None
    failure: Exception | None
    schedule: str


class _Explorer:
    """The program, and what was found out about it: outcomes by what tells them apart, and whether these are all."""

    def __init__(
        self, program: Callable[..., Any], size: int, args: tuple[Any, ...], network: Network, polls: int
    ) -> None:
        self.program, self.size, self.args, self.network, self.polls = program, size, args, network, polls
        self.found: dict[Any, Outcome] = {}
        self.complete = True

    def play(self, mode: str, choose: Chooser) -> _Ending:
        """Run the program once; what it prints is dropped."""
        world = ChoosingWorld(self.size, self.network, mode, choose, polls=self.polls)
        silence = io.StringIO()
        try:
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                results = carry_out(world, self.program, self.args, None).results
        except (Asleep, NondeterminismError):
            raise
        except Exception as problem:
            return _Ending(None, problem, world.made_text())
        return _Ending(results, None, world.made_text())

    def search(self, mode: str, max_runs: int) -> int:
        """Explore one mode; return the number of runs."""
        search = Search(partial(self.play, mode))
        with Bar(f"exploring {mode}", search.fraction) as bar:
            for ending in search:
                self._enter(mode, ending)
                bar.update()
                if search.n_runs + search.n_pruned >= max_runs:
                    break
        self.complete = self.complete and search.is_exhausted
        return search.n_runs

    def _enter(self, mode: str, ending: _Ending) -> None:
        key = _failure_key(ending.failure) if ending.failure is not None else _results_key(ending.results)
        outcome = self.found.get(key)
        if outcome is None:
            outcome = self.found[key] = Outcome(ending.results, ending.failure, ending.schedule)
        outcome.runs[mode] = outcome.runs.get(mode, 0) + 1

    def critical_choice(self, replay: str) -> str | None:
        """Return the last choice of a bad run before which a good end could be reached, in words."""
        mode, choices = read_replay(replay)

        def reaches_good(first: Sequence[int]) -> bool | None:
            search = Search(partial(self.play, mode), first)
            for ending in search:
                if ending.failure is None:
                    return True
                if search.n_runs + search.n_pruned >= _CRITICAL_RUNS:
                    return None
            return False

        depth = last_good(reaches_good, choices)
        if depth is None:
            return None
        texts: list[tuple[str, str]] = []

        def notice(at: int, options: list[Option]) -> None:
            if at == depth:
                texts.extend(option_text(option) for option in options)

        self.play(mode, repeat(choices, notice))
        who, what = texts[choices[depth]]
        good = [
            other if other_who == who else f"{other_who} {other}"
            for index, (other_who, other) in enumerate(texts)
            if index != choices[depth] and reaches_good([*choices[:depth], index])
        ]
        better = f"; it could still end well if it {' or '.join(good[:3])}" if good else ""
        return f"critical is choice {depth + 1} of {len(choices)}: {who} {what}{better}"


def option_text(option: Option) -> tuple[str, str]:
    """Return in words whose call an option serves and how; its run must still stand where it could be chosen."""
    rank, subject, answer = option.key[0], option.subject, option.answer
    if isinstance(subject, Operation) and subject.site is not None:
        return f"rank {rank}'s Irecv at {site_of(subject.site)}", f"gets {_message_text(answer)}"
    call = call_of(subject.state.greenlet.gr_frame)  # the rank is parked in it
    who = f"rank {rank}'s {call.text} at {call.site}"
    if isinstance(subject, Operation):
        return who, f"{'sees' if subject.what == 'probe' else 'gets'} {_message_text(answer)}"
    if option.key[2] == "no":
        return who, "sees nothing yet"
    return who, f"sees {_message_text(answer)}" if isinstance(answer, Message) else f"says {answer!r}"


def _message_text(message: Message) -> str:
    return f"the message of rank {message.origin.rank} with tag {message.tag}"


def _results_key(results: Any) -> Any:
    try:
        return pickle.dumps(results)
    except Exception:
        return repr(results)


def _failure_key(failure: Exception) -> Any:
    if isinstance(failure, DeadlockError):
        return type(failure), *((each.rank, each.call, each.reason) for each in failure.blocked)
    return type(failure), str(failure)


def _times(n: int) -> str:
    return f"{n:,} run{'s' * (n != 1)}"
