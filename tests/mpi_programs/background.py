"""Run under mpiexec: operations in the background on real MPI. Each rank says on one line that it is done."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np

import collectives
import ranks
from claims import fixed_cases, same
from in_background import ALGORITHMS, claim, polled_for, waited_for
from ranks.real import world


def claims_hold(comm: Any) -> None:
    for index, case in enumerate(fixed_cases()):
        name = sorted(ALGORITHMS)[index % len(ALGORITHMS)]
        claim(comm, case, name, (waited_for, polled_for)[index // len(ALGORITHMS) % 2])


def several_under_way(comm: Any) -> None:
    other = comm.Dup()
    for turn in range(10):
        begun = []
        for index, n in enumerate((1, 100_000, 7, 300_000)):
            for where in (comm, other):
                x = np.arange(n) + 10 * index + turn + comm.rank
                begun.append((x, ranks.start(collectives.ring_allreduce, where, x)))
        expected = [collectives.ring_allreduce(comm, x) for x, _ in begun]
        for index in np.random.default_rng([turn, comm.rank]).permutation(len(begun)):
            same(begun[index][1].wait(), expected[index])
    other.Free()


def front_doors(comm: Any) -> None:
    x = np.arange(5.0) + comm.rank
    requests = [
        collectives.iallreduce(comm, x), collectives.ibroadcast(comm, x, root=comm.size - 1),
        collectives.ialltoall(comm, np.stack([x] * comm.size)), collectives.iallreduce(comm, x, algorithm="two_level"),
    ]  # fmt: skip
    total, last, every, again = [request.wait() for request in requests]
    same(total, np.arange(5.0) * comm.size + sum(range(comm.size)))
    same(again, total)
    same(last, np.arange(5.0) + comm.size - 1)
    same(every, np.arange(5.0) + np.arange(comm.size)[:, None])


def keeps(comm: Any, mark: int) -> list[int]:
    scratch = ranks.kept(comm, keeps, lambda: np.zeros(1, int))
    comm.Sendrecv(np.array([mark]), (comm.rank + 1) % comm.size, 1, scratch, (comm.rank - 1) % comm.size, 1)
    return [mark, int(scratch[0])]


if __name__ == "__main__":
    claims_hold(world())
    several_under_way(world())
    front_doors(world())
    both = [ranks.start(keeps, world(), mark) for mark in (1, 2)]
    assert [request.wait() for request in both] == [[1, 1], [2, 2]]
    sys.stdout.write(f"rank {world().rank} is done\n")
