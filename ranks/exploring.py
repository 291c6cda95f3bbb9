"""`ranks.explore`: a program under every schedule that can differ."""

from __future__ import annotations

import contextlib
import io
import operator
import pickle
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ranks.comm.communicator import Comm
from ranks.engine.generators import own_generators, variables_of
from ranks.exploration import Exploration, Outcome
from ranks.hangs.errors import DeadlockError
from ranks.messages.message import Message
from ranks.messages.operation import Operation
from ranks.network.model import Network
from ranks.network.presets import network_named
from ranks.running import InvalidProgramError, check_arguments, results_of, same
from ranks.schedules.options import Asleep, Chooser, Option
from ranks.schedules.search import MODES, Search, differs, last_good, read_replay, repeat, replay_text
from ranks.schedules.world import ChoosingWorld, without_choices
from ranks.words.callsite import call_of, site_of
from ranks.words.errors import NondeterminismError
from ranks.words.progress import Bar

__tracebackhide__ = True  # pytest shows the frames of the program, not of this module

# The search for a critical choice looks at so many failures, with so many runs for each.
_CRITICAL, _CRITICAL_RUNS = 8, 2000
# For each run of max_runs, so many others may end early because they lead to a known state; so many may in any case.
_PRUNED, _PRUNED_AT_LEAST = 10, 1000


def explore(
    program: Callable[..., Any],
    size: int,
    *args: Any,
    network: Network | str | None = None,
    modes: Sequence[str] | str = MODES,
    max_runs: int = 10_000,
    polls: int = 1,
    comm_type: type[Comm] = Comm,
) -> Exploration:
    """Run `program(comm, *args)` on `size` simulated ranks under every schedule that can differ; return the verdict.

        def program(comm):
            return [comm.recv(), comm.recv()] if comm.rank == 0 else comm.send(comm.rank, 0)

        found = ranks.explore(program, 3)
        found.verdict  # 'holds'
        sorted(outcome.results[0] for outcome in found.outcomes)  # [[1, 2], [2, 1]]

    modes:    The ways to buffer standard sends, each of which is explored separately: "none", "eager" (up to the
              network's eager_limit), "infinite", and "each", where each send is buffered or not by itself, as MPI
              allows.
    max_runs: The most runs in each mode; then the search is cut off, and the verdict may be "undecided". Runs that
              are ended early do not count, but they too end the search when there are ten times as many of them.
    polls:    How often a Test or Iprobe may fail on purpose each time that a loop comes to it and nothing has changed.
              `Exploration.polls` tells whether that bound was reached.
    comm_type: The class of the communicator that a rank gets, and of communicators that are made from it.
    Bounds:   A Cancel is tried only when nothing else can move by itself. So the search may miss the case in which a
              Cancel comes before a message with a named source, and takes back its receive in time.
    Cost:     One run for each schedule that differs from all others in more than the order of independent steps, and
              a second one for each failure, and for the first, the 16th, the 256th outcome and so on.
    Raises:   ValueError for an unknown mode; NondeterminismError if the program does not do the same again under the
              same schedule.
    Source:   Sleep sets: Godefroid, "Partial-Order Methods", LNCS 1032, 1996. Choices: `schedules/world.py`.
    """
    chosen = network_named(network)
    modes = [modes] if isinstance(modes, str) else list(modes)
    size = check_arguments(program, size, "none")
    max_runs, polls = _number("max_runs", max_runs), _number("polls", polls)
    if not modes or any(mode not in MODES for mode in modes):
        raise ValueError(f"ranks.explore: got modes={modes!r}, expected some of {', '.join(MODES)}; remedy: name one")
    if max_runs < 1 or polls < 0:
        raise ValueError(
            f"ranks.explore: got max_runs={max_runs}, polls={polls}, expected at least 1 and 0; remedy: allow more"
        )
    with own_generators(variables_of(program)):
        explorer = _Explorer(program, size, args, chosen, polls, comm_type)
        runs: dict[str, int] = {}
        for mode in dict.fromkeys(modes):
            if not explorer.is_settled:
                runs[mode] = explorer.search(mode, max_runs)
        outcomes = sorted(explorer.found.values(), key=lambda outcome: outcome.failure is None)
        failed = [outcome for outcome in outcomes if outcome.failure is not None]
        with Bar("looking for critical choices", explorer.fraction) as bar:
            explorer.after = bar.update
            for number, outcome in enumerate(failed[:_CRITICAL]):
                explorer.done = number / len(failed[:_CRITICAL])
                outcome.critical = explorer.critical_choice(outcome.replay)
        return Exploration(
            "fails" if failed else "undecided" if explorer.cut else "holds", runs, outcomes, explorer.cut,
            tuple(mode for mode in dict.fromkeys(modes) if mode not in runs), polls if explorer.is_limited else None,
        )  # fmt: skip


