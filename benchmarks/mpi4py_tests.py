"""mpi4py's own tests on simulated ranks and on MPICH: which of those that pass there pass here, with 1 to 4 ranks.

    python benchmarks/mpi4py_tests.py                    fetches mpi4py's source with pip and runs all of its tests
    python benchmarks/mpi4py_tests.py test_status -n 2   one file, two ranks
    python benchmarks/mpi4py_tests.py test_op -v         and the traceback of each test that fails

Each test is a run of its own. It passes if it passes on all ranks, and fails if any rank fails or the run ends badly.
The results are kept beside mpi4py's source, and docs/conformance.md shows all that are kept. The command may be stopped
and started again: it runs only what it has not yet run with the same code of this project; --again runs everything.
MPICH runs a file once for each number of ranks, since its results stay the same. Without MPICH, all tests count that
are not skipped here.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import traceback
import unittest
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

VERSION = "4.1.*"
FOLDER = Path(tempfile.gettempdir()) / "mpi4py-tests"
KEPT = FOLDER / "results.json"
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
CPU_LIMIT_S, TIME_LIMIT_S = 900, 7200
SIZES = [1, 2, 3, 4]
PACKAGES = ["ranks", "loggp", "collectives", "mpi"]  # the code that is tested
# Files by what they are about; those of no group are about what mpi/ leaves out, or about mpi4py itself.
GROUPS = {
    "point-to-point": ["p2p_buf", "p2p_buf_matched", "p2p_obj", "p2p_obj_matched", "msgzero"],
    "collectives": ["cco_buf", "cco_vec", "cco_obj", "cco_nb_buf", "cco_nb_vec", "cco_pr_buf", "cco_pr_vec"],
    "groups, communicators": ["group", "comm"],
    "status, requests, ops": ["status", "request", "op"],
    "environment": ["environ"],
    "topologies": ["comm_topo"],
    "intercommunicators": ["comm_inter", "cco_buf_inter", "cco_obj_inter", "cco_vec_inter"],
    "neighbourhood": ["cco_ngh_buf", "cco_ngh_obj", "cco_pr_ngh_buf"],
    "attributes": ["attributes"],
    "errors": ["errhandler", "errorcode", "exceptions"],
    "datatypes, packing": ["datatype", "pack"],
    "one-sided": ["rma", "rma_nb", "win"],
    "util": ["util_dtlib", "util_pkl5", "util_pool", "util_sync"],
    "more": ["address", "buffer", "grequest", "handle", "info", "msgspec", "objmodel", "pickle", "subclass", "threads"],
}
# Why tests fail here that no program misses.
REASONS = {
    "testBuffer": "the memory of a simulated GPU is the machine's own, which a program may read",
    "testConstants": "`BOTTOM` and its kin are no buffers",
    "testMissingNumPy": "simulated ranks need NumPy",
}
Found = dict[str, list[str]]


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


# -- in a process of its own: the tests of one file ------------------------------------------------------------------


def on_simulated_ranks(name: str, size: int) -> None:
    """Run the tests of one file on `size` ranks; tell what becomes of each."""
    import mpi
    from mpi.launch.mpi4py_names import install

    install()
    # Its tests set how it cuts messages of more than 2 GiB, which it need not do here.
    vars(import_module("mpi4py.util.pkl5")).update(_BigMPI=SimpleNamespace, _bigmpi=None)
    tests: list[list[unittest.TestCase]] = [[] for _ in range(size)]
    modules: list[Any] = []

    def load(comm: Any) -> None:
        modules.append(own_module(name))
        tests[comm.rank] = tests_of(modules[-1])

    mpi.run(load, size)
    for same in zip(*tests, strict=True):
        tell(same[0].id(), run_test(mpi.run, same, modules))


def tell(test: str, result: list[str]) -> None:
    """Tell the process that reads this what became of a test."""
    print(json.dumps([test, *result]), flush=True)


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


def tests_of(module: Any) -> list[unittest.TestCase]:
    """Return the tests of a file one by one."""
    tests: list[unittest.TestCase] = []
    suites = [unittest.defaultTestLoader.loadTestsFromModule(module)]
    while suites:
        for each in suites.pop():
            (suites if isinstance(each, unittest.TestSuite) else tests).append(each)  # type: ignore[arg-type]
    return tests


def result_of(test: unittest.TestCase) -> list[str]:
    """Run a test; return "passed", "skipped" or "failed", and the traceback."""
    result = unittest.TestResult()
    unittest.TestSuite([type(test)(test._testMethodName)]).run(result)
    problems = [text for _, text in [*result.errors, *result.failures]]
    return ["failed", problems[0]] if problems else ["skipped" if result.skipped else "passed", ""]


def of_all(results: Sequence[list[str]]) -> list[str]:
    """Return what became of a test on all ranks: it has failed if it has on one."""
    failed = [result for result in results if result[0] == "failed"]
    return failed[0] if failed else max(results, key=lambda result: result[0] == "passed")


def run_test(run: Callable[..., Any], tests: Sequence[unittest.TestCase], modules: Sequence[Any]) -> list[str]:
    """Return what became of a test, of which each rank has its own."""

    def program(comm: Any) -> list[str]:
        test = tests[comm.rank]
        sys.modules[type(test).__module__] = modules[comm.rank]  # where what the test pickles is found
        return result_of(test)

    out, sys.stdout = sys.stdout, io.StringIO()
    try:
        return of_all(run(program, len(tests)).results)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return ["failed", traceback.format_exc()]
    finally:
        sys.stdout = out


def on_mpich(name: str) -> None:
    """Run the tests of one file as a process that mpiexec has started; the first one tells what became of them."""
    from mpi4py import MPI

    own = {test.id(): result_of(test) for test in tests_of(own_module(name))}
    found = MPI.COMM_WORLD.gather(own) or []
    for test in own if found else ():
        tell(test, of_all([each[test] for each in found]))


# -- all files -------------------------------------------------------------------------------------------------------


def in_processes(folder: Path, name: str, size: int, world: str) -> Found:
    """Run one file in processes of its own, so that a crash or a loop loses no more than that."""
    command = [sys.executable, __file__, name, "-n", str(size), "--inside", str(folder), "--world", world]
    if world == "mpich":
        command[:0] = ["mpiexec", "-n", str(size)]
    environment = {**os.environ, "MPI4PY_TEST_SPAWN": "0"}  # no new processes: mpi/ leaves them out
    if size > (os.cpu_count() or 1):
        environment["MPIR_CVAR_ENABLE_HEAVY_YIELD"] = "1"  # a process of MPICH that waits leaves its core to others
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, env=environment)
        out, problem = done.stdout, f"exit status {done.returncode}\n{done.stderr}" if done.returncode else ""
    except subprocess.TimeoutExpired as late:
        out, problem = (late.stdout or b"").decode(), f"not done after {TIME_LIMIT_S} s"
    lines = [json.loads(line) for line in out.splitlines() if line.startswith('["')]
    found = {test: [kind, text] for test, kind, text in lines}
    return found | ({f"{name} as a whole": ["failed", problem]} if problem else {})


def asked(simulated: Found, mpich: Found) -> list[str]:
    """Return the tests that are not skipped here, of those that pass on MPICH if it has run them."""
    known = {test: ["failed"] for test in mpich} | simulated  # what was not run here has not passed
    return [
        test for test, (kind, *_) in known.items()
        if kind != "skipped" and (not mpich or mpich.get(test, ["passed"])[0] == "passed")
    ]  # fmt: skip


class Kept:
    """What became of all tests that were ever run, kept in a file: by file and number of ranks, here and on MPICH.

    code:     It tells the code of this project from other code.
    code_of:  This was the code when a file was run, by file and number of ranks.
    stopped:  Whether the user has stopped the command: what ends then was not run to its end.
    """

    def __init__(self) -> None:
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"found": {}, "code_of": {}}
        self.found: dict[str, Found] = kept["found"]
        self.code_of: dict[str, str] = kept["code_of"]
        sources = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
        self.code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
        self.stopped = False
        self.lock = Lock()

    def run(self, folder: Path, name: str, size: int, again: bool) -> None:
        """Run one file here and on MPICH, unless that has been done."""
        key = f"{name} {size}"
        if again or self.code_of.get(key) != self.code:
            self._keep(key, in_processes(folder, name, size, "simulated"))
        if f"{key} mpich" not in self.found and shutil.which("mpiexec"):
            found = in_processes(folder, name, size, "mpich")
            if f"{name} as a whole" not in found:  # it was not stopped, and MPICH has not crashed
                self._keep(f"{key} mpich", found)

    def _keep(self, key: str, found: Found) -> None:
        with self.lock:
            if not self.stopped:
                self.found[key], self.code_of[key] = found, self.code
                KEPT.write_text(json.dumps({"found": self.found, "code_of": self.code_of}))

    def of(self, name: str, size: int) -> tuple[Found, Found]:
        """Return what became of the tests of a file here and on MPICH, as far as that is known."""
        return self.found.get(f"{name} {size}", {}), self.found.get(f"{name} {size} mpich", {})

    def cell(self, names: Sequence[str], size: int) -> str:
        """Return how many tests of some files pass, of how many; see `page` for the marks."""
        both = [self.of(name, size) for name in names if self.of(name, size)[0]]
        n_asked = sum(len(asked(*each)) for each in both)
        n_passed = sum(here.get(test, [""])[0] == "passed" for here, mpich in both for test in asked(here, mpich))
        marks = " *" * (not all(mpich for _, mpich in both)) + " ..." * (len(both) < len(names))
        return f"{n_passed}/{n_asked}{marks}" if both else "-"

    def failed(self, name: str, size: int) -> dict[str, str]:
        """Return the tracebacks of the tests of a file that fail here, of those that are asked."""
        here, mpich = self.of(name, size)
        known = {test: here.get(test, ["failed", "not run"]) for test in asked(here, mpich)} if here else {}
        return {test: text for test, (kind, text) in known.items() if kind == "failed"}

    def n_skipped(self, names: Sequence[str]) -> int:
        """Return how many tests of some files pass on MPICH with some number of ranks, and are skipped here."""
        both = [self.of(name, size) for name in names for size in SIZES]
        return len(
            {t for here, mpich in both for t in mpich if mpich[t][0] == "passed" and here.get(t, [""])[0] == "skipped"}
        )


def reason(test: str) -> str:
    """Return why a test fails here, if it is known."""
    name = test.rpartition(".")[2]
    return f": {REASONS[name]}" if name in REASONS else ""


def page(kept: Kept, version: str) -> str:
    """Return the page of all that is known."""
    rows = [
        f"| {group} | " + " | ".join(kept.cell([f"test_{name}" for name in names], size) for size in SIZES) + " |"
        for group, names in GROUPS.items()
    ]
    names = [f"test_{name}" for names in GROUPS.values() for name in names]
    total = f"| all | {' | '.join(kept.cell(names, size) for size in SIZES)} |"
    lost: dict[str, list[int]] = {}
    for size in SIZES:
        for name in names:
            for test in kept.failed(name, size):
                lost.setdefault(test, []).append(size)
    lines = [
        f"- `{test}` with {', '.join(map(str, sizes))} rank{'s' * (sizes != [1])}{reason(test)}"
        for test, sizes in sorted(lost.items())
    ]
    return f"""# mpi4py's own tests

