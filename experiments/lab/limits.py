"""What a run takes of this machine, and the refusal of a run that takes more than the machine has.

A script says what it takes as a function of its options, so that the refusal can name the largest values that fit.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass

from experiments.lab.errors import UsageError
from experiments.lab.units import decimals, nice_bytes
from ranks import real

RANK_BYTES = 20_000  # a simulated rank: its greenlet, and the messages of a barrier
MESSAGE_BYTES = 4_000  # a message of up to 1 KiB that waits to be received
EVENT_BYTES = 1_000  # a message in a trace, with its line in a file
MESSAGE_S = 1e-5  # a simulated message, with what its two ranks do about it
# An MPI process takes half a second to start. A script makes up to 6,000 steps in all. With more processes than cores,
# each step waits until the other processes have had their turns, of a millisecond each.
PROCESS_S = 0.5 + 6_000 * 1e-3
FREE_SHARE = 0.8  # of the memory that is free
LONGEST_S = 3600.0

Step = int | Callable[[int], int]


@dataclass(frozen=True)
class Need:
    """What a run takes beside its ranks.

    memory:   Bytes at its fullest.
    messages: Simulated messages in all.
    seconds:  What it computes beside these messages.
    """

    memory: float = 0
    messages: float = 0
    seconds: float = 0


def afford(args: argparse.Namespace, need: Callable[[argparse.Namespace], Need], **steps: Step) -> None:
    """Raise UsageError if `need(args)` is more than this machine has, or more MPI processes than it can start.

        afford(args, lambda args: Need(memory=3 * args.ranks * args.bytes), ranks=1, bytes=4)
        # UsageError: got --ranks 8 --bytes 4000000000000, which need about 87.31 TiB of memory, expected at most
        # 17.6 GiB of what is free; remedy: --bytes up to 787320880

    steps: The options on which the need depends, each with the step between its values, or with a function that
           rounds a number down to such a value.
    """
    if args.mpi and not real.under_mpi():
        most, why, _ = real.most_processes()
        if args.ranks > most:
            raise UsageError(
                f"got --ranks {args.ranks} on real MPI, expected at most {most}, since {why}; remedy: fewer --ranks"
            )
    most_bytes = FREE_SHARE * real.available_memory()

    def excess_with(**changed: int) -> str:
        tried = argparse.Namespace(**vars(args) | changed)
        return _excess(need(tried), tried.ranks or 0, tried.mpi, most_bytes)

    problem = excess_with()
    if problem:
        most_of = {name: _largest(name, getattr(args, name), step, excess_with) for name, step in steps.items()}
        spelled = {name: f"--{name.replace('_', '-')}" for name in steps}
        got = " ".join(f"{spelled[name]} {getattr(args, name)}" for name in steps)
        remedies = [f"{spelled[name]} up to {most}" for name, most in most_of.items() if most]
        raise UsageError(f"got {got}, which {problem}; remedy: {' or '.join(remedies) or 'less of each'}")


def _excess(need: Need, p: int, on_mpi: bool, most_bytes: float) -> str:
    """Return what a run takes too much of, "" if it takes no more than there is."""
    n_bytes = need.memory + (0 if on_mpi else RANK_BYTES * p)
    if n_bytes > most_bytes:
        return f"need about {nice_bytes(n_bytes)} of memory, expected at most {nice_bytes(most_bytes)} of what is free"
    steps_s = p / (os.cpu_count() or 1) * PROCESS_S if on_mpi else MESSAGE_S * need.messages
    if need.seconds + steps_s > LONGEST_S:
        hours = (need.seconds + steps_s) / 3600
        return f"take about {decimals('.3g')(hours)} hours, expected at most {LONGEST_S / 3600:g}"
    return ""


def _largest(name: str, value: int, step: Step, excess_with: Callable[..., str]) -> int:
    """Return the largest value of an option with which nothing is too much, 0 if there is none."""
    low, high = 0, value + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if excess_with(**{name: middle}) else (middle, high)
    return step(low) if callable(step) else low // step * step
