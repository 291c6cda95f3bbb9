"""Look for failures that the suite's fixed examples hide: property tests, fresh seeds, more examples each round.

    python tests/hunt.py --minutes 30 -k attention

Each round runs all property tests, and all tests of programs with numbers (fixture `seeds`), with another seed. A test
that has failed is left out of later rounds. At the end, or on Ctrl-C, it says what was drawn and what failed.
`--fixed` takes the suite's own examples instead, once: it shows what `make test` draws.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from functools import wraps
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, Phase, is_hypothesis_test, seed, settings
from hypothesis.errors import UnsatisfiedAssumption

MOST_TIMES = 16  # as many examples as the suite draws: a round ends before one forgets what it was looking for
SHOWN = 12  # kinds of value that are listed one by one

# Nothing of Hypothesis' phase "explain": it takes longer than to look at the example.
settings.register_profile(
    "hunt", deadline=None, database=None, derandomize=False, print_blob=True,
    suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
)  # fmt: skip

# With this plugin, without the suite's options and the terminal's. This process needs no assertions of Hypothesis'.
QUIETLY = ["-p", "hunt", "-p", "no:terminal", "-o", "addopts=", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


# -- what was drawn ----------------------------------------------------------------------------------------------


def kinds(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield (name, kind of value) for a drawn argument: a dataclass by fields, numbers by size, lists by length."""
    if is_dataclass(value) and not hasattr(value, "name"):
        for each in fields(value):
            yield from kinds(f"{name}.{each.name}", getattr(value, each.name))
    elif value is None or isinstance(value, bool | str | bytes):
        yield name, repr(value)[:30]
    elif isinstance(value, int | float):
        yield name, size_of(value)
    elif isinstance(value, list | tuple):
        yield f"len({name})", size_of(len(value))
        if isinstance(value, tuple) and value and all(isinstance(n, int) for n in value):
            yield f"product({name})", size_of(prod(value))
    else:
        yield name, str(getattr(value, "name", None) or getattr(value, "__name__", None) or type(value).__name__)


def size_of(number: float) -> str:
    """Return a number as it is if it is a small integer, else between which powers of ten it lies."""
    if number in range(-9, 10):
        return repr(number)
    digits = re.sub(r"\d\.\d+e([+-]\d+)", lambda m: f"1e{int(m[1]):d}", f"{abs(number):.9e}")
    return f"{'-' if number < 0 else ''}{digits}.."