`make conformance` fetches the source of mpi4py with pip, runs its tests on simulated ranks and on MPICH, and writes
this page. Each cell shows how many of the tests that pass on MPICH pass here. A star: MPICH has not run them, so the
cell counts all tests that are not skipped here. Dots: the cell counts only the files that were run. The tests are those
of mpi4py {version}.

| tests about | {" | ".join(f"{size} rank{'s' * (size > 1)}" for size in SIZES)} |
|---|{"---:|" * len(SIZES)}
{chr(10).join([*rows, total])}

Files, new processes, sessions and partitioned sends are [left out](../mpi/left_out.py): {kept.n_skipped(names)} tests
that pass on MPICH are skipped here and not counted. These tests fail here, but not on MPICH:

{chr(10).join(lines) or "none"}
"""


def main() -> None:
    """Run tests, print a table of how many pass, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="test files, such as test_status; all by default")
    parser.add_argument("-n", dest="sizes", type=int, nargs="*", default=SIZES, help="numbers of ranks")
    parser.add_argument("-v", dest="verbose", action="store_true", help="print the traceback of each failed test")
    parser.add_argument("-j", dest="jobs", type=int, default=os.cpu_count(), help="how many files are run at a time")
    parser.add_argument("--again", action="store_true", help="also run what was run with the same code")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    parser.add_argument("--world", default="simulated", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        sys.path.insert(0, arguments.inside)
        sys.argv[1:] = []
        warnings.simplefilter("ignore")
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
        on_mpich(arguments.files[0]) if arguments.world == "mpich" else on_simulated_ranks(
            arguments.files[0], arguments.sizes[0]
        )
        return
    names = arguments.files or [f"test_{name}" for group in GROUPS.values() for name in group]
    run_files(names, arguments)


def run_files(names: Sequence[str], arguments: argparse.Namespace) -> None:
    """Run files with each number of ranks, print how many tests pass as soon as they are known, and write the page."""
    folder, kept, sizes = fetched(), Kept(), arguments.sizes
    print(f"{'':<24}" + "".join(f"{f'n = {size}':>14}" for size in sizes))
    pool = ThreadPoolExecutor(arguments.jobs)
    try:
        runs = {name: [pool.submit(kept.run, folder, name, size, arguments.again) for size in sizes] for name in names}
        for name, futures in runs.items():
            print(f"{name:<24}", end="", flush=True)
            for size, future in zip(sizes, futures, strict=True):
                future.result()
                print(f"{kept.cell([name], size):>14}", end="", flush=True)
            print()
            for size in sizes if arguments.verbose else ():
                for test, text in kept.failed(name, size).items():
                    print(f"--- {test}, {size} ranks\n{text}")
        print(f"{'all':<24}" + "".join(f"{kept.cell(names, size):>14}" for size in sizes))
    except KeyboardInterrupt:
        kept.stopped = True
        print("\nstopped; the same command goes on from here")
        raise SystemExit(130) from None
    finally:
        pool.shutdown(cancel_futures=True)
        PAGE.write_text(page(kept, folder.parent.name.removeprefix("mpi4py-")))


if __name__ == "__main__":
    main()
