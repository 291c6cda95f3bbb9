"""Calibration finds the network that it runs on: exactly the model on simulated ranks, a usable one on real MPI."""

from __future__ import annotations

import pytest

import ranks
from ranks.real import launch


@pytest.mark.parametrize("name", ["alpha-beta", "infiniband", "ethernet", "pcie"])
@pytest.mark.parametrize("buffering", ["none", "eager", "infinite"])
def test_calibrating_a_simulated_network_finds_its_alpha_and_beta(name: str, buffering: str) -> None:
    network = ranks.presets[name]
    run = ranks.run(ranks.calibrate, 3, network=network, buffering=buffering)
    assert run.results[0] == run.results[1] == run.results[2]
    found = run.results[0].inter
    # Virtual seconds are floats of 1e-16 relative error at 1e-3 s and more: far below one part in a million.
    assert found.latency_ps == pytest.approx(network.inter.latency_ps + 2 * network.overhead_ps, rel=1e-6)
    assert found.fs_per_byte == pytest.approx(network.inter.fs_per_byte, rel=1e-6)
    assert run.results[0].reduce_fs_per_byte == 0


def test_one_rank_cannot_be_calibrated() -> None:
    with pytest.raises(ValueError, match="got 1 ranks and repeats=30, expected at least 2 and 1"):
        ranks.run(ranks.calibrate, 1)


def test_real_mpi_is_calibrated_to_positive_costs_alike_on_all_ranks(tmp_path) -> None:  # type: ignore[no-untyped-def]
    program = tmp_path / "program.py"
    program.write_text(
        "import ranks\nfrom ranks.real import world\ncomm = world()\nn = ranks.calibrate(comm)\n"
        "assert comm.allgather(n) == [n] * comm.size\n"
        "assert n.inter.latency_ps > 0 and n.inter.fs_per_byte > 0 and n.reduce_fs_per_byte > 0, n\n"
        "comm.rank or print('calibrated', n.inter)\n"
    )
    run = launch(3, [str(program)], timeout_s=60)
    assert run.returncode == 0, run.stderr
    assert "calibrated Link(" in run.stdout
    print(run.stdout)
