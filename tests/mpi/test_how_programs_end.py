"""How a program ends that `python -m mpi` runs: exit status and what the user reads, as under mpiexec -m mpi4py."""

import json
import os
import sys
import warnings
from pathlib import Path

import pytest

from mpi.launch.endings import leaks_in_a_line
from processes import run
from ranks.real import find_mpiexec

ROOT = str(Path(__file__).parents[2])
# What each does to the status under `mpiexec -n 2 python -m mpi4py`, too: the last test compares.
STATUSES = {
    "pass": 0,
    "sys.exit()": 0,
    "sys.exit(0)": 0,
    "if comm.rank: sys.exit(5)\ncomm.Barrier()": 5,
    "if comm.rank: sys.exit(300)\ncomm.Barrier()": 44,
    "if comm.rank: sys.exit('enough')\ncomm.Barrier()": 1,
    "if comm.rank: 1 / 0\ncomm.Barrier()": 1,
    "if comm.rank: comm.Abort(7)\ncomm.Barrier()": 7,
}


@pytest.mark.parametrize(("text", "status"), STATUSES.items(), ids=list(STATUSES))
def test_the_status_is_that_of_mpiexec(launch, text, status):
    assert launch(2, text).status == status


@pytest.mark.parametrize("text", ["if comm.rank: sys.exit(300)\ncomm.Barrier()", "if comm.rank: comm.Abort(7)"])
def test_real_mpi_gives_the_same_status(text, tmp_path):
    program = tmp_path / "main.py"
    program.write_text(f"import sys\nfrom mpi4py import MPI\ncomm = MPI.COMM_WORLD\n{text}")
    done = run([str(find_mpiexec()), "-n", "2", sys.executable, "-m", "mpi4py", str(program)])
    assert done.returncode == next(status for each, status in STATUSES.items() if each.startswith(text))


def test_a_text_given_to_exit_is_said(launch):
    assert launch(2, "if comm.rank: sys.exit('enough')\ncomm.recv()").err == "enough\n"
    assert launch(2, "if comm.rank: sys.exit([1])\ncomm.recv()")[::2] == (1, "[1]\n")


def test_only_the_rank_that_exits_runs_what_it_has_registered(launch):
    done = launch(2, "import atexit\natexit.register(print, comm.rank)\nif comm.rank: sys.exit(3)\ncomm.recv()")
    assert (done.status, done.lines) == (3, ["1"])


@pytest.mark.parametrize(("end", "status"), [("1 / 0", 1), ("sys.exit(4)", 4), ("os._exit(4)", 4)])
def test_when_one_rank_fails_the_others_go_on_until_they_wait(launch, end, status):
    done = launch(3, f"import os\nif comm.rank == 0: {end}\nprint(comm.rank)\ncomm.Barrier()\nprint('never')")
    assert (done.status, sorted(done.lines)) == (status, ["1", "2"])
    assert done.err.count("raised on rank 0 of 3 at t=0 ") == (status == 1)  # the time when it failed


def test_a_rank_that_is_ended_from_outside_prints_no_more_as_if_it_were_killed(launch, monkeypatch):
    monkeypatch.setattr(json, "streams", [], raising=False)  # a place that all ranks and this test share
    done = launch(2, """
        import json

        class Loud:
            def __del__(self, streams=json.streams, sys=sys):
                streams.append(sys.stdout)
                print("destroyed")

        loud = Loud() if comm.rank == 0 else None
        try:
            print("pending ", end="")
            1 / 0 if comm.rank else comm.recv()
        finally:
            print("end of", comm.rank)
            sys.stderr.write(f"said by {comm.rank}\\n")
    """)  # fmt: skip
    assert (done.status, sorted(done.lines)) == (1, ["pending ", "pending end of 1"])
    assert "said by 1" in done.err
    assert "said by 0" not in done.err
    assert [stream.lines.is_over() for stream in json.streams] == [True]


