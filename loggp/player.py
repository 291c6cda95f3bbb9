"""The cost of a schedule that is given as rounds. They are played one after the other if possible, else by windows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from loggp.clocks import Clocks
from loggp.in_step import InStep
from loggp.machine import Cost, Machine
from loggp.ports import OutOfStepError
from loggp.rounds import NOBODY, Array, Moves, Rounds
from loggp.windows import Windows

_MOST = 1 << 27


def cost_of_rounds(machine: Machine, rounds: Rounds) -> Cost:
    """Return the cost of `rounds` on `machine`, by the clocks of all its ranks; exact on any network without jitter."""
    if rounds.n_rounds * rounds.width * rounds.p > _MOST:
        raise ValueError(
            f"cost_of_rounds: got {rounds.n_rounds} rounds of {rounds.width} messages on {rounds.p} ranks, expected "
            f"at most {_MOST:,} messages in all, which fit into memory; remedy: play fewer rounds or ranks"
        )
    if machine.p != rounds.p:
        raise ValueError(
            f"cost_of_rounds: got rounds of {rounds.p} ranks, expected {machine.p}, as many as the machine has; "
            "remedy: make the rounds for machine.p ranks"
        )
    player: Clocks
    checks = _Checks(rounds)
    try:
        player = InStep(machine, replace(rounds, moves=checks.moves))
        player.run()
    except OutOfStepError:
        checks = _Checks(rounds)
        player = Windows(machine, replace(rounds, moves=checks.moves))
        player.run()
    n_sent = int(player.sends.sum())
    if n_sent != checks.n_received:
        raise ValueError(
            f"cost_of_rounds: got {n_sent} sends and {checks.n_received} receives, expected as many; "
            "remedy: let `source` name the sender in the round of the message, or in a later one by `sent_in`"
        )
    exact = None if machine.network.jitter_ps else int(player.now.max())
    return Cost(int(player.depth.max()), player.sends.tolist(), player.bytes_sent.tolist(), exact, exact)


class _Checks:
    """Rounds whose moves are checked when they are played. n_received: how many messages the ranks receive."""

    def __init__(self, rounds: Rounds) -> None:
        self.rounds, self.n_received = rounds, 0

    def moves(self, ranks: Array, number: Any) -> Moves:
        """Return what `ranks` do in a round, or raise if there is a wrong rank or size in it."""
        moves, p = self.rounds.moves(ranks, number), self.rounds.p
        ranks_of = (f"take ranks modulo {p}, and NOBODY for none", NOBODY, p - 1)
        bytes_of = ("correct the size, or `largest` of the rounds", 0, self.rounds.largest)
        for name, arrays, (remedy, least, most) in (
            ("to", moves.to, ranks_of), ("source", moves.source, ranks_of), ("n_bytes", moves.n_bytes, bytes_of)
        ):  # fmt: skip
            for array in arrays:
                if np.min(array) < least or np.max(array) > most:
                    every, numbers = np.broadcast_to(array, ranks.shape), np.broadcast_to(number, ranks.shape)
                    at = int(np.flatnonzero((every < least) | (every > most))[0])
                    raise ValueError(
                        f"cost_of_rounds: rank {ranks[at]}, round {numbers[at]}: got {name}={every[at]}, expected "
                        f"{least} to {most}; remedy: {remedy}"
                    )
        self.n_received += sum(int(np.count_nonzero(each != NOBODY)) for each in moves.source)
        return moves
