"""Who may import whom, read from the source: packages, and the rooms of `ranks`; and what importing leaves unloaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from mpi.launch.modules import _OURS as OURS
from processes import HANG_S

ROOT = Path(__file__).parent.parent
ALGORITHMS = {"ranks", "loggp", "collectives"}
# ranks <- loggp <- collectives <- {sorting, mpi, parallel <- training} <- experiments; benchmarks see what a user sees.
MAY_IMPORT = {
    "ranks": set(),
    "loggp": {"ranks"},
    "collectives": {"ranks", "loggp"},
    "sorting": ALGORITHMS,
    "mpi": ALGORITHMS,  # all rooms of ranks too: it is another front of theirs
    "parallel": ALGORITHMS,
    "training": ALGORITHMS | {"parallel"},
    "experiments": ALGORITHMS | {"sorting", "parallel", "training", "mpi"},
    "benchmarks": ALGORITHMS | {"sorting", "parallel", "training", "mpi"},
}
MODULES = sorted(path.relative_to(ROOT) for layer in MAY_IMPORT for path in (ROOT / layer).rglob("*.py"))


def imports(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that `source` imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:  # a relative import stays in its package
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def faults(layer: str, source: str) -> list[str]:
    """Return what `source`, a module of `layer`, imports and may not."""
    found = []
    for line, name in imports(source):
        top, _, inner = name.partition(".")
        if top in MAY_IMPORT and top not in MAY_IMPORT[layer] | {layer}:
            found.append(f"line {line}: {layer} imports {name}, expected only {sorted(MAY_IMPORT[layer])}")
        elif (
            top == "ranks"
            and layer in ("loggp", "collectives", "sorting", "parallel", "training")
            and is_private("ranks", inner)
        ):
            found.append(f"line {line}: {layer} imports {name}, expected what `ranks` itself exports")
    return found


def is_private(package: str, inner: str) -> bool:
    """Return whether `inner` names a module of the package."""
    name = inner.partition(".")[0]
    return (ROOT / package / f"{name}.py").exists() or (ROOT / package / name / "__init__.py").exists()


# -- the rooms of ranks ------------------------------------------------------------------------------------------


def rooms() -> list[str]:
    """Return the rooms in the order of the table in the package's docstring."""
    table = ast.get_docstring(ast.parse((ROOT / "ranks" / "__init__.py").read_text())).partition("table):")[2]
    return [line.split()[0] for line in table.splitlines() if line.strip()]


def module_name(path: Path) -> str:
    """Return the dotted name of a module of the project, given by its path there."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported_modules(name: str, source: str, known: set[str]) -> set[str]:
    """Return the modules of `ranks` that a module imports, under TYPE_CHECKING and inside functions too."""
    found = set()
    for _, dotted in imports(source):
        longest = dotted if dotted in known else dotted.rpartition(".")[0]
        if longest in known and longest not in ("ranks", name):
            found.add(longest)
    return found


SOURCES = {
    module_name(path): (ROOT / path).read_text()
    for path in MODULES
    if path.parts[0] == "ranks" and path.parts[1:] != ("__init__.py",)
}


def room_faults(name: str, source: str) -> list[str]:
    """Return what a module imports from rooms below its own in the table."""
    order = rooms()
    own = name.split(".")[1]
    return [
        f"{name} imports {other}, expected only what is above {own} in the table"
        for other in imported_modules(name, source, set(SOURCES))
        if order.index(other.split(".")[1]) > order.index(own)
    ]


def test_the_table_names_each_room_once() -> None:
    assert sorted(rooms()) == sorted({name.split(".")[1] for name in SOURCES})


@pytest.mark.parametrize("name", SOURCES)
def test_module_of_ranks_imports_only_rooms_above_its_own(name: str) -> None:
    assert room_faults(name, SOURCES[name]) == []


def test_no_modules_of_ranks_import_each_other_in_a_circle() -> None:
    """Also at the hand of what is imported for types only, or when a function is called."""
    graph = {name: imported_modules(name, source, set(SOURCES)) for name, source in SOURCES.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ranks.engine.polls", "from ranks.messages.lane import Lane"),
        ("ranks.comm.arguments", "if TYPE_CHECKING:\n    from ranks.hangs import diagnosis"),
        ("ranks.words.status", "def f():\n    import ranks.world"),
    ],
)
def test_an_import_from_a_room_below_is_found(name: str, source: str) -> None:
    assert len(room_faults(name, source)) == 1


def test_every_room_says_what_it_is_for_and_what_it_does_not_know() -> None:
    for path in (ROOT / "ranks").glob("*/__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text is not None
        assert "know" in text, path


# -- packages ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_imports_only_the_layers_below(module):
    assert faults(module.parts[0], (ROOT / module).read_text()) == []


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages >= ALGORITHMS
    assert packages - {"tests"} <= MAY_IMPORT.keys()
    assert {*OURS} == packages - {"tests"}  # programs under mpi share these modules


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("ranks", "import collectives"),
        ("loggp", "from collectives.arrays import Array"),
        ("ranks", "def f():\n    from collectives import ring_allreduce"),
        ("collectives", "import sorting.bitonic"),
        ("collectives", "from ranks.real import world"),
        ("collectives", "from ranks import real"),
        ("sorting", "from parallel import ulysses"),
        ("parallel", "import experiments"),
        ("parallel", "from training.pipeline import Op"),
        ("training", "import sorting"),
        ("experiments", "import benchmarks"),
    ],
)
def test_a_forbidden_import_is_found(layer, source):
    assert len(faults(layer, source)) == 1


# Imports each package in a fork of its own, and says which of the libraries that are to wait came with it.
IMPORTS = """
import os, sys
import numpy  # which all import
for package in sys.argv[1:]:
    if not os.fork():
        try:
            __import__(package)
            print(package, *sorted({"mpi4py", "matplotlib", "rich"} & sys.modules.keys()), flush=True)
        finally:
            os._exit(0)
    os.wait()
"""


def test_importing_does_no_work():
    """MPI must not start, nor matplotlib load (half a second), before somebody asks for them."""
    packages = [
        "ranks", "loggp", "collectives", "parallel", "training", "training.pipeline", "sorting", "mpi", "ranks.real",
    ]  # fmt: skip
    run = subprocess.run([sys.executable, "-c", IMPORTS, *packages], capture_output=True, text=True, timeout=HANG_S)
    assert (run.stdout.splitlines(), run.stderr) == (packages, "")
