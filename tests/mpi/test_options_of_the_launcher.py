"""What the options of `python -m mpi` do."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

import experiments.__main__ as gears
from inside import read_replay
from processes import run

ROOT = str(Path(__file__).parents[2])
RACE = "print([comm.recv() for _ in range(comm.size - 1)]) if comm.rank == 0 else comm.send(comm.rank, 0)"
UNSAFE = "comm.send(1, (comm.rank + 1) % comm.size)\ncomm.recv()"


def test_buffering_decides_whether_an_unsafe_program_hangs(launch):
    assert [launch(2, UNSAFE, "--buffering", how).status for how in ("none", "eager", "infinite")] == [3, 0, 0]


def test_explore_tells_outcomes_apart_by_what_ranks_print(launch):
    done = launch(3, RACE, "--explore")
    assert (done.status, done.lines[0].partition(",")[0]) == (0, "holds")
    assert (
        sum("results ['[1, 2]\\n', '', '']" in line or "results ['[2, 1]\\n', '', '']" in line for line in done.lines)
        == 2
    )
    done = launch(2, UNSAFE, "--explore", "50")
    assert (done.status, done.lines[0].partition(",")[0]) == (3, "fails")


def test_what_exploring_found_is_folded_to_a_terminal_and_to_nothing_else(launch, monkeypatch):
    wide = launch(2, UNSAFE, "--explore", "50").lines
    monkeypatch.setenv("COLUMNS", "50")
    assert launch(2, UNSAFE, "--explore", "50").lines == wide
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    folded = launch(2, UNSAFE, "--explore", "50").lines
    assert max(map(len, wide)) > 50 >= max(map(len, folded))
    assert " ".join(folded).split() == " ".join(wide).split()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("1 / comm.rank", 1),
        ("sys.exit(7 * comm.rank)", 7),
        ("comm.Abort(5)", 5),
        ("if comm.rank: 1 / comm.recv()\nelse: comm.recv()", 3),
        ("print(comm.rank)", 0),
    ],
)
def test_exploring_ends_with_the_status_of_what_it_found(launch, text, status):
    assert launch(2, f"import sys\n{text}", "--explore").status == status


def test_of_several_failures_a_hang_decides_the_status(launch):
    text = """
    if comm.rank:
        comm.send(comm.rank, 0)
    else:
        1 / (comm.recv() - 1)
        [comm.recv() for _ in range(2)]
    """
    assert launch(3, text, "--explore").status == 3


def test_the_report_of_a_hang_is_folded_to_a_terminal_and_to_nothing_else(launch, monkeypatch):
    wide = launch(2, UNSAFE, "--buffering", "none").err.splitlines()
    monkeypatch.setenv("COLUMNS", "60")
    assert launch(2, UNSAFE, "--buffering", "none").err.splitlines() == wide
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    folded = launch(2, UNSAFE, "--buffering", "none").err.splitlines()
    assert max(map(len, wide)) > 60 >= max(map(len, folded))
    assert " ".join(folded).split() == " ".join(wide).split()


def test_a_replay_makes_the_choices_of_a_schedule_again(launch):
    assert [launch(3, RACE, "--replay", f"none:{n}").lines for n in (0, 1)] == [["[1, 2]"], ["[2, 1]"]]


def test_the_network_sets_the_time(launch):
    text = "comm.Barrier()\nif comm.rank == 0: print(MPI.Wtime())"
    times = [float(launch(2, text, "--network", name).lines[0]) for name in ("nvlink", "ethernet")]
    assert 0 < times[0] < times[1]


def test_the_seed_begins_the_random_numbers(launch):
    first, again, other = (launch(1, "import random; print(random.random())", "--seed", s).lines for s in "112")
    assert first == again != other


def test_faults_break_what_they_say(launch):
    done = launch(3, "comm.Barrier()", "--faults", "Crash(rank=1, send=1)", "--faults", "[Delay(by_ps=5)]")
    assert done.status == 3
    assert "rank 1 has crashed" in done.err


def test_a_trace_is_written_for_perfetto(launch):
    assert launch(2, "comm.Barrier()", "--trace", "trace.json").status == 0
    assert launch(2, UNSAFE, "--buffering", "none", "--trace", "hang.json").status == 3
    for name in ("trace.json", "hang.json"):
        with open(name) as file:
            assert json.load(file)["traceEvents"]


def test_the_summary_counts_messages_bytes_and_waiting_by_rank_and_line(launch):
    done = launch(2, """
        import numpy as np
        x = np.zeros(1000, "B")
        if comm.rank == 0:
            comm.Send(x, 1)
            comm.Send(x, 1)
        else:
            comm.Recv(x)
            comm.Recv(x)
        comm.Bcast(x)
    """, "--network", "infiniband", "--summary")  # fmt: skip
    lines = done.err.splitlines()
    assert lines[0].startswith("2 ranks, 3 messages, 3,000 bytes, ")
    rows = [line.split() for line in lines]
    assert [row[2:4] for row in rows if row[:1] == ["rank"] and row[1:2] in (["0"], ["1"])] == [
        ["3", "3,000"],
        ["0", "0"],
    ]
    by_line = {row[0]: row[1:3] for row in rows if row and row[0].startswith("main.py")}
    assert by_line == {
        "main.py:8": ["1", "1,000"], "main.py:9": ["1", "1,000"], "main.py:11": ["0", "0"], "main.py:12": ["0", "0"],
        "main.py:13": ["1", "1,000"],
    }  # fmt: skip
    assert any(row[:2] == ["binomial_broadcast", "2"] for row in rows)
    assert next(row for row in rows if row and row[0] in by_line)[-1] == 20 * "#"  # the line that waited most


def test_an_algorithm_can_be_asked_for(launch):
    text = "import numpy as np; x = np.zeros(64); comm.Allreduce(MPI.IN_PLACE, x)"
    for name, region in (("ring", "ring_reduce_scatter"), ("double_tree", "double_tree_allreduce")):
        assert region in launch(4, text, "--algorithm", f"allreduce={name}", "--summary").err
    assert launch(4, text, "--algorithm", "allreduce=wrong").err.count("\n") == 1


def time_of_a_barrier(launch, n, work, *options):
    """Return when rank 0 has left a barrier before which all ranks did this work."""
    return float(launch(n, f"{work}\ncomm.Barrier()\nif comm.rank == 0: print(MPI.Wtime())", *options).lines[0])


def test_computing_takes_time_only_if_it_is_measured(launch):
    work = "sum(range(10**6))"
    assert time_of_a_barrier(launch, 2, work) < 1e-4 < time_of_a_barrier(launch, 2, work, "--compute", "measured")


class CPUTime:
    """Stands in for the CPU time of this thread: as much as programs say that they took."""

    taken_ns = 0

    def __call__(self):
        return self.taken_ns


@pytest.mark.parametrize(
    ("n", "how", "expected_s"), [(2, "measured", 0.01), (12, "measured", 0.01), (2, "measured:1000", 10)]
)
def test_all_ranks_compute_at_the_same_time_each_for_itself(launch, monkeypatch, n, how, expected_s):
    monkeypatch.setattr("mpi.launch.compute.thread_time_ns", CPUTime())
    work = "from mpi.launch import compute\ncompute.thread_time_ns.taken_ns += 10**7"
    assert 0 < time_of_a_barrier(launch, n, work, "--compute", how) - expected_s < 1e-4


def test_a_clock_shows_what_was_computed_since_it_was_looked_at(launch, monkeypatch):
    monkeypatch.setattr("mpi.launch.compute.thread_time_ns", CPUTime())
    text = """
        from mpi.launch import compute
        began = MPI.Wtime()
        compute.thread_time_ns.taken_ns += 10**7
        print(-began + (later := MPI.Wtime()), MPI.Wtime() - later)
    """
    seen, nothing = map(float, launch(1, text, "--compute", "measured").lines[0].split())
    assert 0.01 <= seen < 0.0101
    assert nothing < 1e-4


def test_the_same_program_runs_on_real_mpi(launch):
    launch(2, "got = comm.gather((comm.rank, sys.argv[1:]))\nif got: print(got)")
    done = run([sys.executable, "-m", "mpi", "-n", "2", "--mpi", "main.py", "x"], env=os.environ | {"PYTHONPATH": ROOT})
    assert (done.returncode, done.stdout) == (0, "[(0, ['x']), (1, ['x'])]\n")


def test_the_program_runs_in_a_python_with_the_options_of_python_and_the_word_python_may_stand_before_them(launch):
    launch(1, "print(sys.flags.optimize, sys.warnoptions, sys.argv[1:], comm.rank)\nassert not sys.argv")
    command = [sys.executable, "-m", "mpi", "-n", "2", "python", "-u", "-W", "error", "-OO", "-m", "mpi4py"]
    done = run([*command, "main.py", "-u"], env=os.environ | {"PYTHONPATH": ROOT})
    assert (done.returncode, done.stdout) == (0, "2 ['error'] ['-u'] 0\n2 ['error'] ['-u'] 1\n"), done.stderr


def test_the_word_python_may_stand_before_the_program(launch):
    for words in (["python", "main.py"], ["/usr/bin/python3.11", "-m", "mpi4py", "main.py"]):
        assert launch(2, "print(comm.rank)", args=(*words,)).lines == ["0", "1"]
    done = launch(1, "", "-bb")  # here, where no Python can be started in the place of this one
    text = "got -b -b, expected no option of Python here; remedy: start Python with it"
    assert done == (2, [], f"python -m mpi: {text}\n")


def test_gears_run_is_the_same_command(launch, capsys):
    launch(2, "print(comm.rank)")
    assert gears.main(["run", "-n", "2", "main.py"]) == 0
    assert gears.main(["run", "-n", "0", "main.py"]) == 2
    assert tuple(capsys.readouterr()) == (
        "0\n1\n",
        "gears run: argument -n/-np: got '0', expected a whole number from 1 up; see --help\n",
    )


def test_help_shows_every_option(capsys):
    from mpi.launch.command import main

    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for option in ("network", "buffering", "seed", "faults", "check", "trace", "summary", "explore", "compute", "mpi"):
        assert f"--{option}" in text


def test_examples_of_help_are_as_they_were_typed_and_its_replay_is_one(capsys):
    with pytest.raises(SystemExit):
        gears.main(["run", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "gears run -n 64 hello.py" in text
    assert "python -m mpi" not in text
    assert read_replay(text.partition("that --explore found, such as ")[2].split()[0]) == ("none", 1, [0, 1])


BOTH_SEND = "comm.Send(bytes(10**6), 1 - comm.rank); comm.Recv(bytearray(10**6)); comm.sendrecv('x', 1 - comm.rank)"


@pytest.mark.parametrize(("last", "status", "problem", "n"), [
    (BOTH_SEND, 3, "DeadlockError", 4), ("1 // 0", 1, "ZeroDivisionError", 2), ("comm.Abort(5)", 5, "Abort(5)", 2),
])  # fmt: skip
def test_the_summary_of_a_program_that_fails_tells_how_far_it_came(launch, last, status, problem, n):
    done = launch(2, f"comm.sendrecv('x', 1 - comm.rank)\n{last}\n", "--summary")
    assert done.status == status
    assert problem in done.err
    assert re.search(rf"\n2 ranks, {n} messages, [\d,]+ bytes, .* µs\n\nrank .*\n.*main.py:4 +2 ", done.err, re.DOTALL)
