"""A test function on its ranks: simulated ones under one schedule or under all, or those of real MPI."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest

import mpi
import ranks
from mpi.launch.endings import hang_report, users_traceback
from mpi.launch.modules import project_is_library
from mpi.running import begin
from mpi.simulated import Simulated
from ranks import AbortError, CollectiveMismatchError, DeadlockError, RankExitError, real

_HANGS = (DeadlockError, CollectiveMismatchError)
_TIMEOUT_S = 300.0  # real MPI cannot tell that nothing moves
# A process of real MPI that skips its test ends all processes with this status, and says why after these words.
_SKIPPED, _SKIPS = 77, "this test is skipped: "
_EXPECTED = 78  # the status of one that raises what @pytest.mark.xfail(raises=...) expects


def run_test(item: Any) -> None:
    """Run a test function on as many ranks as it asks for, in the way that the options say."""
    options = item.config.option
    function = item.obj
    if iscoroutinefunction(function):
        pytest.fail("got an async test function, expected a plain one; remedy: call asyncio.run in it", pytrace=False)
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    size = item.callspec.params["n_ranks"]
    if options.ranks_mpi_process:
        _in_this_process(lambda: function(**arguments), _raises(item))
    elif options.ranks_mpi:
        _on_real_mpi(item, size)
    elif options.ranks_explore:
        _under_every_schedule(lambda: function(**arguments), size, options.ranks_max_runs)
    else:
        buffering = item.callspec.params.get("ranks_buffering", options.ranks_buffering)
        _with_hangs_told(lambda: mpi.run(lambda comm: function(**arguments), size, buffering=buffering))


def _with_hangs_told(run: Callable[[], Any]) -> Any:
    """Return run(); a hang, an exit and an abort are told by their texts alone, which name lines of the test."""
    try:
        with project_is_library():
            return run()
    except _HANGS as hang:
        failure = _told(hang_report(hang), type(hang))
    except (AbortError, RankExitError) as end:
        failure = _told(str(end), type(end))
    except pytest.skip.Exception as skipped:
        skipped.__notes__ = []  # the summary shows the reason only
        raise
    raise failure


def _told(text: str, kind: type[BaseException]) -> BaseException:
    """Return a failure that pytest shows by its text alone, and that xfail(raises=kind) expects."""
    of_any_kind = {"__init__": lambda self, text: None, "__module__": pytest.fail.Exception.__module__}
    failure: Any = type("Failed", (pytest.fail.Exception, kind), of_any_kind)(text)
    failure.msg, failure.pytrace = text, False
    return failure  # type: ignore[no-any-return]


def _raises(item: Any) -> tuple[type[BaseException], ...]:
    """Return what the marks of a test expect it to raise."""
    given = [mark.kwargs.get("raises", ()) for mark in item.iter_markers("xfail")]
    return tuple(kind for each in given for kind in (each if isinstance(each, tuple) else [each]))


def _under_every_schedule(function: Callable[[], Any], size: int, max_runs: int) -> None:
    def program(comm: Any) -> None:
        begin(comm)
        function()

    def explore() -> None:
        found = ranks.explore(program, size, max_runs=max_runs, comm_type=Simulated)
        if found.failures:
            failure = found.failures[0].failure
            assert failure is not None
            failure.add_note(str(found))
            raise failure

    _with_hangs_told(explore)


def _in_this_process(function: Callable[[], Any], expected: tuple[type[BaseException], ...]) -> None:
    """Run a test function as a rank of real MPI; whatever it raises ends all ranks."""
    comm = real.world()
    try:
        function()
    except pytest.skip.Exception as skipped:
        print(f"{_SKIPS}{skipped.msg}", file=sys.stderr, flush=True)
        comm.Abort(_SKIPPED)
    except BaseException as problem:
        text = "".join(users_traceback(problem))
        print(f"rank {comm.rank} of {comm.size}:\n{text}", end="", file=sys.stderr, flush=True)
        comm.Abort(_EXPECTED if isinstance(problem, expected) else 1)
    comm.Barrier()


def _on_real_mpi(item: Any, size: int) -> None:
    config = item.config
    name = f"{item.path}::{item.nodeid.partition('::')[2]}"
    settings = ["-c", str(config.inipath)] if config.inipath is not None else []
    settings += ["--rootdir", str(config.rootpath), "-o", "addopts=", "-p", "no:cacheprovider", "--capture=no", "-q"]
    parallel = ["--ranks-parallel"] if config.option.ranks_parallel else []
    plugin = ["-p", "mpi.testing.plugin", "--ranks-mpi-process", *parallel]
    done = real.launch(size, ["-m", "pytest", *settings, *plugin, name], timeout_s=_TIMEOUT_S)
    if done.returncode == _SKIPPED:
        pytest.skip(done.stderr.rpartition(_SKIPS)[2].partition("\n")[0])
    if done.returncode:
        text = f"on {size} processes of real MPI:\n{done.stderr or done.stdout}"
        expected = _raises(item) if done.returncode == _EXPECTED else ()
        raise _told(text, *expected[:1]) if expected else pytest.fail.Exception(text, pytrace=False)
