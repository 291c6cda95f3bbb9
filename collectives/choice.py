"""The fastest algorithm by its formula: how "auto" chooses, and how it explains its choice."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from collectives.arrays import Array
from collectives.barriers import dissemination_barrier
from collectives.catalogue import CATALOGUE
from collectives.reduction import is_commutative
from collectives.shared import flag_barrier
from loggp import Machine, give_up_if_past
from loggp.patience import TakesLongerError, giving_up_after
from ranks import Comm, MeasuredNetwork, Network, can_share_memory, kept, look, mpi_of, placement

# Operations whose algorithms are timed on real MPI, and whether they take an array.
TIMED = {"allreduce": True, "broadcast": True, "reduce": True, "barrier": False}
_ROUNDS, _CALLS = 8, 4
_MANY = 64  # ranks, from which on it takes long to play all candidates
_LARGE = 1 << 20  # bytes of an array that passes through the near cache, where the algorithms' own code lies


@dataclass(frozen=True, slots=True)
class Choice:
    """The algorithms of an operation by predicted time, fastest first, and why others were left out.

    candidates: (algorithm, picoseconds). left_out: (algorithm, reason). n_bytes: the size of `n_items` elements.
    """

    operation: str
    machine: Machine
    n_bytes: int
    candidates: tuple[tuple[str, int], ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def algorithm(self) -> str:
        """The fastest one."""
        return self.candidates[0][0]

    def __str__(self) -> str:
        network, p, n_nodes = self.machine.network, self.machine.p, len(set(self.machine.nodes))
        where = f"{p} ranks on {n_nodes} node{'s' * (n_nodes > 1)} of {network.name}"
        lines = [f"{self.operation} of {self.n_bytes:,} B, {where}: {self.algorithm}"]
        width = max(len(name) for name, _ in (*self.candidates, *self.left_out))
        lines += [f"  {name:<{width}}  {look.in_us(time_ps, '>12,.3f')}" for name, time_ps in self.candidates]
        lines += [f"  {name:<{width}}  left out: {reason}" for name, reason in self.left_out]
        return "\n".join(lines)


# The algorithm that "auto" picks for an operation wherever it can be used.
_preferred: dict[str, str] = {}


@contextmanager
def preferring(algorithms: Mapping[str, str]) -> Iterator[None]:
    """Let "auto" choose these algorithms inside the block, given by their operations, wherever they can be used.

    Raises:  ValueError if there is no such operation, or no such algorithm of it.
    """
    for operation, name in algorithms.items():
        if name not in CATALOGUE.get(operation, ()):
            known = CATALOGUE.get(operation, CATALOGUE)
            raise ValueError(f"got {operation}={name}, expected one of {', '.join(known)}; remedy: choose one of these")
    choose.cache_clear()
    _preferred.update(algorithms)
    try:
        yield
    finally:
        _preferred.clear()
        choose.cache_clear()


@lru_cache(maxsize=4096)
def choose(operation: str, machine: Machine, n_items: int, itemsize: int, *, any_op: bool = False) -> Choice:
    """Return how the algorithms of `operation` compare on `machine`, by their formulas.

        machine = Machine.of(ranks.presets["ethernet"], 8)
        choose("allreduce", machine, 1_000_000, 4).algorithm  # 'segmented_ring'
        choose("allreduce", machine, 1_000_000, 4, any_op=True).algorithm  # 'bcube'

    any_op: whether the operation may not be commutative. n_items, itemsize: as in `cost`. Jitter is ignored. The time
    that an algorithm's own code takes is added if it was measured.
    """
    machine_seen = _seen(machine, n_items * itemsize)
    measured = machine.network if isinstance(machine.network, MeasuredNetwork) else None
    times: dict[str, int] = {}
    left_out: dict[str, str] = {}
    rows, preferred = CATALOGUE[operation], _preferred.get(operation)
    # If playing takes long, algorithms that cannot win are not played, or not to the end; likely winners come first.
    at_best_ps = dict.fromkeys(rows, 0)
    if machine.p > _MANY:
        bounds = {name: row.at_best_ps for name, row in rows.items() if row.at_best_ps}
        at_best_ps |= {name: bound(machine_seen, n_items, itemsize) for name, bound in bounds.items()}
    for name in sorted(rows, key=lambda name: at_best_ps[name]):
        row = rows[name]
        if any_op and row.commutative:
            left_out[name] = "the op is not known to be commutative"
            continue
        if row.one_node and len(set(machine.nodes)) > 1:
            left_out[name] = "the ranks are on several nodes"
            continue
        if row.overlaps and len(set(machine.nodes)) == 1 and measured:
            left_out[name] = "inside a node processors copy messages, and cannot reduce meanwhile"
            continue
        own_ps = measured.own_code_ps(row.function.__name__, n_items * itemsize) if measured else 0
        can_be_left_out = times and machine.p > _MANY and name != preferred
        limit_ps = min(times.values()) - own_ps if can_be_left_out else sys.maxsize
        try:
            with giving_up_after(limit_ps):
                give_up_if_past(at_best_ps[name])
                time_ps = row.cost(machine_seen, n_items, itemsize).expected_ps
        except TakesLongerError:
            left_out[name] = f"takes more than {look.in_us(limit_ps, ',.3f')}"
            continue
        if time_ps is None:
            left_out[name] = "no time is predicted"
        else:
            times[name] = time_ps + own_ps
    # Of equally fast ones the first of the catalogue.
    order = list(rows)
    candidates = sorted(times.items(), key=lambda entry: (entry[0] != preferred, entry[1], order.index(entry[0])))
    return Choice(operation, machine, n_items * itemsize, tuple(candidates), tuple(left_out.items()))


def _seen(machine: Machine, n_bytes: int) -> Machine:
    """Return the machine without jitter, and if it was measured as arrays of n_bytes see it."""
    network = replace(machine.network, jitter_ps=0)
    return replace(machine, network=network.within(n_bytes) if isinstance(network, MeasuredNetwork) else network)


def machine_of(comm: Any, operation: str | None = None) -> Machine:
    """Return the machine on which `comm` runs; it is the same on all ranks.

    On real MPI the first call is collective (`placement`), and so is the first call for each operation in `TIMED`. The
    latter times the algorithms' own code, which takes the larger part of the time of small messages. None: without
    that.
    """
    network, nodes, buffering = placement(comm)
    machine = Machine(network, nodes, buffering)
    if (
        operation is None
        or operation not in TIMED
        or not isinstance(network, MeasuredNetwork)
        or isinstance(comm, Comm)
    ):
        return machine
    return kept(comm, (machine_of, operation), lambda: replace(machine, network=_timed(comm, operation, machine)))


def _timed(comm: Any, operation: str, machine: Machine) -> Network:
    """Return the network with what the algorithms' own code takes: the time of a small call less its formula.

    By the bytes of arrays, as if these had just passed through the caches.
    """
    network = machine.network
    assert isinstance(network, MeasuredNetwork)
    shares, takes_array = can_share_memory(comm), TIMED[operation]
    rows = [row for row in CATALOGUE[operation].values() if shares or not row.one_node]
    barrier = partial(flag_barrier if shares else dissemination_barrier, comm)
    n_items = comm.size if takes_array else 0
    x, out = np.zeros((2, n_items), np.float32)
    calls = [partial(row.function, comm, x, out=out) if takes_array else partial(row.function, comm) for row in rows]
    formulas_ps = [row.cost(_seen(machine, x.nbytes), n_items, 4).expected_ps or 0 for row in rows]
    tables: list[list[tuple[int, int]]] = [[] for _ in rows]
    for n_bytes in (x.nbytes, _LARGE) if takes_array else (0,):
        wait_s, *times_s = _least_s(comm, [lambda: None, *calls], barrier, np.zeros(n_bytes, np.uint8))
        for table, with_wait_s, formula_ps in zip(tables, times_s, formulas_ps, strict=True):
            taken_s = max(with_wait_s - wait_s, with_wait_s / 2)  # as in calibration: the wait may have been disturbed
            # This is negative if the call is faster than the steps that were timed for its formula.
            table.append((n_bytes, round(taken_s * 1e12) - formula_ps))
    named = [(row.function.__name__, tuple(table)) for row, table in zip(rows, tables, strict=True)]
    return replace(network, calls=tuple(comm.bcast(named)))  # rank 0's: all must choose alike


def _least_s(comm: Any, calls: list[Callable[[], Any]], barrier: Callable[[], None], written: Array) -> list[float]:
    """Return the least time of each call and a barrier, on the rank that began first: one that is late finds work done.

    As in calibration: all are timed in each round, so that none alone has the machine at its best.
    written: what is written before each call, and so takes the call's own code out of the near cache, if it is large.
    """
    wtime = mpi_of(comm).Wtime
    times_s = np.empty((_ROUNDS, _CALLS, len(calls)))
    for turn in range(_ROUNDS):
        for number, call in enumerate(calls):
            for again in range(_CALLS):
                written.fill(turn)
                barrier()
                begin_s = wtime()
                call()
                barrier()
                times_s[turn, again, number] = wtime() - begin_s
    least_s: list[float] = np.max(comm.allgather(times_s), axis=0).min(axis=(0, 1)).tolist()
    return least_s


def explain(comm: Any, operation: str, x: Any = None, op: Any = np.add, *, n_items: int | None = None) -> Choice:
    """Return the algorithm that "auto" would choose for `x` on `comm`, with the predicted time of each candidate.

        ranks.run(lambda comm: explain(comm, "barrier").algorithm, 8).results[0]  # 'central'
        print(ranks.run(lambda comm: collectives.explain(comm, "allreduce", np.zeros(1000)), 8).results[0])

    n_items: the size that counts, if it is not x.size: that of the whole for gather, scatter and allgather.
    Raises:  ValueError if there is no such operation.
    """
    if operation not in CATALOGUE:
        raise ValueError(
            f"explain: got operation {operation!r}, expected one of {', '.join(CATALOGUE)}; remedy: choose one of these"
        )
    n = n_items if n_items is not None else 0 if x is None else x.size
    return choose(
        operation, machine_of(comm, operation), n, 1 if x is None else x.itemsize, any_op=not is_commutative(op)
    )
