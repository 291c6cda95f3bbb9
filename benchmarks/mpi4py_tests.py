"""mpi4py's own tests on simulated ranks: how many of each file pass, with 1, 2, 3 and 4 ranks.

    python benchmarks/mpi4py_tests.py                    fetches mpi4py's source with pip and runs all of its tests
    python benchmarks/mpi4py_tests.py test_status -n 2   one file, two ranks
    python benchmarks/mpi4py_tests.py test_op -v         and the traceback of each test that fails

Each test is a run of its own. It passes if it passes on all ranks, and fails if any rank fails or the run ends badly.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import traceback
import unittest
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = "4.1.*"
FOLDER = Path(tempfile.gettempdir()) / "mpi4py-tests"
# What needs another process, another language or a shared library of MPI.
LEFT_OUT = ("test_spawn", "test_dynproc", "test_ctypes", "test_cffi", "test_mpiapi", "test_mpiabi", "test_package")
TIME_LIMIT_S = 600


def fetched() -> Path:
    """Return the folder of mpi4py's tests, fetched the first time."""
    found = sorted(FOLDER.glob("mpi4py-*/test"))
    if not found:
        FOLDER.mkdir(exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-binary", ":all:", "--no-deps"]
        subprocess.run([*pip, "--no-build-isolation", "--dest", str(FOLDER), f"mpi4py=={VERSION}"], check=True)
        with tarfile.open(next(FOLDER.glob("*.tar.gz"))) as archive:
            archive.extractall(FOLDER, filter="data")
        found = sorted(FOLDER.glob("mpi4py-*/test"))
    return found[0]


def run_file(name: str, size: int, pattern: str) -> dict[str, tuple[str, str]]:
    """Run the tests of one file on `size` ranks; return what became of each, by its name, and its traceback."""
    import mpi
    from mpi.launch.mpi4py_names import install

    install()
    warnings.simplefilter("ignore")
    tests: list[list[unittest.TestCase]] = [[] for _ in range(size)]
    modules: list[Any] = []

    def load(comm: Any) -> None:
        modules.append(own_module(name))
        suites = [unittest.defaultTestLoader.loadTestsFromModule(modules[-1])]
        while suites:
            for each in suites.pop():
                suites.append(each) if isinstance(each, unittest.TestSuite) else tests[comm.rank].append(each)

    mpi.run(load, size)
    found = {}
    for same in zip(*tests, strict=True):
        if pattern in same[0].id():
            found[same[0].id()] = run_test(mpi.run, same, modules)
    return found


def own_module(name: str) -> Any:
    """Import a test file and what it imports from beside it once more, as each process would."""
    folder = Path(sys.path[0])
    for beside in folder.glob("*.py"):
        sys.modules.pop(beside.stem, None)
    # Not by `import`: the file may communicate, so that others are imported before it is done.
    spec: Any = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_test(run: Any, tests: Sequence[unittest.TestCase], modules: Sequence[Any]) -> tuple[str, str]:
    """Return "passed", "skipped" or "failed", and the traceback; each rank has a test of its own."""
    results: list[unittest.TestResult] = []

    def program(comm: Any) -> None:
        result = unittest.TestResult()
        results.append(result)
        test = tests[comm.rank]
        sys.modules[type(test).__module__] = modules[comm.rank]  # where what the test pickles is found
        unittest.TestSuite([type(test)(test._testMethodName)]).run(result)

    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        run(program, len(tests))
    except BaseException:
        return "failed", traceback.format_exc()
    finally:
        sys.stdout = out
    for result in results:
        for _, text in [*result.errors, *result.failures]:
            return "failed", text
    return ("skipped" if all(result.skipped for result in results) else "passed"), ""


def in_a_process(folder: Path, name: str, size: int, pattern: str) -> dict[str, tuple[str, str]]:
    """Run one file in a process of its own, so that a crash or a loop loses no more than that."""
    command = [sys.executable, __file__, name, "-n", str(size), "--inside", str(folder), "-k", pattern]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S)
        found: dict[str, tuple[str, str]] = json.loads(done.stdout.splitlines()[-1])
        return found
    except subprocess.TimeoutExpired:
        return {f"{name} as a whole": ("failed", f"not done after {TIME_LIMIT_S} s")}
    except (IndexError, ValueError):
        return {f"{name} as a whole": ("failed", done.stderr)}


def main() -> None:
    """Print a table: for each file and number of ranks, how many tests passed, of how many that were not skipped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="test files, such as test_status; all by default")
    parser.add_argument("-n", dest="sizes", type=int, nargs="*", default=[1, 2, 3, 4], help="numbers of ranks")
    parser.add_argument("-k", dest="pattern", default="", help="only tests whose name has this in it")
    parser.add_argument("-v", dest="verbose", action="store_true", help="print the traceback of each failed test")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.path.insert(0, arguments.inside)
        sys.argv[1:] = []
        print(json.dumps(run_file(arguments.files[0], arguments.sizes[0], arguments.pattern)))
        return
    folder = fetched()
    names = arguments.files or [p.stem for p in sorted(folder.glob("test_*.py")) if p.stem not in LEFT_OUT]
    sizes = arguments.sizes
    print(f"{'':<24}" + "".join(f"{f'n = {size}':>14}" for size in sizes))
    totals = [[0, 0] for _ in sizes]
    for name in names:
        cells, failed = [], {}
        for place, size in enumerate(sizes):
            found = in_a_process(folder, name, size, arguments.pattern)
            n_passed = sum(kind == "passed" for kind, _ in found.values())
            n_run = sum(kind != "skipped" for kind, _ in found.values())
            totals[place][0] += n_passed
            totals[place][1] += n_run
            cells.append(f"{f'{n_passed}/{n_run}':>14}")
            failed |= {(test, size): text for test, (kind, text) in found.items() if kind == "failed"}
        print(f"{name:<24}{''.join(cells)}", flush=True)
        for (test, size), text in failed.items():
            if arguments.verbose:
                print(f"--- {test}, {size} ranks\n{text}")
    print(f"{'all':<24}" + "".join(f"{f'{passed}/{n_run}':>14}" for passed, n_run in totals))


if __name__ == "__main__":
    main()