def test_an_exception_goes_to_the_program_s_own_excepthook(launch):
    hook = "def hook(kind, value, where):\n    print(kind.__name__, value, where.tb_lineno)\nsys.excepthook = hook\n"
    assert launch(2, hook + "if comm.rank: raise ValueError(7)\ncomm.recv()") == (1, ["ValueError 7 7"], "")
    done = launch(2, hook.replace("\nsys", "; comm.Abort(9)\nsys") + "if comm.rank: raise ValueError(7)\ncomm.recv()")
    assert done == (9, ["ValueError 7 7"], "rank 1 called Abort(9)\n")
    assert launch(1, hook + "sys.exit(3)") == (3, [], "")


def test_os_exit_ends_one_rank_and_calls_nothing(launch):
    text = "import atexit, os\natexit.register(print, 'never')\nprint(comm.rank)\nos._exit(0)"
    assert launch(2, text) == (0, ["0", "1"], "")


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("t = Thread(target=lambda: comm.send(1, 0)); t.start(); t.join()", "send(dest=0, tag=0, int)"),
        (
            "q = Queue(); Thread(target=lambda: q.put(comm.recv())).start(); q.get()",
            "recv(source=ANY_SOURCE, tag=ANY_TAG)",
        ),
        ("Thread(target=comm.recv).start()", "recv(source=ANY_SOURCE, tag=ANY_TAG)"),
        ("Thread(target=lambda: comm.send(1, 0)).start(); comm.recv()", "send(dest=0, tag=0, int)"),
    ],
)
def test_a_thread_that_communicates_is_one_line(launch, text, call):
    done = launch(2, f"from queue import Queue\nfrom threading import Thread\nif comm.rank == 1:\n    {text}")
    assert (done.status, done.lines) == (2, [])
    assert done.err.startswith(f"python -m mpi: rank 1: {call} at ")
    assert ": got a call by a thread, expected one by the program itself" in done.err
    assert done.err.count("\n") == 1


def test_abort_says_who(launch):
    assert launch(3, "if comm.rank == 2: comm.Abort(7)\ncomm.recv()").err == "rank 2 called Abort(7)\n"


def test_a_traceback_has_the_frames_of_the_program_only_and_names_the_rank(launch):
    done = launch(3, {
        "helper.py": "def send(comm):\n    comm.send(1, dest=comm.size)\n",
        "main.py": "import helper\nif comm.rank == 1: helper.send(comm)\ncomm.Barrier()",
    })  # fmt: skip
    lines = done.err.splitlines()
    assert [line for line in lines if "File" in line] == [
        line for line in lines if "main.py" in line or ("helper.py" in line and "rank" not in line)
    ]
    assert sum("File" in line for line in lines) == 2
    assert "InvalidRankError: rank 1: send(dest=3, tag=0" in done.err
    assert lines[-1].startswith("raised on rank 1 of 3 ")


def test_a_hang_is_explained_at_once_by_lines_of_the_program(launch):
    done = launch(
        2, "import numpy as np\nx = np.zeros(10**5)\ncomm.Send(x, 1 - comm.rank)\ncomm.Recv(x, 1 - comm.rank)"
    )
    assert done.status == 3
    assert done.err.splitlines()[:2] == [
        "DeadlockError at t=0.2 µs: ranks 0 and 1 wait for each other (buffering=eager, seed=0)",
        "  rank 0  Send(dest=1, tag=0, 800000 B)  main.py:6  waits for rank 1 to receive (source=0, tag=0)",
    ]
    assert 'passes with buffering="infinite"' in done.err
    assert "ranks.run" not in done.err


def test_ranks_that_disagree_about_a_collective_are_named(launch):
    done = launch(3, "comm.Barrier() if comm.rank else comm.allreduce(1)")
    assert done.status == 3
    assert "main.py:4" in done.err


def test_a_line_of_collectives_is_no_line_of_the_program(launch):
    done = launch(3, "if comm.rank: comm.bcast(1)")
    assert "main.py:4" in done.err
    assert "broadcast.py" not in done.err


