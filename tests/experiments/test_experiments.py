"""Claims about the experiments' scripts: what they print, the files they write, and how they refuse bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import processes
from experiments import dissemination_barrier, ring_allreduce
from experiments.lab import cli, options, shares, worlds
from experiments.pictures import ring
from ranks import real

ROOT = Path(__file__).parents[2]
RING, BARRIER = "ring_allreduce", "dissemination_barrier"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}


def run(script: str, *argv: object, folder: Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Return how the script ended, started as a user does."""
    command = [*launcher, sys.executable, str(ROOT / "experiments" / f"{script}.py"), *map(str, argv)]
    return processes.run(command, cwd=folder, env=ENVIRONMENT)


def call(script, monkeypatch, *argv: object) -> int:
    """Return the exit status of the script, run in this process."""
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, argv)])
    return script.main()


def row(output: str, name: str) -> list[str]:
    """Return the cells of the row `name` of a table, behind those that make the name."""
    begin = re.compile(r" *" + " +".join(name.split()) + "  +")
    line = next(line for line in output.splitlines() if begin.match(line))
    return re.split(r"\s{2,}", begin.sub("", line).strip())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of .npy files, right and wrong, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        np.save(name, rng.standard_normal((6, 5)))
    np.save("wide", rng.standard_normal((5, 6)))
    np.save("ints", np.arange(30).reshape(6, 5))
    np.save("one", np.float64(1))
    np.savez("many", a=1)
    Path("here.png").mkdir()
    return tmp_path


# -- what they show ------------------------------------------------------------------------------------------


