"""Run under mpiexec: ranks that disagree on a checked communicator, case by case; rank 1 is the odd one.

Writes {case: error of each rank or "agreed"} to the file argv[1]; argv[2] says how the block ends.
"""

import json
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np

import ranks
from collectives import dissemination_barrier, naive_allreduce, ring_allgather, ring_allreduce
from inside import checking
from ranks.real import world

X = np.arange(6.0)
CASES: dict[str, Any] = {
    "agreed": lambda comm, odd: ring_allreduce(comm, X),
    "op": lambda comm, odd: ring_allreduce(comm, X, np.maximum if odd else np.add),
    "root": lambda comm, odd: naive_allreduce(comm, X, root=1 if odd else 0),
    "dtype": lambda comm, odd: ring_allreduce(comm, X.astype("i8") if odd else X),
    "shape": lambda comm, odd: ring_allreduce(comm, X.reshape(2, 3) if odd else X),
    "collective": lambda comm, odd: dissemination_barrier(comm) if odd else ring_allreduce(comm, X),
    "long": lambda comm, odd: ranks.announce(comm, "long", counts=tuple(range(2000 + odd))),
    "split": lambda comm, odd: comm.Dup() if odd else comm.Split(0),
    "child": lambda comm, odd: ring_allgather(comm.Split(0), X[: 5 if odd else 6]),
    "started": lambda comm, odd: ranks.start(ring_allreduce, comm, X[: 5 if odd else 6]).wait(),
    "still agreed": lambda comm, odd: in_order(
        [ranks.start(ring_allreduce, comm, X), ranks.start(naive_allreduce, comm, X)], backwards=odd
    ),
    # The last one: one rank started less than the others.
    "started or not": lambda comm, odd: ring_allreduce(comm, X) if odd else ranks.start(ring_allreduce, comm, X).wait(),
}


def in_order(requests: list[Any], backwards: bool) -> None:
    for request in requests[:: -1 if backwards else 1]:
        request.Wait()


def outcome(case: Any, comm: Any) -> str:
    try:
        case(comm, comm.rank == 1)
    except ranks.CollectiveMismatchError as error:
        return str(error)
    return "agreed"


def main(path: str, ending: str) -> None:
    with ranks.checked(world()) as comm:
        outcomes = {name: world().gather(outcome(case, comm)) for name, case in CASES.items()}
        if comm.rank == 0:
            Path(path).write_text(json.dumps(outcomes))
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
        assert all(timer.finished.is_set() for timer in timers), "a collective is over, and somebody still waits"
        world().Barrier()
        if ending == "one leaves" and comm.rank != 1:
            dissemination_barrier(comm)
        if ending == "one leaves a child":
            child = comm.Dup()
            if comm.rank != 1:
                dissemination_barrier(child)
        if ending == "one raises":
            if comm.rank == 1:
                raise KeyError("lost")
            dissemination_barrier(comm)
        if ending == "one is late":
            late(comm)


def late(comm: Any) -> None:
    """Rank 1 comes when rank 0 has complained, not before."""
    checking.PATIENCE_S = 0.01
    if comm.rank == 1:
        world().recv(source=0, tag=1)
    if comm.rank == 0:
        checking.say = lambda line: (print(line, flush=True), world().send(None, 1, tag=1))
    dissemination_barrier(comm)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ranks.CollectiveMismatchError:
        if sys.argv[2].startswith("one leaves"):
            world().Barrier()  # reached if all ranks have the error
            sys.stdout.write("all have it\n")
            sys.stdout.flush()
            world().Barrier()
        raise
