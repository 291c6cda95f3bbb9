"""The catalogue of all algorithms: what each computes, needs and costs. Each algorithm enters itself.

`n_items` in formulas is the number of elements of x on each rank (allreduce, reduce, broadcast, reduce_scatter, scan,
exscan, alltoall), of the whole array on the root (gather, scatter), or of the result (allgather).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from collectives.calls import CALLS, prepared_barrier
from loggp import Cost, Machine, Round, Rounds, cost_of_rounds
from ranks import Network

F = TypeVar("F", bound=Callable[..., Any])
# Formula(machine, n_items, itemsize), RoundsOf(p, n_items, itemsize)
Formula = Callable[[Machine, int, int], Cost]
RoundsOf = Callable[[int, int, int], Sequence[Round]]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A function and its cost formula.

    commutative: whether it refuses an op that is not commutative.
    one_node: whether all its ranks must be on one node.
    overlaps: whether the function and its formula need messages that travel while their sender computes.
    at_best_ps: a lower bound of its time, which is found faster than its cost.
    """

    function: Callable[..., Any]
    cost: Formula
    commutative: bool = False
    one_node: bool = False
    overlaps: bool = False
    at_best_ps: Callable[[Machine, int, int], int] | None = None


# By operation and name, in the order of entry: the first of several equally fast algorithms is chosen.
CATALOGUE: dict[str, dict[str, Algorithm]] = {operation: {} for operation in CALLS}


def algorithm(
    operation: str,
    *,
    checks: bool = True,
    phases: bool = False,
    prepare: Callable[[Any], Callable[[], None]] | None = None,
    **needs: bool,
) -> Callable[[F], F]:
    """Make a function of sends and receives an algorithm of `operation`, named by its own name.

        @algorithm("allreduce", commutative=True)
        def ring_allreduce(comm, x, op=np.add, *, out=None): ...

    The decorated function gets its arguments as `calls.py` prepares them; `cost_of` enters it into the catalogue.

    needs:   fields of `Algorithm` that are true.
    checks:  False if the function itself does all that `calls.py` does.
    phases:  True if it marks regions of the trace itself.
    prepare: for a barrier, prepare(comm) returns what does the same on real MPI, but prepared.
    """

    def decorate(body: F) -> F:
        function = body
        if prepare is not None:
            function = _looking_like(body, prepared_barrier(body.__name__, body, prepare))
        elif checks:
            function = _looking_like(body, _call(operation, body, needs.get("commutative", False), phases))
        _waiting[function] = operation, needs
        return function

    return decorate


def cost_of(function: Callable[..., Any], **more: Any) -> Callable[[Formula], Formula]:
    """Enter an algorithm into the catalogue with the cost formula that is decorated.

    @cost_of(ring_allreduce)
    def ring_allreduce_cost(machine, n_items, itemsize): ...

    more: other fields of `Algorithm`.
    """
    operation, needs = _waiting.pop(function)

    def decorate(formula: Formula) -> Formula:
        name = function.__name__.removesuffix(f"_{operation}")
        CATALOGUE[operation][name] = Algorithm(function, formula, **(more | needs))
        return formula

    return decorate


def rounds_of(function: Callable[..., Any], **more: Any) -> Callable[[RoundsOf], RoundsOf]:
    """Enter an algorithm into the catalogue with its schedule as rounds, which are played for its cost.

    @rounds_of(recursive_doubling_allreduce)
    def recursive_doubling_rounds(p, n_items, itemsize): ...

    No message may exceed n_items * itemsize bytes. more: other fields of `Algorithm`.
    """

    def decorate(rounds: RoundsOf) -> RoundsOf:
        def formula(machine: Machine, n_items: int, itemsize: int) -> Cost:
            made = rounds(machine.p, n_items, itemsize)
            return cost_of_rounds(machine, Rounds.of(machine.p, made, n_items * itemsize))

        cost_of(function, **more)(formula)
        return rounds

    return decorate


# Algorithms that have no cost yet, with their operations and needs.
_waiting: dict[Callable[..., Any], tuple[str, dict[str, bool]]] = {}


def _call(operation: str, body: F, commutative: bool, phases: bool) -> Callable[..., Any]:
    parameters = inspect.signature(body).parameters
    own = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.default is not parameter.empty and name not in ("op", "counts", "out")
    }
    more = {"commutative": commutative, "phases": phases} if "op" in parameters else {}
    return CALLS[operation](body.__name__, body, own, **more)


def _looking_like(body: F, call: Any) -> F:
    """Return the call with the name, signature and docstring of its body: these are what users see."""
    wraps(body)(call)
    # Tracebacks, and reports of what a rank waits for, name a frame by its code: by where the body is defined.
    call.__code__ = call.__code__.replace(
        co_name=body.__name__,
        co_qualname=body.__qualname__,
        co_filename=body.__code__.co_filename,
        co_firstlineno=body.__code__.co_firstlineno,
        co_linetable=_all_on_the_first_line(len(call.__code__.co_code) // 2),
    )
    return call  # type: ignore[no-any-return]


def _all_on_the_first_line(n: int) -> bytes:
    """Return the line table of n instructions; CPython describes the format in Objects/locations.md."""
    runs = [min(8, n - begin) for begin in range(0, n, 8)]
    return b"".join(bytes([0x80 | 13 << 3 | length - 1, 0]) for length in runs)


def cost(
    algorithm: str, network: Network, p: int, n_items: int = 0, itemsize: int = 1, buffering: str = "eager"
) -> Cost:
    """Return the predicted cost of a call of `algorithm` by its function's name, on ranks 0 to p-1 of `network`.

        cost("ring_allreduce", ranks.presets["alpha-beta"], 4, 1000, 8).time_ps  # 7200000: 6 (1 µs + 2000 B / 10 GB/s)

    n_items, itemsize: elements of x on each rank (of the result for ring_allgather) and bytes of one; roots are 0.
    """
    by_function = {row.function.__name__: row for rows in CATALOGUE.values() for row in rows.values()}
    if algorithm not in by_function:
        raise ValueError(
            f"cost: got algorithm {algorithm!r}, expected one of {', '.join(by_function)}; remedy: choose one of these"
        )
    if p < 1 or n_items < 0 or itemsize < 0 or buffering not in ("none", "eager", "infinite"):
        raise ValueError(
            f"cost: got p={p}, n_items={n_items}, itemsize={itemsize}, buffering={buffering!r}, expected p from 1, "
            "the others from 0, and none, eager or infinite; remedy: correct the one that differs"
        )
    return by_function[algorithm].cost(Machine.of(network, p, buffering), n_items, itemsize)