def _number(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"ranks.explore: got {name}={value!r}, expected an integer; remedy: pass one") from None


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one run ended, and the choices made in it. is_free: whether there was nothing to choose or to ask."""

    results: list[Any] | None
    failure: Exception | None
    choices: list[int]
    is_free: bool


class _Explorer:
    """The program, and what was found out about it.

    found: These are the outcomes, by what tells them apart.
    repeat_at: With so many outcomes found, it is time to see again whether the program comes to the latest one again.
    cut: It names the modes that were cut off, and says how many runs were ended early in them.
    is_limited: It tells whether the bound on polls was reached.
    is_intricate: It tells whether a rank has failed, polled or cancelled, so that all orders matter.
    is_settled: It tells whether no other mode can have another outcome.
    """

    def __init__(
        self, program: Callable[..., Any], size: int, args: tuple[Any, ...], network: Network, polls: int,
        comm_type: type[Comm],
    ) -> None:  # fmt: skip
        self.comm_type = comm_type
        self.program, self.size, self.args, self.polls = program, size, args, polls
        self.network = without_choices(network)
        self.found: dict[Any, Outcome] = {}
        self.cut: dict[str, int] = {}
        self.is_limited = self.is_intricate = self.is_settled = False
        self.repeat_at = 1
        self.done = 0.0
        self.after: Callable[[], None] = lambda: None

    def fraction(self) -> float:
        """Return how many of the failures have been looked at, of all."""
        return self.done

    def play(self, mode: str, choose: Chooser) -> _Ending:
        """Run the program once; what it prints is dropped."""
        silence = io.StringIO()
        results, failure = None, None
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            world = ChoosingWorld(self.size, self.network, mode, choose, polls=self.polls)
            choices = world.scheduler
            try:
                results = results_of(world, self.program, self.args, None, self.comm_type)
            except (Asleep, NondeterminismError, InvalidProgramError):
                raise
            except Exception as problem:
                failure = problem
            finally:
                self.is_limited = self.is_limited or choices.is_limited
                self.is_intricate = self.is_intricate or choices.is_intricate or failure is not None
        return _Ending(results, failure, choices.made, choices.is_free)

    def search(self, mode: str, max_runs: int) -> int:
        """Explore one mode; return the number of runs."""
        max_pruned = _PRUNED * max_runs + _PRUNED_AT_LEAST
        search = Search(
            partial(self.play, mode), narrows=not self.is_intricate, max_runs=max_runs, max_pruned=max_pruned
        )
        ending, counts = None, Counter[Any]()
        with Bar(f"exploring {mode}", search.fraction) as bar:
            search.after = bar.update
            for ending in search:
                counts[self._enter(mode, ending)] += 1
                search.narrows = search.narrows and not self.is_intricate
                if self.is_intricate and search.has_narrowed:
                    break
        if self.is_intricate and search.has_narrowed:
            return self.search(mode, max_runs)
        for key, n in counts.items():
            self.found[key].runs[mode] = n
        if not search.is_exhausted:
            self.cut[mode] = search.n_pruned
        # If there is nothing to choose, more buffering only lets ranks continue earlier.
        self.is_settled = mode == "none" and ending is not None and ending.is_free and ending.failure is None
        return search.n_runs

    def _enter(self, mode: str, ending: _Ending) -> Any:
        """Note an outcome, and return its key; see for some of the new ones whether the program comes to them again."""
        key = _key(ending)
        outcome = self.found.get(key)
        if outcome is None:
            replay = replay_text(mode, self.polls, ending.choices)
            outcome = self.found[key] = Outcome(ending.results, ending.failure, replay)
            is_due = len(self.found) >= self.repeat_at
            if is_due:
                self.repeat_at *= 16
            if is_due or ending.failure is not None:
                self._repeat(mode, ending, outcome)
        return key

    def _repeat(self, mode: str, ending: _Ending, outcome: Outcome) -> None:
        """Raise unless the program comes to the same outcome again by the same choices."""
        again = self.play(mode, repeat(ending.choices))
        both_good = ending.failure is again.failure is None
        if _key(again) != _key(ending) and not (both_good and same(ending.results, again.results)):
            got = Outcome(again.results, again.failure, outcome.replay).what()
            raise differs(f"{got} with replay={outcome.replay!r}", f"{outcome.what()}, as before")

    def critical_choice(self, replay: str) -> str | None:
        """Return the last choice of a bad run before which a good end could be reached, in words."""
        mode, _, choices = read_replay(replay)

        def reaches_good(first: Sequence[int]) -> bool | None:
            search = Search(
                partial(self.play, mode), first, max_runs=_CRITICAL_RUNS, max_pruned=_PRUNED * _CRITICAL_RUNS,
                after=self.after,
            )  # fmt: skip
            if any(ending.failure is None for ending in search):
                return True
            return False if search.is_exhausted else None

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
    rank, kind, subject, answer = *option.key[:2], option.subject, option.answer
    if kind in ("release", "hold") and subject.site is not None:
        return f"rank {rank}'s Isend at {site_of(subject.site)}", answer
    if isinstance(subject, Operation) and subject.site is not None:
        return f"rank {rank}'s Irecv at {site_of(subject.site)}", f"gets {_message_text(answer)}"
    call = call_of(subject.state.greenlet.gr_frame)  # the rank is parked in it
    who = f"rank {rank}'s {call.text} at {call.site}"
    if kind in ("release", "hold"):
        return who, answer
    if isinstance(subject, Operation):
        return who, f"{'sees' if subject.what == 'probe' else 'gets'} {_message_text(answer)}"
    if option.key[2] == "no":
        return who, "sees nothing yet"
    return who, f"sees {_message_text(answer)}" if isinstance(answer, Message) else f"says {answer!r}"


def _message_text(message: Message) -> str:
    return f"the message of rank {message.origin.rank} with tag {message.tag}"


def _key(ending: _Ending) -> Any:
    """Return what tells an ending from others; where an object is in memory does not."""
    failure = ending.failure
    if isinstance(failure, DeadlockError):
        return type(failure), *((each.rank, each.call, each.reason) for each in failure.blocked)
    if failure is not None:
        return type(failure), _ADDRESS.sub("", str(failure))
    try:
        return pickle.dumps(ending.results)
    except Exception:
        return _ADDRESS.sub("", repr(ending.results))


_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")
