"""What a schedule of messages costs on a network, by the LogGP model without its gap: rounds, bytes and picoseconds.

A schedule is data: rounds of arrays, with an element for each of up to millions of ranks, or the steps of each rank. To
find its cost nothing is sent, and the simulator is not used. The tests check that the cost equals the simulator's time
to the picosecond.

    import ranks
    from loggp import Machine, Step, scheduled_cost

    pair = Machine.of(ranks.presets["alpha-beta"], 2)
    scheduled_cost(pair, lambda rank: [Step(1 - rank, 10_000, 1 - rank)]).time_ps  # 2000000

The package has these files:

    machine.py    what a schedule runs on, and what it costs there
    rounds.py     a schedule as rounds, and a program that runs it
    patterns.py   the rounds of trees, pairs, halves and lines
    player.py     plays rounds, in one of the next two ways
    in_step.py    all ranks together, round by round
    windows.py    ranks that fall out of step, by windows of time
    steps.py      a schedule as steps of each rank, played message by message
    stars.py      one rank that receives from all others, or sends to all
    node.py       the ranks of a node, through its memory
    clocks.py     the clocks and counts of all ranks, which the players share
    ports.py      ports, which serve messages first come, first served
    patience.py   how much is played before a cost is estimated
"""

from loggp.machine import Cost, Machine
from loggp.node import NodeClocks
from loggp.patience import can_be_played, give_up_if_past
from loggp.player import cost_of_rounds
from loggp.ports import serve_in_turn
from loggp.rounds import NOBODY, Moves, Round, Rounds, run_rounds
from loggp.stars import Star
from loggp.steps import Schedule, Step, cost_in_step, cost_of_chain, extended_cost, scheduled_cost

__all__ = [
    "NOBODY", "Cost", "Machine", "Moves", "NodeClocks", "Round", "Rounds", "Schedule", "Star", "Step", "can_be_played",
    "cost_in_step", "cost_of_chain", "cost_of_rounds", "extended_cost", "give_up_if_past", "run_rounds",
    "scheduled_cost", "serve_in_turn",
]  # fmt: skip