def test_ring_shows_expected_beside_measured_and_writes_pictures_and_trace(tmp_path):
    ended = run(
        RING,
        "--ranks",
        4,
        "--bytes",
        "64KiB",
        "--plot",
        "r.png",
        "--trace",
        "r.json",
        "--html",
        "r.html",
        folder=tmp_path,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    # 6 (2.7 µs + 16 KiB / 12 GB/s) + 3 (16 KiB of 1.5 ps a byte)
    time = "24.47 µs"
    assert row(ended.stdout, "ring_allreduce") == ["6", "6", "98,304", "98,304", time, time]
    assert row(ended.stdout, "naive_allreduce")[:4] == ["2", "2", "196,608", "196,608"]
    assert max(map(len, ended.stdout.splitlines())) <= 100
    for picture in ("r.png", "r-messages.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert "<h1>Ring all-reduce, " in (tmp_path / "r.html").read_text()
    phases = [event["ph"] for event in json.loads((tmp_path / "r.json").read_text())["traceEvents"]]
    assert phases.count("s") == phases.count("f") == 4 * 6


def test_barrier_shows_rounds_and_the_proof_and_writes_pictures_and_trace(tmp_path):
    ended = run(BARRIER, "--ranks", 10, "--plot", "b.svg", "--trace", "b.json", "--html", "b.html", folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert row(ended.stdout, "10 dissemination") == ["4", "4", "4", "4", "10.80 µs", "10.80 µs"]
    assert row(ended.stdout, "10 central")[:4] == ["2", "2", "9", "9"]
    assert "Proved by vector clocks" in ended.stdout
    assert "rank 0 may leave before rank 1 has entered" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 100
    for picture in ("b.svg", "b-messages.svg"):
        assert "<svg" in (tmp_path / picture).read_text()
    assert json.loads((tmp_path / "b.json").read_text())["traceEvents"]
    assert "<h1>Dissemination barrier, " in (tmp_path / "b.html").read_text()


@pytest.mark.parametrize("network", ["ethernet", "dgx-h100", "dgx-a100-shared", "alpha-beta"])
@pytest.mark.parametrize("script", [ring_allreduce, dissemination_barrier])
def test_runs_on_other_networks_and_across_nodes(script, network, monkeypatch, capsys):
    size = ["--bytes", "4KiB"] if script is ring_allreduce else []
    assert call(script, monkeypatch, "--ranks", 9, "--network", network, *size) == 0
    assert "≤" not in capsys.readouterr().out  # exact, not only bounded


@pytest.mark.parametrize("argv", [["--ranks", 3, "--bytes", 0], ["--ranks", 7, "--bytes", 4]])
def test_ring_takes_arrays_smaller_than_p(argv, monkeypatch, capsys):
    assert call(ring_allreduce, monkeypatch, *argv) == 0
    assert "bit for bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "ranks", "each"),
    [
        (["--npy", "a.npy", "b.npy", "c.npy"], 3, "float64 of shape (6, 5)"),
        (["--npy", "a.npy", "--ranks", 2], 2, "float64 of shape (3, 5)"),
        (["--npy", "ints.npy", "ints.npy"], 2, "int64 of shape (6, 5)"),
    ],
)
def test_files_are_one_a_rank_or_one_to_be_split(argv, ranks, each, here, monkeypatch, capsys):
    assert call(ring_allreduce, monkeypatch, *argv) == 0
    output = capsys.readouterr().out
    assert f"Ranks: {ranks} simulated" in output
    assert each in output


@pytest.mark.parametrize("dtype", [">f4", "f2", "u1", "F", "i8"])
def test_files_of_any_number_type_are_reduced(dtype, here, monkeypatch, capsys):
    np.save("x", (np.arange(40) * 7).astype(dtype))
    assert call(ring_allreduce, monkeypatch, "--npy", "x.npy", "--ranks", 4) == 0


@pytest.mark.parametrize(
    ("size", "says"),
    [("64", "the ring takes 4.84 times as long as naive"), ("1MiB", "naive takes 6.54 times as long as the ring")],
)
def test_the_slower_one_is_said_to_take_longer(size, says, monkeypatch, capsys):
    assert call(ring_allreduce, monkeypatch, "--bytes", size) == 0
    assert f"Here {says}." in capsys.readouterr().out


def test_another_seed_brings_other_numbers():
    drawn = [shares.random_share(64, seed)(0).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_ring_in_motion_is_small_and_has_an_image_for_each_part_of_each_step(tmp_path, monkeypatch, capsys):
    path = tmp_path / "ring.gif"
    assert call(ring_allreduce, monkeypatch, "--ranks", 4, "--bytes", 64, "--animate", path) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    with Image.open(path) as moving:
        assert (moving.size, moving.n_frames) == (ring.SIZE, 6 * ring.MOVES + 1)
    assert path.stat().st_size < 400 * 1024


# -- real MPI ------------------------------------------------------------------------------------------------


def test_ring_on_real_mpi_counts_what_the_formula_says(here):
    ended = run(RING, "--mpi", "--npy", "a.npy", "b.npy", "--plot", "mpi.png", folder=here)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert row(ended.stdout, "ring_allreduce")[:5] == ["2", "2", "240", "240", "-"]
    assert row(ended.stdout, "native Allreduce")[-1].endswith("s")
    assert ended.stdout.count("bit for bit") == 1  # one rank speaks
    assert (here / "mpi.png").read_bytes().startswith(b"\x89PNG")


def test_barrier_on_real_mpi_waits_for_late_ranks(tmp_path):
    ended = run(BARRIER, "--mpi", "--ranks", 2, folder=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert row(ended.stdout, "2 dissemination")[:4] == ["1", "1", "1", "1"]
    assert "none left before the last one had entered" in ended.stdout


def test_under_mpiexec_uses_the_world_it_finds_and_refuses_another_number(tmp_path):
    launcher = ("env", "HYDRA_LAUNCHER=fork", str(real.find_mpiexec()), "-n", "2")
    ended = run(BARRIER, folder=tmp_path, launcher=launcher)
    assert ended.returncode == 0
    assert "Ranks: 2 processes of" in ended.stdout
    ended = run(BARRIER, "--ranks", 3, folder=tmp_path, launcher=launcher)
    assert ended.returncode == 2
    assert "got 2 MPI processes, expected --ranks 3; remedy: mpiexec -n 3" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


# -- bad input -----------------------------------------------------------------------------------------------

WRONG = {
    "--ranks 0": "argument --ranks: got '0', expected a whole number from 2 up; see --help",
    "--ranks two": "argument --ranks: got 'two', expected a whole number from 2 up; see --help",
    "--network carrier-pigeon": "argument --network: invalid choice: 'carrier-pigeon' (choose from",
    "--bytes 25Mo": "argument --bytes: got '25Mo', expected a size like 25MiB, 64KiB, 1MB or 1e6; see --help",
    "--bytes 10": "--bytes: got 10, expected a multiple of 4, the size of a float32",
    "--ranks 100000": "got --ranks 100000 --bytes 26214400, which need about",
    "--npy none.npy": "--npy none.npy: got no such file, expected an array of numbers",
    "--npy many.npz": "--npy many.npz: got an archive that numpy.savez wrote, which holds 'a', expected an array",
    "--npy one.npy": "got shape (), expected a first axis that 8 ranks can share equally; remedy: one file a rank",
    "--npy a.npy": "a first axis that 8 ranks can share equally; remedy: --ranks 2 or 3 or 6, or one file a rank",
    "--npy a.npy wide.npy": "wide.npy: got float64 (5, 6), expected float64 (6, 5) as in a.npy",
    "--npy a.npy ints.npy": "ints.npy: got int64 (6, 5), expected float64 (6, 5) as in a.npy",
    "--npy a.npy b.npy --ranks 3": "got 2 .npy files and 3 ranks, expected one file a rank, or one",
    "--plot picture.pdf": "argument --plot: got 'picture.pdf', expected a file name that ends in .png or .svg",
    "--plot none/picture.png": "argument --plot: got 'none/picture.png', expected a file that can be written; "
    "remedy: mkdir -p none",
    "--plot here.png": "argument --plot: got 'here.png', expected a file that can be written; it is a folder",
    "--ranks 1": "argument --ranks: got '1', expected a whole number from 2 up",
    "--animate ring.png": "argument --animate: got 'ring.png', expected a file name that ends in .gif",
    "--npy a.npy b.npy --seed 1": "got --npy and --seed, which is for random numbers, expected one of them",
    "--mpi --animate ring.gif": "--animate is for simulated ranks, and real MPI was asked for",
    "--html ring.txt": "argument --html: got 'ring.txt', expected a file name that ends in .html",
    "--trace trace": "argument --trace: got 'trace', expected a file name that ends in .json",
    "--json .json/": "argument --json: got '.json/', expected a file name that ends in .json",
    "--csv t.txt": "argument --csv: got 't.txt', expected a file name that ends in .csv",
    "--seed -1": "argument --seed: got '-1', expected a whole number from 0 up",
    "--mpi --trace t.json": "--trace is for simulated ranks, and real MPI was asked for; remedy: leave one out",
    "--mpi --network pcie": "--network is for simulated ranks, and real MPI was asked for",
    "--sideways": "unrecognized arguments: --sideways",
}


@pytest.mark.parametrize("argv", WRONG)
def test_bad_input_is_one_line_and_status_2(argv, here, monkeypatch, capsys):
    assert call(ring_allreduce, monkeypatch, *argv.split()) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert WRONG[argv] in error
    assert len(error.splitlines()) == 1


def test_a_missing_library_names_the_extra_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert call(ring_allreduce, monkeypatch, "--plot", tmp_path / "x.png") == 2
    assert 'matplotlib is not installed; remedy: install the extra "show"' in capsys.readouterr().err


def test_a_page_needs_no_library_for_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = tmp_path / "x.html"
    assert call(ring_allreduce, monkeypatch, "--bytes", "1KiB", "--ranks", 2, "--html", page) == 0
    assert "</html>" in page.read_text()


def test_missing_mpi_names_the_extra_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert call(ring_allreduce, monkeypatch, "--mpi", "--ranks", 2) == 2
    error = capsys.readouterr().err
    assert 'the extra "mpi"' in error
    assert len(error.splitlines()) == 1


def test_ctrl_c_ends_in_one_line_and_status_130(tmp_path):
    command = [sys.executable, "-u", str(ROOT / "experiments" / f"{BARRIER}.py"), "--ranks", "50000"]
    with processes.Started(command, cwd=tmp_path, env=ENVIRONMENT) as process:
        assert process.stdout.readline()  # it is at work
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=processes.HANG_S)
    assert (process.returncode, error) == (130, "interrupted\n")


# -- a script that could not fail would prove nothing ---------------------------------------------------------


def test_a_wrong_sum_is_noticed(monkeypatch):
    monkeypatch.setitem(ring_allreduce.ALGORITHMS, RING, lambda comm, x: x.copy())
    with pytest.raises(AssertionError, match="ring_allreduce"):
        call(ring_allreduce, monkeypatch, "--ranks", 3, "--bytes", 48)


def test_one_message_too_many_is_noticed(monkeypatch):
    def twice(comm):
        return [dissemination_barrier.dissemination_barrier(comm) for _ in range(2)]

    monkeypatch.setitem(dissemination_barrier.BARRIERS, "dissemination", twice)
    with pytest.raises(AssertionError, match=r"dissemination: rounds \[2\], expected \[1\]"):
        call(dissemination_barrier, monkeypatch, "--ranks", 2)


def test_a_barrier_that_lets_ranks_go_early_is_noticed(monkeypatch):
    monkeypatch.setitem(dissemination_barrier.BARRIERS, "dissemination", dissemination_barrier.neighbours_only)
    with pytest.raises(AssertionError, match="dissemination"):
        call(dissemination_barrier, monkeypatch, "--ranks", 2)


@pytest.mark.parametrize(
    ("text", "n_bytes"), [("25MiB", 25 * 2**20), ("64KiB", 65_536), ("1e6", 10**6), ("2kb", 2000), ("12", 12)]
)
def test_sizes_are_read(text, n_bytes):
    assert ring_allreduce.parser().parse_args(["--bytes", text]).bytes == options.size(text) == n_bytes


def test_rounds_are_the_longest_chain_of_messages():
    def relay(comm, x):
        if comm.rank:
            comm.recv(source=comm.rank - 1)
        if comm.rank < comm.size - 1:
            comm.send(x, comm.rank + 1)

    assert worlds.rounds(relay, 6, "news") == 5
