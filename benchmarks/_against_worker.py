"""Measure one tree's `ranks`: each line of JSON on standard input is a request, answered by a line on standard output.

PYTHONPATH=TREE python benchmarks/_against_worker.py
{"work": "ring", "p": 16, "network": "alpha-beta", "size": 32, "calls": 3}   ->   {"seconds": 0.004, "units": 1440}

Seconds are CPU time of this process. Ranks only compute and never wait, so they lose nothing by it, and what other
programs take of the machine is left out. Units are messages, or schedules.
"""

import functools
import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from _programs import Array, barriers, expect, fan_in, fan_in_once, pairs, polls, ring, task_farm
from peers import bare_ring, check, ring_input

import ranks


@functools.cache
def ring_data(p: int, message_bytes: int) -> Array:
    """Return what `ring` adds up, in messages of so many bytes: whole numbers, so that sums are exact."""
    return np.resize(ring_input(p), (p, p * message_bytes // 8))


def one_ring(p: int, network: str, size: int, *, trace: bool = False) -> int:
    """Add up with messages of `size` bytes."""
    data = ring_data(p, size)
    run = ranks.run(ring, p, data, network=network, trace=trace)
    return sum(run.sends)


def checked_ring(p: int, network: str, size: int) -> int:
    """Raise RuntimeError unless this tree's ring adds up as NumPy does."""
    data = ring_data(p, size)
    run = ranks.run(ring, p, data, network=network)
    check(f"{network}, {size} B", data, np.stack(run.results))
    return sum(run.sends)


def one_bare_ring(p: int, network: str, size: int) -> int:
    """Add up over the barest Sendrecv there is, which knows no other network than "alpha-beta"."""
    bare_ring.ring_allreduce(ring_data(p, size), 1)
    return 2 * p * (p - 1)


def one_run(program: Callable[[ranks.Comm, int], None], per_round: Callable[[int], int]) -> Callable[..., int]:
    """Return what runs `program` with as many rounds as make about `size` messages; per_round(p) are those of one."""

    def run(p: int, network: str, size: int) -> int:
        rounds = max(1, size // per_round(p))
        sends = sum(ranks.run(program, p, rounds, network=network).sends)
        expect(f"{program.__name__}, messages sent at p={p}", sends, rounds * per_round(p))
        return sends

    return run


def one_exploration(program: Callable[[Any], Any]) -> Callable[..., int]:
    """Return what explores all schedules of `program`, sends buffered, and counts them."""

    def run(p: int, network: str, size: int) -> int:
        found = ranks.explore(program, p, network=network, modes=["infinite"])
        if found.verdict != "holds":
            raise RuntimeError(f"exploring {program.__name__} at p={p}: got {found.verdict!r}, expected 'holds'")
        return found.runs["infinite"]

    return run


# What a row may ask for: each is called with (p, network, size) and returns how many units it did.
WORK: dict[str, Callable[[int, str, int], int]] = {
    "ring": one_ring,
    "checked ring": checked_ring,
    "traced ring": functools.partial(one_ring, trace=True),
    "bare ring": one_bare_ring,
    "barriers": one_run(barriers, lambda p: p * (p - 1).bit_length()),
    "fan-in": one_run(fan_in, lambda p: p - 1),
    "task farm": one_run(task_farm, lambda p: 2 * (p - 1)),
    "explore fan_in_once": one_exploration(fan_in_once),
    "explore pairs": one_exploration(pairs),
    "explore polls": one_exploration(polls),
}


def measure(work: str, p: int, network: str, size: int, calls: int) -> dict[str, float]:
    """Do the work so many times; return its seconds and units."""
    one = WORK[work]
    gc.collect()
    units, start = 0, process_time()
    for _ in range(calls):
        units += one(p, network, size)
    return {"seconds": process_time() - start, "units": units}


def main() -> None:
    """Answer requests until there are no more."""
    # Nothing that a program prints may come between the answers.
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    print(json.dumps({"tree": str(Path(ranks.__file__).parents[1])}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
