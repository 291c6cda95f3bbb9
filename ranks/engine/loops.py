"""The loops of a program that polls, read off its code: what they use, and whether anything but the poll ends them."""

from __future__ import annotations

import dis
import sys
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, ModuleType

from ranks.words import callsite

_OF_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "LOAD_SUPER_ATTR"}
# Steps that may end a loop: a comparison, an exception, and calls that raise when nothing is left or whose results
# change by themselves.
_ENDING_STEPS = {"COMPARE_OP", "CONTAINS_OP", "IS_OP", "RAISE_VARARGS"}
_ENDING_CALLS = {"get", "get_nowait", "next", "pop", "popitem", "popleft", "read", "readline", "send", "throw"}
_ENDING_CALLS |= {"monotonic", "perf_counter", "randint", "random", "time"}
_OF_ITS_OWN = {"STORE_FAST", "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "DELETE_FAST"}
_POLLS = {"Get_status", "Iprobe", "Improbe", "Test", "Testall", "Testany", "Testsome"}
_POLLS |= {name.lower() for name in _POLLS}


def only_the_poll_ends_it(frame: FrameType | None) -> bool:
    """Return whether the loop that a program polls in has no condition but what its polls say.

    What it calls to poll is looked at too; a loop that calls anything else of the program, or of MPI, may end by that.
    """
    polling: list[CodeType] = []
    while frame is not None:
        code = frame.f_code
        if not callsite.in_library(code):
            loops = Loops.around(code, frame.f_lasti)
            if not loops.may_go_on or _calls_others(loops.names, frame, polling):
                return False
            if loops.has_while:
                return True
            polling.append(code)
        frame = frame.f_back
    return False


def _calls_others(names: Names, frame: FrameType, polling: list[CodeType]) -> bool:
    """Return whether functions of the program that may end the loop are named, beside those that poll just now."""
    found = [
        space[name] for space in (dict(frame.f_locals), frame.f_globals) for name in names.variables & space.keys()
    ]
    of_them = [_attribute(each, name) for each in found for name in names.attributes - _POLLS - {"spend"}]
    return any(callsite.in_library(each.__code__) for each in of_them if isinstance(each, FunctionType)) or any(
        isinstance(each, FunctionType)
        and not (callsite.in_library(each.__code__) or each.__code__ in polling or _only_computes(each.__code__))
        for each in (*found, *of_them)
    )


def _attribute(of: object, name: str) -> object:
    return vars(of).get(name) if isinstance(of, ModuleType) else getattr(type(of), name, None)


@lru_cache(maxsize=1024)
def _only_computes(code: CodeType) -> bool:
    """Return whether some code changes nothing but its own variables, and asks nothing that changes by itself."""
    return not any(
        (step.opname.startswith(("STORE_", "DELETE_")) and step.opname not in _OF_ITS_OWN)
        or step.opname in ("RAISE_VARARGS", "YIELD_VALUE")
        or (isinstance(step.argval, str) and step.argval in _ENDING_CALLS)
        for step in _steps(code)
    )


@dataclass(frozen=True, slots=True)
class Names:
    """The names that some code uses, as variables and as attributes of something."""

    variables: frozenset[str]
    attributes: frozenset[str]


@lru_cache(maxsize=1024)
def names_of(code: CodeType, begin: int = 0, end: int = sys.maxsize) -> Names:
    """Return the names that a part of some code, and the functions inside, use."""
    variables: set[str] = set()
    attributes: set[str] = set()
    for step in _steps(code):
        if begin <= step.offset <= end:
            if isinstance(step.argval, CodeType):
                inside = names_of(step.argval)
                variables |= inside.variables
                attributes |= inside.attributes
            elif isinstance(step.argval, tuple):  # two variables at once
                variables |= {name for name in step.argval if isinstance(name, str)}
            elif isinstance(step.argval, str):
                (attributes if step.opname in _OF_ATTRIBUTES else variables).add(step.argval)
    return Names(frozenset(variables), frozenset(attributes))


@lru_cache(maxsize=1024)
def _steps(code: CodeType) -> list[dis.Instruction]:
    return [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops around a place in some code.

    names:              The globals and attributes that they use; all of the code's if there is no loop.
    may_go_on:          The innermost one that goes through no iterator has no condition but on polls.
    has_while:          One of them goes through no iterator.
    innermost_iterates: The innermost goes through one.
    """

    names: Names
    may_go_on: bool
    has_while: bool
    innermost_iterates: bool

    @staticmethod
    @lru_cache(maxsize=1024)
    def around(code: CodeType, at: int) -> Loops:
        """Return the loops around a place."""
        steps = _steps(code)
        loops = sorted(
            (step.argval, step.offset)
            for step in steps
            if "JUMP" in step.opname and isinstance(step.argval, int) and step.argval <= at <= step.offset
        )
        if not loops:
            return Loops(names_of(code), _may_go_on(steps), has_while=False, innermost_iterates=False)
        # The head of a loop may be behind what makes its argument longer.
        heads = [next(step.opname for step in steps if step.offset >= head) for head, _ in loops]
        iterates = [head == "FOR_ITER" for head in heads]
        names = names_of(code, loops[0][0], max(end for _, end in loops))
        # A loop over an iterator ends; what it is in goes on.
        begin, end = max([loop for loop, over in zip(loops, iterates, strict=True) if not over] or loops)
        innermost = [step for step in steps if begin <= step.offset <= end]
        return Loops(names, _may_go_on(innermost), not all(iterates), iterates[-1])


def _may_go_on(steps: list[dis.Instruction]) -> bool:
    """Return whether these steps have no condition but on what polls say, and nothing that raises at an end."""
    conditions = sum("JUMP" in step.opname and "_IF_" in step.opname for step in steps)
    names = [step.argval for step in steps if isinstance(step.argval, str)]
    polls = sum(name in _POLLS for name in names)
    ends = any(step.opname in _ENDING_STEPS for step in steps) or not _ENDING_CALLS.isdisjoint(names)
    return not ends and conditions <= {0: 2, 1: 1}.get(polls, polls + 1)
