"""Whose contribution is where: an all-reduce on sets of ranks instead of numbers, message by message.

Which message carries what does not depend on the numbers: so one run on sets shows what happens for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import ranks
from collectives import commutative, ring_allreduce

_BLOCK = 32  # an element has its contributors in the bits below, and the number of its block above


class Passed(NamedTuple):
    """A message: a block goes from one rank to another, and in it the contributions of these ranks."""

    source: int
    dest: int
    block: int
    contributors: frozenset[int]


class _Overheard:
    """A communicator that notes what each Sendrecv brought in."""

    def __init__(self, comm: Any) -> None:
        self.comm, self.came = comm, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.comm, name)

    def Sendrecv(self, sent: Any, dest: int, sendtag: int, came: Any, source: int, recvtag: int) -> None:
        self.comm.Sendrecv(sent, dest, sendtag, came, source, recvtag)
        self.came.append((source, came.copy()))


def _joined(left: Any, right: Any) -> Any:
    """Return the contributors of both; assert that none is in both, and that it is the same block."""
    everyone = (1 << _BLOCK) - 1
    assert not np.any(left & right & everyone), "a contribution was counted twice"
    assert np.array_equal(left >> _BLOCK, right >> _BLOCK), "two different blocks were added up"
    return left | right


def passed_in_ring(p: int) -> list[list[Passed]]:
    """Return the messages of a ring all-reduce on p ranks, in the order of its steps, those of a step by receiver.

        passed_in_ring(3)[0][1]  # Passed(source=0, dest=1, block=2, contributors=frozenset({0}))

    No more than 32 ranks, each with p elements, one a block. Raises AssertionError if the result is not complete.
    """

    def program(comm: Any) -> Any:
        listening = _Overheard(comm)
        x = np.arange(p, dtype=np.int64) << _BLOCK | 1 << comm.rank
        result = ring_allreduce(listening, x, commutative(_joined))
        assert np.array_equal(result, np.arange(p, dtype=np.int64) << _BLOCK | (1 << p) - 1), "somebody is missing"
        return [_passed(source, comm.rank, int(came[0])) for source, came in listening.came]

    return [list(step) for step in zip(*ranks.run(program, p).results, strict=True)]


def _passed(source: int, dest: int, element: int) -> Passed:
    return Passed(source, dest, element >> _BLOCK, frozenset(r for r in range(_BLOCK) if element >> r & 1))


Held = list[list[frozenset[int]]]


def held_in_ring(p: int) -> list[Held]:
    """Return held[rank][block], the set of ranks whose contributions are in it, at the start and after each step.

    held_in_ring(3)[1][1]  # [frozenset({1}), frozenset({1}), frozenset({0, 1})]
    """
    held: Held = [[frozenset({rank})] * p for rank in range(p)]
    moments = [held]
    for step in passed_in_ring(p):
        held = [list(blocks) for blocks in held]
        for message in step:
            held[message.dest][message.block] |= message.contributors
        moments.append(held)
    return moments


def fewest_messages(p: int) -> int:
    """Return with how few messages, one after the other, p ranks can all come to hold what depends on all of them.

        fewest_messages(3)  # 4

    Found by trying everything, in breadth: a message makes its receiver hold all that its sender holds. This is more
    than a message of one number can do, so no all-reduce of one element needs fewer. p up to 4 in a second.
    """
    everyone = (1 << p) - 1
    reached = {tuple(1 << rank for rank in range(p))}
    for messages in range(2 * p):
        if (everyone,) * p in reached:
            return messages
        reached = {after for before in reached for after in _after_one_message(before)}
    raise AssertionError(f"{p} ranks need more than {2 * p} messages")


def _after_one_message(held: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for source in held:
        for dest in range(len(held)):
            # Ranks have no names here: sorted, states that differ by names only are one.
            yield tuple(sorted((*held[:dest], held[dest] | source, *held[dest + 1 :])))


Algorithm = Callable[..., Any]


def sent_shares(algorithm: Algorithm, p: int, n: int) -> list[float]:
    """Return how many times its own n elements each of p ranks sends.

    sent_shares(ring_allreduce, 4, 8)  # [1.5, 1.5, 1.5, 1.5]
    """
    run = ranks.run(lambda comm: algorithm(comm, np.zeros(n)), p)
    return [n_bytes / (n * 8) for n_bytes in run.bytes_sent]