def test_a_leak_is_a_warning_and_with_check_an_error(launch):
    with pytest.warns(UserWarning, match="nobody had received") as caught:
        assert launch(2, "if comm.rank: comm.send(1, 0)").status == 0
    with leaks_in_a_line():
        line = warnings.formatwarning(caught[0].message, caught[0].category, "file.py", 1)
        other = warnings.formatwarning(UserWarning("mine"), UserWarning, "file.py", 1)
    assert line.startswith("warning: rank 1: send to rank 0, tag 0")
    assert line.count("\n") == 1
    assert other.startswith("file.py:1: UserWarning: mine")
    done = launch(2, "if comm.rank: comm.send(1, 0)", "--check")
    assert done.status == 1
    assert "UnreceivedMessageError" in done.err


def test_ctrl_c_is_one_line(launch):
    done = launch(2, "if comm.rank: raise KeyboardInterrupt\ncomm.recv()")
    assert (done.status, done.err) == (130, "interrupted\n")


def test_a_reader_that_leaves_ends_the_program_quietly_among_files_that_are_called_like_ours(tmp_path):
    for name in ("collectives", "ranks", "random"):
        (tmp_path / f"{name}.py").write_text("1 / 0")
    (tmp_path / "main.py").write_text("for n in range(10**5): print('a line of this rank')")
    command = f"{sys.executable} -m mpi -n 2 main.py | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = run(["bash", "-c", command], cwd=tmp_path, env=os.environ | {"PYTHONPATH": ROOT})
    assert (done.returncode, done.stdout, done.stderr) == (141, "a line of this rank\n", "")


@pytest.mark.parametrize(
    ("n", "args", "err"),
    [
        (0, ("main.py",), "got '0', expected a whole number from 1 up; see --help"),
        (99_999_999, ("main.py",), "99,999,999 ranks, which need about 6,519.3 GiB of memory"),
        (2, ("other.py",), "got other.py, which does not exist, expected a Python file"),
        (2, (".",), "got the folder ., expected a file"),
        (2, ("wrong.py",), "wrong.py:1: '(' was never closed: print("),
        (2, ("data.py",), "data.py"),
        (2, (), "got no program, expected a file, or -m and a module, or -c and a text; see --help"),
        (2, ("-c", "1 +"), "-c: invalid syntax: 1 +"),
        (2, ("-m", "no.such"), "-m: got no.such, which is not found"),
        (2, ("--wrong", "main.py"), "--wrong"),
        (2, ("--network", "wrong", "main.py"), "invalid choice: 'wrong'"),
        (2, ("--replay", "wrong", "main.py"), "got 'wrong', expected one that --explore shows, such as none:0,1"),
        (2, ("--faults", "Crash(2)", "main.py"), "arguments are written name=value"),
        (2, ("--faults", "print(a=1)", "main.py"), "known are Crash, Delay, Drop"),
        (2, ("--faults", "Crash(rank=1)", "main.py"), "send"),
        (2, ("--compute", "fast", "main.py"), "expected measured or measured:FACTOR"),
        (2, ("--trace", "no/such/folder", "main.py"), "expected a file that can be written"),
        (2, ("--explore", "--check", "main.py"), "--explore: got --check too"),
        (2, ("--mpi", "--check", "main.py"), "--check is for simulated ranks, and --mpi asks for real ones"),
        (2, ("-c", "import os; os.fork()"), "rank 0: got a call of os.fork, expected none"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_one_line_and_status_2(launch, n, args, err):
    done = launch(n, {"main.py": "", "wrong.py": "print(", "data.py": "\0"}, args=args)
    assert (done.status, done.lines, done.err.count("\n")) == (2, [], 1), done
    assert done.err.startswith("python -m mpi: ")
    assert err in done.err


def test_pytest_on_every_rank_shows_what_comes_of_each(tmp_path):
    text = "from mpi4py import MPI\ndef test_it(): assert MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank) == 3"
    (tmp_path / "test_it.py").write_text(text)
    pytest_on = [sys.executable, "-m", "mpi", "-n", "3", "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = run(pytest_on, cwd=tmp_path, env=os.environ | {"PYTHONPATH": ROOT, "PYTEST_ADDOPTS": "-q"})
    assert (done.returncode, done.stdout.count("1 passed")) == (0, 3)
