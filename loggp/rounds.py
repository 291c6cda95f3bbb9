"""A schedule as rounds: what all ranks send, receive and reduce next, as arrays with an element for each rank.

Who sends how much to whom does not depend on what is sent, so a schedule is data. The same rounds are played for their
cost (`player.py`), and run as a program (`run_rounds`), to be timed by the simulator, drawn, or explored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranks import reduction_clock

Array = NDArray[Any]

NOBODY = -1


class Moves(NamedTuple):
    """What some ranks do in a round: send, receive meanwhile, wait for what they sent, and then reduce.

    to:        For each message that a rank sends at once, an array of destinations; NOBODY where there is none.
    n_bytes:   The bytes of each of these messages, an array or one number for all ranks.
    source:    For each message that a rank receives at once, an array of sources, or NOBODY; in the order in which they
               are completed.
    reduced:   Bytes that each of `times` reductions takes afterwards.
    sent_in:   The round in which what comes was sent; None: this one.
    slots:     For each message that comes, the slot in which its sender sent it; None: the one in the same place.
    then:      The round that each rank plays after this one; None: the next one.
    """

    to: Sequence[Array]
    n_bytes: Sequence[Array | int]
    source: Sequence[Array]
    reduced: Array | int = 0
    times: Array | int = 1
    sent_in: Array | None = None
    slots: Sequence[Array] | None = None
    then: Array | int | None = None


Round = Callable[[Array], Moves]


@dataclass(frozen=True, slots=True)
class Rounds:
    """The rounds of a schedule for p ranks.

    n_rounds: How many there are.
    width:    The most messages that a rank sends, or receives, in one of them.
    moves:    What ranks do in a round: a function of an array of ranks and the number of the round; with `together`, of
              an array with a number for each rank.
    largest:  The most bytes that a message may have.
    waits:    Whether a round ends only when its messages have left; if not, ranks wait for them at the end.
    """

    p: int
    n_rounds: int
    width: int
    moves: Callable[[Array, Any], Moves]
    largest: int
    waits: bool = True
    together: bool = False

    @classmethod
    def of(cls, p: int, rounds: Sequence[Round], largest: int, width: int = 1) -> Rounds:
        """Return the schedule in which each round is a function of an array of ranks."""
        return cls(p, len(rounds), width, lambda ranks, number: rounds[number](ranks), largest)


def run_rounds(comm: Any, rounds: Rounds) -> None:
    """Send and receive on `comm` what `rounds` says, as messages of zeros, and let reductions take their time.

    ranks.run(lambda comm: run_rounds(comm, rounds), rounds.p).time_ps == cost_of_rounds(machine, rounds).time_ps
    """
    me, charge, late, number = np.array([comm.rank]), reduction_clock(comm), [], 0
    while number < rounds.n_rounds:
        moves = rounds.moves(me, number)
        sent_in = number if moves.sent_in is None else int(moves.sent_in[0])
        sent = [
            comm.Isend(np.zeros(_first(n_bytes), np.uint8), int(to[0]), number * rounds.width + slot)
            for slot, (to, n_bytes) in enumerate(zip(moves.to, moves.n_bytes, strict=True))
            if to[0] != NOBODY
        ]
        coming = []
        for place, source in enumerate(moves.source):
            if source[0] != NOBODY:
                slot = place if moves.slots is None else int(moves.slots[place][0])
                room = np.zeros(rounds.largest, np.uint8)
                coming.append(comm.Irecv(room, int(source[0]), sent_in * rounds.width + slot))
        for request in [*coming, *(sent if rounds.waits else ())]:
            request.Wait()
        late += [] if rounds.waits else sent
        for _ in range(_first(moves.times)):
            if charge is not None:
                charge(_first(moves.reduced))
        number = number + 1 if moves.then is None else _first(moves.then)
    for request in late:
        request.Wait()


def _first(numbers: Array | int) -> int:
    return int(np.ravel(numbers)[0])
