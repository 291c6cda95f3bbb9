"""The cost of a schedule that is given as rounds. They are played one after the other if possible, else by windows."""

from __future__ import annotations

from loggp.clocks import Clocks
from loggp.in_step import InStep
from loggp.machine import Cost, Machine
from loggp.ports import OutOfStepError
from loggp.rounds import Rounds
from loggp.windows import Windows

_MOST = 1 << 27


def cost_of_rounds(machine: Machine, rounds: Rounds) -> Cost:
    """Return the cost of `rounds` on `machine`, by the clocks of all its ranks; exact on any network without jitter."""
    if rounds.n_rounds * rounds.width * rounds.p > _MOST:
        raise ValueError(
            f"cost_of_rounds: got {rounds.n_rounds} rounds of {rounds.width} messages on {rounds.p} ranks, expected "
            f"at most {_MOST:,} messages in all, which fit into memory; remedy: play fewer rounds or ranks"
        )
    player: Clocks
    try:
        player = InStep(machine, rounds)
        player.run()
    except OutOfStepError:
        player = Windows(machine, rounds)
        player.run()
    exact = None if machine.network.jitter_ps else int(player.now.max())
    return Cost(int(player.depth.max()), player.sends.tolist(), player.bytes_sent.tolist(), exact, exact)
