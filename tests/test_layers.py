"""Who may import whom, read from the source; and what importing a package leaves unloaded."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALGORITHMS = {"ranks", "collectives"}
# ranks <- collectives <- {sorting, parallel} <- experiments; benchmarks see what a user sees.
MAY_IMPORT = {
    "ranks": set(),
    "collectives": {"ranks"},
    "sorting": ALGORITHMS,
    "parallel": ALGORITHMS,
    "experiments": ALGORITHMS | {"sorting", "parallel"},
    "benchmarks": ALGORITHMS | {"sorting", "parallel"},
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
        elif top == "ranks" and layer in ("collectives", "sorting", "parallel") and is_private("ranks", inner):
            found.append(f"line {line}: {layer} imports {name}, expected what `ranks` itself exports")
    return found


def is_private(package: str, inner: str) -> bool:
    """Return whether `inner` names a module of the package; the look of pictures is for all."""
    name = inner.partition(".")[0]
    is_module = (ROOT / package / f"{name}.py").exists() or (ROOT / package / name / "__init__.py").exists()
    return is_module and name != "look"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_imports_only_the_layers_below(module):
    assert faults(module.parts[0], (ROOT / module).read_text()) == []


def test_every_package_has_a_layer():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages >= ALGORITHMS
    assert packages - {"tests"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("layer", "source"),
    [
        ("ranks", "import collectives"),
        ("ranks", "def f():\n    from collectives import ring_allreduce"),
        ("collectives", "import sorting.bitonic"),
        ("collectives", "from ranks.real import world"),
        ("collectives", "from ranks import real"),
        ("sorting", "from parallel import ulysses"),
        ("parallel", "import experiments"),
        ("experiments", "import benchmarks"),
    ],
)
def test_a_forbidden_import_is_found(layer, source):
    assert len(faults(layer, source)) == 1


@pytest.mark.parametrize("package", ["ranks", "collectives", "parallel", "sorting", "ranks.real"])
def test_importing_does_no_work(package):
    """MPI must not start, nor matplotlib load (half a second), before somebody asks for them."""
    code = f"import sys, {package}; print(sorted({{'mpi4py', 'matplotlib', 'rich'}} & sys.modules.keys()))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr) == ("[]\n", "")
