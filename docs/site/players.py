"""The traces of the page "Watch a run", each as the page of its own that `to_html` writes."""

from pathlib import Path
from typing import Any

import numpy as np

import ranks
from collectives import dissemination_barrier, ring_allreduce
from experiments.dissemination_barrier import entered_late
from experiments.lab.gallery import CASES
from experiments.lab.hangs import send_first_ring
from training.pipeline import Schedule, make_schedule

FOLDER = Path(__file__).parents[2] / "build" / "site-data" / "players"
PASS_PS = 20_000_000  # of a forward; a backward takes twice as long
ACTIVATIONS = 50_000  # bytes that a stage passes on


def pipeline(comm: ranks.Comm, schedule: Schedule) -> None:
    """Make the passes of a pipeline of one stage a rank: receive, compute, send."""
    sends = []
    for op in schedule.operations[comm.rank]:
        step = 1 if op.kind == "F" else -1  # activations go to the next stage, gradients to the one before
        if 0 <= comm.rank - step < comm.size:
            comm.Recv(np.empty(ACTIVATIONS, np.uint8), comm.rank - step)
        with ranks.region(comm, f"{op.kind}{op.microbatch}"):
            ranks.spend(comm, PASS_PS if op.kind == "F" else 2 * PASS_PS)
        if 0 <= comm.rank + step < comm.size:
            sends.append(comm.Isend(np.zeros(ACTIVATIONS, np.uint8), comm.rank + step))
    for send in sends:
        send.Wait()


def write() -> None:
    """Run the programs, and write their pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    ring = ranks.run(lambda comm: ring_allreduce(comm, np.ones(40_000)), 8, trace=True)
    ring.trace.to_html(FOLDER / "ring.html", title="A ring all-reduce on 8 ranks")
    barrier = entered_late(dissemination_barrier, 8, ranks.presets["infiniband"])
    barrier.to_html(FOLDER / "barrier.html", title="A barrier on 8 ranks")
    passes = ranks.run(pipeline, 4, make_schedule("1f1b", 4, 8), trace=True)
    passes.trace.to_html(FOLDER / "pipeline.html", title="A 1F1B pipeline: 4 stages, 8 microbatches")
    hang = CASES[send_first_ring.name].failure()
    assert isinstance(hang, ranks.DeadlockError)
    hang.to_html(FOLDER / "hang.html", title="A ring in which all send first")


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension: the runs are made at each build."""
    write()
    return {"parallel_read_safe": True}
