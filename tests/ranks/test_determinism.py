"""Claims about determinism: the same program, arguments and seed give the same run, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import ranks
from processes import HANG_S

JITTERY = ranks.Network(
    name="jittery", inter=ranks.Link(900, 70), intra=ranks.Link(50, 3), ranks_per_node=2, shared_node_port=True,
    overhead_ps=11, jitter_ps=500, poll_ps=37,
)  # fmt: skip


def mixed(comm: ranks.Comm) -> Any:
    """Wildcards, polls, Waitany, sub-communicators and work that depends on what came."""
    sub = comm.Split(comm.rank % 2, -comm.rank)
    got: list[Any] = [sub.sendrecv(f"rank {comm.rank}", (sub.rank + 1) % sub.size)]
    if comm.rank == 0:
        for _ in range(3 * (comm.size - 1)):
            source, n = comm.recv()
            got.append((source, n))
            comm.send(len(got), source)
        return got
    for n in range(3):
        ranks.spend(comm, hash((comm.rank, n, *map(len, map(str, got)))) % 2000)
        comm.send((comm.rank, n), 0)
        request = comm.irecv(source=0)
        while not (done := request.test())[0]:
            ranks.spend(comm, 10)
        got.append(done[1])
    return got


def digest() -> str:
    """Return all that there is to say about some runs of `mixed`."""
    parts = []
    for buffering in ("none", "eager", "infinite"):
        for seed in range(2):
            run = ranks.run(mixed, 5, network=JITTERY, buffering=buffering, seed=seed, trace=True)
            parts.append((run.results, run.times_ps, run.sends, run.bytes_received, run.trace.events))
    return repr(parts)


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_another_process_gives_the_same_results_trace_and_clock(hash_seed: str) -> None:
    code = "import test_determinism; print(test_determinism.digest())"
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=HANG_S)
    assert run.stderr == ""
    assert run.stdout.strip() == digest()


@pytest.mark.parametrize("network", [*ranks.presets, JITTERY], ids=str)
def test_a_trace_or_a_check_changes_nothing(network: Any) -> None:
    plain, traced, checked = (
        ranks.run(mixed, 5, network=network, **options) for options in ({}, {"trace": True}, {"check": True})
    )
    for other in (traced, checked):
        assert (other.results, other.times_ps, other.bytes_sent) == (plain.results, plain.times_ps, plain.bytes_sent)


def test_a_program_that_takes_chance_from_outside_is_found_by_the_check() -> None:
    state = {"runs": 0}

    def program(comm: ranks.Comm) -> int:
        state["runs"] += comm.rank == 0
        return state["runs"] * comm.rank

    ranks.run(program, 3)
    with pytest.raises(ranks.NondeterminismError) as caught:
        ranks.run(program, 3, check=True)
    assert (caught.value.rank, caught.value.got, caught.value.expected) == (1, "3", "2")
    assert "random numbers, time, globals" in caught.value.remedy


def test_the_check_compares_results_of_any_kind() -> None:
    def program(comm: ranks.Comm) -> Any:
        return [np.array([np.nan, 1.0]), {comm.rank}, (comm.rank, str(comm.rank)), lambda: None][comm.rank]

    assert len(ranks.run(program, 4, check=True).results) == 4


def test_a_run_inside_a_run_is_a_world_of_its_own() -> None:
    def program(comm: ranks.Comm) -> Any:
        inner = ranks.run(lambda c: c.sendrecv(c.rank, 1 - c.rank), 2)
        return inner.results, comm.sendrecv(comm.rank, 1 - comm.rank), ranks.Wtime()

    (inner, got, time_s), *_ = ranks.run(program, 2).results
    assert (inner, got) == ([1, 0], 1)
    assert time_s == ranks.run(lambda c: c.sendrecv(c.rank, 1 - c.rank), 2).time_s
