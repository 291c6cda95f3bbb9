"""The pytest plugin: `@pytest.mark.ranks(4)` runs a test function on four simulated ranks.

    @pytest.mark.ranks([1, 2, 3, 7])
    def test_everyone_gets_the_sum(comm):
        assert comm.allreduce(comm.rank) == sum(range(comm.size))

See docs/testing.md. Nothing of `mpi` is loaded before the first such test is collected.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

BUFFERINGS = ("none", "eager", "infinite")


def pytest_addoption(parser: Any) -> None:
    """Add the options."""
    add = parser.getgroup("ranks", "tests on simulated ranks").addoption
    how = "whether a standard send is buffered: none, eager (if it is small; the default), infinite, or all three"
    add("--ranks-buffering", choices=(*BUFFERINGS, "all"), default="eager", metavar="HOW", help=how)
    add("--ranks-explore", action="store_true", help="run each test under every schedule that can differ")
    most = "with --ranks-explore: the most runs in each way of buffering (default 10,000)"
    add("--ranks-max-runs", type=int, default=10_000, metavar="N", help=most)
    add("--ranks-mpi", action="store_true", help="run the tests on real MPI, each in processes of its own")
    marked = "run tests with @pytest.mark.parallel, as mpi-pytest has it, on simulated ranks, without mpiexec"
    add("--ranks-parallel", action="store_true", help=marked)
    add("--ranks-mpi-process", action="store_true", help="used by the plugin alone: this process is one of those")


def pytest_configure(config: Any) -> None:
    """Register the marks; refuse options that contradict each other."""
    options = config.option
    asked = [name for name in ("ranks_explore", "ranks_mpi") if getattr(options, name)]
    asked += ["ranks_buffering"] if options.ranks_buffering != "eager" else []
    if len(asked) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise pytest.UsageError(f"got {names}, expected one of them; remedy: run the tests twice")
    config.addinivalue_line("markers", "ranks(n): run the test function on n ranks; a list of numbers runs it on each")
    if options.ranks_parallel:
        config.addinivalue_line("markers", "parallel(nprocs=3): run the test function on simulated ranks")


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> None:
    """Let a test file that asks for ranks, and what it imports, find the simulated mpi4py."""
    options = parent.config.option
    marks = {"ranks", "parallel"} if options.ranks_parallel else {"ranks"}
    if not (options.ranks_mpi or options.ranks_mpi_process) and _has_mark(module_path, marks):
        from mpi.launch import mpi4py_names

        mpi4py_names.install()


def _has_mark(path: Path, marks: set[str]) -> bool:
    """Return whether the code of a test file uses one of these marks; what stands in a text does not count."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if not any(f"mark.{mark}" in text for mark in marks):
        return False  # most files: reading their code would take longer
    try:
        nodes = ast.walk(ast.parse(text))
    except SyntaxError:
        return False  # pytest will tell
    return any(
        isinstance(node, ast.Attribute) and node.attr in marks and getattr(node.value, "attr", None) == "mark"
        for node in nodes
    )


def pytest_unconfigure() -> None:
    """Let `import mpi4py` find what is installed."""
    import sys

    if "mpi.launch.mpi4py_names" in sys.modules:
        from mpi.launch import mpi4py_names

        mpi4py_names.uninstall()


def pytest_generate_tests(metafunc: Any) -> None:
    """Make a test for each number of ranks, and for each way to buffer if all are asked for."""
    sizes = sizes_of(metafunc.definition)
    if sizes is None:
        return
    given: dict[str, list[Any]] = {"n_ranks": sizes}
    if metafunc.config.option.ranks_buffering == "all":
        given["ranks_buffering"] = list(BUFFERINGS)
    for name, values in given.items():
        if name not in metafunc.fixturenames:
            metafunc.fixturenames.append(name)
        metafunc.parametrize(name, values)


def sizes_of(item: Any) -> list[int] | None:
    """Return the numbers of ranks that a test asks for; None if it asks for none."""
    mark = item.get_closest_marker("ranks")
    if mark is None and item.config.option.ranks_parallel:
        mark = item.get_closest_marker("parallel")
    if mark is None:
        return None
    given = mark.kwargs.get("nprocs", mark.args[0] if mark.args else 3 if mark.name == "parallel" else None)
    sizes = list(given) if isinstance(given, (list, tuple, range)) else [given]
    if not sizes or any(type(size) is not int or size < 1 for size in sizes):
        raise pytest.Collector.CollectError(
            f"{item.nodeid}: got @pytest.mark.{mark.name} of {given!r}, expected a number of ranks from 1 up, or a "
            "list of such; remedy: write @pytest.mark.ranks(4)"
        )
    return sizes


@pytest.fixture
def comm(request: Any) -> Any:
    """The communicator of all ranks, `MPI.COMM_WORLD`; what it does depends on the rank that calls."""
    options = request.config.option
    if sizes_of(request.node) is None:
        pytest.fail(
            "got the fixture comm without a number of ranks, expected the mark; remedy: write @pytest.mark.ranks(4) "
            "above the test", pytrace=False,
        )  # fmt: skip
    if options.ranks_mpi or options.ranks_mpi_process:
        return None if options.ranks_mpi else _real_world()
    from mpi.intracommunicator import COMM_WORLD

    return COMM_WORLD


def _real_world() -> Any:
    from mpi4py import MPI

    return MPI.COMM_WORLD


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool | None:
    """Run a test function on its ranks."""
    if sizes_of(pyfuncitem) is None:
        return None
    from mpi.testing import carrying_out

    carrying_out.run_test(pyfuncitem)
    return True
