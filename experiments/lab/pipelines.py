"""Cases of the gallery that are pipelines: orders of passes that need buffered sends."""

from __future__ import annotations

from typing import Any

import numpy as np

import ranks
from experiments.lab.gallery import case

LARGE = 100_000  # bytes of a stage's output, above the eager limit
MICROBATCHES = 4


@case(
    3, ranks.DeadlockError, [1, 2],
    story="A pipeline of three stages under 1F1B: after a warm-up, each rank makes a forward and a backward in turn.",
    why="Rank 1 sends forward what rank 2 is to take next, while rank 2 sends back a gradient that rank 1 is to take "
    "next. Above the eager limit each Send waits for the other's Recv. A pipeline posts its sends with Isend, each "
    "from a buffer of its own, and completes them at the end; or it pairs the two in one Sendrecv.",
    says=('passes with buffering="infinite": the program relies on buffered sends',),
)  # fmt: skip
def pipeline_1f1b(comm: Any) -> None:
    x = np.zeros(LARGE, np.uint8)
    before = comm.rank - 1 if comm.rank else ranks.PROC_NULL
    behind = comm.rank + 1 if comm.rank + 1 < comm.size else ranks.PROC_NULL
    warm_up = comm.size - 1 - comm.rank
    for i in range(MICROBATCHES + warm_up):
        if i < MICROBATCHES:
            comm.Recv(x, before)
            comm.Send(x, behind)  # here
        if i >= warm_up:
            comm.Recv(x, behind)
            comm.Send(x, before)  # here


@pipeline_1f1b.mend
def _(comm: Any) -> None:
    x, sends = np.zeros(LARGE, np.uint8), []
    before = comm.rank - 1 if comm.rank else ranks.PROC_NULL
    behind = comm.rank + 1 if comm.rank + 1 < comm.size else ranks.PROC_NULL
    warm_up = comm.size - 1 - comm.rank
    for i in range(MICROBATCHES + warm_up):
        if i < MICROBATCHES:
            comm.Recv(x, before)
            sends.append(comm.Isend(x.copy(), behind))
        if i >= warm_up:
            comm.Recv(x, behind)
            sends.append(comm.Isend(x.copy(), before))
    for send in sends:
        send.Wait()


@case(
    3, ranks.DeadlockError, [0, 1, 2],
    story="Each of three ranks has two stages of a looped pipeline. All microbatches go through the first stages, "
    "then through the second ones, which begin on rank 0 again.",
    why="With as many microbatches as ranks, or more, the last rank sends the first microbatch back to rank 0, which "
    "is still sending the others into its first stage: all wait in a ring. Without a second stage there is no ring.",
    says=('passes with buffering="infinite": the program relies on buffered sends',),
)  # fmt: skip
def looped_pipeline(comm: Any) -> None:
    x = np.zeros(LARGE, np.uint8)
    for stage in (comm.rank, comm.rank + comm.size):
        for _ in range(MICROBATCHES):
            if stage > 0:
                comm.Recv(x, (comm.rank - 1) % comm.size)
            if stage < 2 * comm.size - 1:
                comm.Send(x, (comm.rank + 1) % comm.size)  # here


@looped_pipeline.mend
def _(comm: Any) -> None:
    x, sends = np.zeros(LARGE, np.uint8), []
    for stage in (comm.rank, comm.rank + comm.size):
        for _ in range(MICROBATCHES):
            if stage > 0:
                comm.Recv(x, (comm.rank - 1) % comm.size)
            if stage < 2 * comm.size - 1:
                sends.append(comm.Isend(x.copy(), (comm.rank + 1) % comm.size))
    for send in sends:
        send.Wait()
