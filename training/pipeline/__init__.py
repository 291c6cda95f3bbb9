"""Pipeline schedules as data: which rank does which pass of which stage and microbatch, in which order.

    from training.pipeline import make_schedule, play

    schedule = make_schedule("1f1b", p=4, microbatches=8)
    [str(op) for op in schedule.operations[3][:4]]
    # ['F(3, 0)', 'B(3, 0)', 'F(3, 1)', 'B(3, 1)']
    play(schedule, F=1, I=1, W=1).bubbles
    # (9, 6, 3, 0)

The room knows orders, not arrays: a runner executes a schedule with numbers and messages.
"""

from training.pipeline.best import shortest_schedule
from training.pipeline.check import check_schedule
from training.pipeline.clock import Timeline, play
from training.pipeline.drawing import draw, text
from training.pipeline.orders import LOOPED, SCHEDULES, make_schedule
from training.pipeline.schedule import Op, Schedule

__all__ = [
    "LOOPED",
    "SCHEDULES",
    "Op",
    "Schedule",
    "Timeline",
    "check_schedule",
    "draw",
    "make_schedule",
    "play",
    "shortest_schedule",
    "text",
]
