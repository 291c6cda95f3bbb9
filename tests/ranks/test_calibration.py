"""Calibration finds the network that it runs on: exactly the model on simulated ranks, a usable one on real MPI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import collectives
import ranks
from inside import MeasuredLink, MeasuredNetwork, Times, calibrate_table
from real_mpi import launch


@pytest.mark.parametrize(
    ("name", "buffering"),
    [
        ("infiniband", "none"), ("infiniband", "infinite"),
        *((name, "eager") for name in ("alpha-beta", "infiniband", "ethernet", "nvlink")),
    ],
)  # fmt: skip
def test_calibrating_a_simulated_network_finds_its_alpha_and_beta(name: str, buffering: str) -> None:
    network = ranks.presets[name]
    run = ranks.run(ranks.calibrate, 3, 3, network=network, buffering=buffering)
    assert run.results[0] == run.results[1] == run.results[2]
    found = run.results[0].inter
    # Virtual seconds are floats of 1e-16 relative error at 1e-3 s and more: far below one part in a million.
    assert found.latency_ps == pytest.approx(network.inter.latency_ps + 2 * network.overhead_ps, rel=1e-6)
    assert found.fs_per_byte == pytest.approx(network.inter.fs_per_byte, rel=1e-6)
    for n_bytes in (1, 100, 5000, 100_000, 3_000_000, 70_000_000):
        expected = network.inter.transfer_ps(n_bytes)
        assert found.transfer_ps(n_bytes) == pytest.approx(expected, rel=1e-4, abs=2000)
    assert run.results[0].reduce_fs_per_byte == run.results[0].reduce_ps(10**6) == 0


def test_shared_memory_is_measured_where_there_is_some() -> None:
    network = ranks.presets["nvlink"]
    p = 4
    found = ranks.run(ranks.calibrate, p, 3, network=network).results[0].memory
    sync_ps = max(2 * (p - 1) * network.overhead_ps, network.intra.latency_ps + p * network.overhead_ps)
    assert found.latency_ps == pytest.approx(sync_ps, rel=1e-6)
    assert found.transfer_ps(1 << 18) == pytest.approx(network.intra.transfer_ps(1 << 18), rel=1e-4)
    assert ranks.run(ranks.calibrate, 2, 3, network="ethernet").results[0].memory is None


def test_tables_are_lines_between_and_beyond_their_sizes() -> None:
    table = ((0, 0), (10, 100), (20, 400), (40, 400))
    link = MeasuredLink(7, 1, table)
    assert [link.transfer_ps(n) for n in (0, 5, 10, 11, 20, 30, 40, 400)] == [0, 50, 100, 130, 400, 400, 400, 400]
    network = MeasuredNetwork(name="measured", inter=link, reductions=((0, 0), (10, 30)))
    assert [network.reduce_ps(n) for n in (0, 1, 10, 30)] == [0, 3, 30, 90]
    assert network.message_ps(link, 10) == 107


def test_parts_of_larger_arrays_cost_what_lies_between_whole_arrays_and_parts_of_the_largest() -> None:
    times = Times(whole=((0, 5), (10, 100), (40, 400)), parts=((0, 5), (10, 190), (40, 400)), blocks=4)
    assert [dict(times.within(n))[10] for n in (0, 10, 20, 30, 40, 4000)] == [100, 100, 130, 160, 190, 190]
    sums = Times(((0, 0), (10, 30)), ((0, 0), (10, 60)), 4)
    memory = MeasuredLink(7, 0, ((0, 0), (10, 50), (20, 200)))
    network = MeasuredNetwork(name="measured", inter=MeasuredLink(0, 0), messages=times, sums=sums, memory=memory)
    seen = network.within(20)
    assert seen.inter == seen.intra == seen.itself == MeasuredLink(5, 9000, ((0, 0), (10, 125), (40, 395)))
    assert (seen.reduce_ps(10), seen.memory.latency_ps, seen.memory.transfer_ps(5)) == (40, 7, 50)
    assert network.within(0).memory is memory
    plain = MeasuredNetwork(name="measured", inter=MeasuredLink(0, 0))
    assert plain.within(100) is plain


def test_a_measured_network_prices_shared_memory_by_its_own_table() -> None:
    slow, fast = MeasuredLink(10**6, 0, ((0, 0), (1, 10**6))), MeasuredLink(1000, 0, ((0, 0), (1, 10)))
    network = MeasuredNetwork(name="measured", inter=slow, ports=False, memory=fast, ranks_per_node=8)
    assert collectives.cost("flag_barrier", network, 4).time_ps == 1000
    assert collectives.cost("staged_allreduce", network, 2, 25, 4).time_ps == 1000 + 100 * 10


def test_a_choice_on_a_measured_network_counts_the_algorithms_own_code_and_nothing_that_overlaps() -> None:
    link = MeasuredLink(10**6, 100, ((0, 0), (10, 1)))
    calls = (
        ("recursive_doubling_allreduce", ((0, 0), (2 * 10**6, 10**9))), ("staged_allreduce", ((0, 5 * 10**9),)),
    )  # fmt: skip
    machines = [
        collectives.Machine.of(MeasuredNetwork(name="measured", inter=link, ranks_per_node=each, calls=calls), 4)
        for each in (1, 4)
    ]
    spread, together = (collectives.choose("allreduce", machine, 10**6, 4) for machine in machines)
    assert [name for name, reason in together.left_out if "cannot reduce meanwhile" in reason] == [
        "segmented_ring", "double_tree",
    ]  # fmt: skip
    assert dict(spread.left_out) == {"staged": "the ranks are on several nodes"}
    bare = collectives.cost("recursive_doubling_allreduce", machines[0].network, 4, 10**6, 4).time_ps
    assert dict(together.candidates)["recursive_doubling"] == bare + 10**9
    assert together.algorithm not in ("recursive_doubling", "staged")


def test_one_rank_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="got 1 ranks and repeats=25, expected at least 2 and 1"):
        ranks.run(ranks.calibrate, 1)
    with pytest.raises(ValueError, match="got 2 ranks and repeats=0"):
        ranks.run(ranks.calibrate, 2, 0)


def test_real_mpi_is_calibrated_to_positive_costs_alike_on_all_ranks(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # without what hurries calibrations in tests
    program = tmp_path / "program.py"
    program.write_text(
        "import ranks\nfrom ranks.real import world\ncomm = world()\nn = ranks.calibrate(comm, 5)\n"
        "assert comm.allgather(n) == [n] * comm.size\n"
        "for cost in (n.inter.transfer_ps, n.reduce_ps, n.memory.transfer_ps):\n"
        "    times = [cost(size) for size in (0, 10**3, 10**5, 10**7, 10**9)]\n"
        "    assert times == sorted(times) and times[0] == 0, times\n"
        "assert min(n.inter.latency_ps, n.inter.transfer_ps(10**9), n.reduce_ps(10**9), n.memory.latency_ps) > 0, n\n"
        "from ranks.both.calibrate import _PATIENCE_S\n"
        "comm.rank or print('calibrated', _PATIENCE_S, n.inter)\n"
    )
    run = launch(3, [str(program)])
    assert run.returncode == 0, run.stderr
    assert "calibrated 3.0 MeasuredLink(" in run.stdout


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
def test_a_table_of_noisy_times_takes_for_each_size_the_least_of_it_and_all_larger_ones(times: list[int]) -> None:
    sizes = [0, *(1 << shift for shift in range(len(times) - 1))]
    table = calibrate_table(dict(zip(sizes, times, strict=True)))
    assert [size for size, _ in table] == sizes
    assert [time for _, time in table] == [min(times[place:]) for place in range(len(times))]