@dataclass
class Drawn:
    """What a test drew: examples, how many were rejected, and how often each kind of value and each pair came."""

    examples: int = 0
    rejected: int = 0
    failures: int = 0
    is_late: bool = False  # the time was up before the test had drawn all
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    pairs: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, arguments: dict[str, Any]) -> None:
        self.examples += 1
        found = [each for name, value in arguments.items() for each in kinds(name, value)]
        for name, kind in found:
            self.kinds.setdefault(name, Counter())[kind] += 1
        for (a, kind_a), (b, kind_b) in combinations(found, 2):
            self.pairs.setdefault(f"{a} x {b}", Counter())[f"{kind_a} x {kind_b}"] += 1

    def add(self, other: dict[str, Any]) -> None:
        for name in ("examples", "rejected", "failures"):
            setattr(self, name, getattr(self, name) + other[name])
        for name in ("kinds", "pairs"):
            for key, counts in other[name].items():
                getattr(self, name).setdefault(key, Counter()).update(counts)

    def lines(self) -> Iterator[str]:
        """Yield what was drawn how often, and the pairs that never came though each of the two came often."""
        for name, counts in self.kinds.items():
            ranked = counts.most_common()
            shown = ranked if len(ranked) <= SHOWN else [*ranked[: SHOWN // 2], ("...", 0), *ranked[-SHOWN // 2 :]]
            text = ", ".join(f"{kind} {n}" if n else kind for kind, n in shown)
            yield f"{name}: {len(counts)} kind{'s' * (len(counts) > 1)}: {text}"
        missed = []
        for name, counts in self.pairs.items():
            a, b = (self.kinds[each] for each in name.split(" x "))
            missed += [
                (a[u] * b[v] / self.examples, f"{name}: {u} x {v}")
                for u in a for v in b if f"{u} x {v}" not in counts
            ]  # fmt: skip
        # By chance a pair that is expected ten times is missed once in 20,000 times.
        missed = sorted((each for each in missed if each[0] >= 10), reverse=True)
        for expected, text in missed[:SHOWN]:
            yield f"never together, {expected:,.0f} expected: {text}"
        if len(missed) > SHOWN:
            yield f"and {len(missed) - SHOWN} more pairs"


# -- the plugin, in the processes that run the tests -------------------------------------------------------------

current = Drawn()


def pytest_addoption(parser: Any) -> None:
    parser.addoption("--hunt-seed", type=int)
    parser.addoption("--hunt-times", type=int)
    parser.addoption("--hunt-until", type=float)
    parser.addoption("--hunt-without", action="append", default=[])


def pytest_configure(config: Any) -> None:
    if config.option.hunt_seed is not None:  # for the fixture `seeds`
        config.option.first_seed = config.option.hunt_seed


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Keep what draws something, in another order each round, so that a short hunt does not only see the first ones."""
    wanted, watched_tests, option = [], set(), config.option
    for item in items:
        is_property = is_hypothesis_test(getattr(item, "obj", None))
        if item.nodeid in option.hunt_without or not (is_property or "seeds" in getattr(item, "fixturenames", ())):
            continue
        wanted.append(item)
        if is_property and item.obj not in watched_tests:
            watched_tests.add(item.obj)
            item.obj.hypothesis.inner_test = watched(item.obj.hypothesis.inner_test, option.hunt_until)
            if option.hunt_seed is not None:
                # No public way leads to the settings of a test, but the name has been the same for years.
                old = item.obj._hypothesis_internal_use_settings
                more = settings(old, max_examples=old.max_examples * option.hunt_times)
                item.obj._hypothesis_internal_use_settings = more
    random.Random(option.hunt_seed or 0).shuffle(wanted)
    items[:] = wanted


def watched(test: Callable[..., Any], until: float) -> Callable[..., Any]:
    """Return the test that also notes what it is called with, and ends when the time is up."""

    @wraps(test)
    def watch(*args: Any, **arguments: Any) -> Any:
        if current.failures:  # Hypothesis makes the example smaller: no new ones are drawn
            return test(*args, **arguments)
        if time.time() > until:
            current.is_late = True
            pytest.skip("the time is up")
        try:
            result = test(*args, **arguments)
        except UnsatisfiedAssumption:
            raise
        except Exception:
            current.failures = 1
            raise
        finally:
            current.note(arguments)
        return result

    return watch


def pytest_runtest_setup(item: Any) -> None:
    """Let each case of a parametrised test draw its own examples: with one seed they would all draw the same."""
    if item.config.option.hunt_seed is not None and is_hypothesis_test(item.obj):
        seed(item.config.option.hunt_seed + crc32(item.nodeid.encode()))(item.obj)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Any:
    """Let the report carry what was drawn, and each failure as a test to add."""
    global current
    report = yield
    if call.when == "setup":
        current = Drawn()
    elif call.when == "call":
        text = getattr(item, "hypothesis_statistics", "")
        current.rejected = sum(map(int, re.findall(r"(\d+) invalid", text)))
        for name, value in item.user_properties:
            if name == "seeds":
                current.examples += value
        if report.failed and current.is_late and not current.failures:
            # To skip is a surprise to Hypothesis if the test draws more while it runs.
            report.outcome, report.longrepr = "skipped", (item.nodeid, 0, "the time is up")
        current.failures = 0
        if report.failed:
            problems = list(each_of(call.excinfo.value))
            current.failures = len(problems)
            report.user_properties.append(("hunt failures", [as_a_test(item, problem) for problem in problems]))
        report.user_properties.append(("hunt", json.dumps(vars(current))))
    return report


def each_of(problem: BaseException) -> Iterator[BaseException]:
    """Yield the failures that Hypothesis found; it groups them if there are several."""
    if isinstance(problem, BaseExceptionGroup):
        for each in problem.exceptions:
            yield from each_of(each)
    else:
        yield problem


def as_a_test(item: Any, problem: BaseException) -> str:
    """Return what went wrong, and what to add to the test so that it goes wrong in each run."""
    said = [f"{type(problem).__name__}: {problem}"]
    if not is_hypothesis_test(item.obj):
        said.append(f"run: python -m pytest '{item.nodeid}' --first-seed={item.config.option.first_seed}")
        return "\n".join(said)
    notes = "\n".join(getattr(problem, "__notes__", ()))
    example = example_of(item, notes)
    reproduce = re.search(r"@reproduce_failure\(.*\)", notes)
    if example or reproduce:
        said += [f"add above @given of {item.originalname}:", f"    {example or reproduce[0]}"]
    else:
        said.append(f"Hypothesis gives no example: {notes or 'the test does not fail when run again'}")
    return "\n".join(said)


def example_of(item: Any, notes: str) -> str | None:
    """Return the smallest failing example as a line of the test's module, or None if it cannot be written as one."""
    text = re.search(rf"(?:Falsifying|Failing).*?: ({item.originalname}\(.*?\n\))", notes, re.DOTALL)
    if text is None:
        return None
    try:
        call = ast.parse(text[1], mode="eval").body
        fixed = getattr(item, "callspec", None)
        for node in ast.walk(call):
            if isinstance(node, ast.Name) and node.id in ("nan", "inf"):  # as Hypothesis writes these floats
                node.id = f"float('{node.id}')"
        drawn = [each for each in call.keywords if not (fixed and each.arg in fixed.params)]
        line = f"example({', '.join(map(ast.unparse, drawn))})"
        eval(line, vars(item.module) | {"example": dict})
    except Exception:  # names that the module does not have, or values that cannot be written
        return None
    return f"@{line}"


# -- the hunt ----------------------------------------------------------------------------------------------------


class Hunt:
    """Collects what the tests report, in the process that started them."""

    def __init__(self) -> None:
        self.drawn: dict[str, Drawn] = {}
        self.failed: list[str] = []
        self.n_run = 0  # reports of this round
        self.said: set[str] = set()
        self.broken = False  # tests that cannot be imported
        self.seed: int | None = None

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.broken = True
            print(report.longrepr)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.n_run += 1
        told = dict(report.user_properties)
        if report.when == "call" and "hunt" in told:
            self.drawn.setdefault(report.nodeid.split("[")[0], Drawn()).add(json.loads(told["hunt"]))
        if report.failed:
            self.failed.append(report.nodeid)
            print(f"\nFOUND in {report.nodeid}" + (f", seed {self.seed}" if self.seed is not None else ""))
            for text in told.get("hunt failures", [report.longreprtext]):
                said = "the same as above" if text in self.said else text
                print("  " + said.replace("\n", "\n  "), flush=True)
                self.said.add(text)

    def run(self, options: argparse.Namespace) -> int:
        until = time.time() + 60 * options.minutes
        first, number, times = options.seed or random.randrange(10**9), 0, 1
        while time.time() < until:
            how = [f"--hunt-until={until}", f"--hunt-times={times}"]
            if options.fixed:
                how += ["--hypothesis-profile=ci"]
            else:
                self.seed = (first + number * 10**9) if number else first
                how += [f"--hunt-seed={self.seed}", "--hypothesis-profile=hunt"]
                print(f"round {number + 1}: seed {self.seed}, {times} times the suite's examples", flush=True)
            without = [f"--hunt-without={name}" for name in self.failed]
            chosen = [*options.paths, *(["-k", options.k] if options.k else [])]
            workers = [f"--numprocesses={options.workers}", "--dist=worksteal"]
            self.n_run = 0
            status = pytest.main([*QUIETLY, *workers, *how, *without, *chosen], plugins=[self])
            if self.broken or status == pytest.ExitCode.INTERRUPTED:
                return status
            if not self.n_run:
                print("no test is left to run")
                return pytest.ExitCode.NO_TESTS_COLLECTED
            if options.fixed or status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
                return status
            number, times = number + 1, min(2 * times, MOST_TIMES)
        return pytest.ExitCode.OK

    def print_table(self) -> None:
        for name, drawn in sorted(self.drawn.items()):
            print(f"\n{name}")
            for line in drawn.lines():
                print(f"  {line}")
        print(f"\n{'examples':>9} {'rejected':>9} {'failures':>9}  test")
        for name, drawn in sorted(self.drawn.items()):
            print(f"{drawn.examples:>9,} {drawn.rejected:>9,} {drawn.failures:>9,}  {name}")
        whole = [sum(getattr(drawn, name) for drawn in self.drawn.values()) for name in ("examples", "rejected")]
        print(f"{whole[0]:>9,} {whole[1]:>9,} {len(self.failed):>9,}  {len(self.drawn)} tests", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("paths", nargs="*", help="files or tests (default: all)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="how long (default: until Ctrl-C)")
    parser.add_argument("-k", help="only tests that this expression matches, as in pytest")
    parser.add_argument("--seed", type=int, help="the first round's seed, to have a hunt again")
    parser.add_argument("--workers", type=int, default=2, choices=(1, 2), help="processes (default: 2)")
    parser.add_argument("--fixed", action="store_true", help="say what the suite itself draws")
    options, hunt = parser.parse_args(), Hunt()
    sys.path.insert(0, str(Path.cwd()))  # as `python -m pytest` does
    try:
        status = hunt.run(options)
    except KeyboardInterrupt:
        status = pytest.ExitCode.INTERRUPTED
    hunt.print_table()
    if hunt.failed or hunt.broken:
        return 1
    # Ctrl-C is a good end of a hunt; that there was nothing to run is none.
    return 0 if hunt.drawn or status == pytest.ExitCode.INTERRUPTED else int(status)


if __name__ == "__main__":
    sys.exit(main())
