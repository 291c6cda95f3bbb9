"""The simulated ranks do as real MPI does: the same programs give the same results, the calls have the same names."""

from __future__ import annotations

import inspect
import pickle
import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import ranks
from inside import DATATYPES, constants
from mpi_programs import buffers, handles, messages, refusals
from real_mpi import launch

FOLDER = Path(__file__).parents[1] / "mpi_programs"
PROGRAMS = {
    program.__name__: program
    for program in [*messages.PROGRAMS, *buffers.PROGRAMS, *handles.PROGRAMS, *refusals.PROGRAMS]
}
NETWORKS = ["infiniband", "alpha-beta", "dgx-a100-shared"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """The results of all programs on real MPI, by number of processes: one launch each."""
    found = {}
    for p in (2, 3, 4):
        path = tmp_path_factory.mktemp("real") / "results"
        run = launch(p, [FOLDER / "conformance.py", path])
        assert run.returncode == 0, run.stderr
        found[p] = pickle.loads(path.read_bytes())
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_gives_what_real_mpi_gives(name: str, real: dict[int, Any]) -> None:
    for network, buffering, p in product(NETWORKS, ["none", "eager", "infinite"], real):
        simulated = ranks.run(lambda comm: PROGRAMS[name](comm.Dup()), p, network=network, buffering=buffering)
        assert simulated.results == real[p][name], f"p={p}, {network}, buffering={buffering}"


def parameters(signature: str) -> list[tuple[str, str | None]]:
    """Return names and defaults of "call(self, a: X, b: int = 0) -> Y", types left out."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    parts = [part.strip() for part in re.split(r",(?![^\[\(]*[\]\)])", inside)]
    split = [re.fullmatch(r"(\w+)(?::[^=]*)?(?:\s*=\s*(.*))?", part) for part in parts if part]
    return [(found[1], found[2]) for found in split if found and found[1] not in ("self", "cls")]


def spelled(call: Any) -> list[tuple[str, str | None]]:
    """Return names and defaults of one of our calls, constants under their names."""
    names = {ranks.ANY_SOURCE: "ANY_SOURCE", ranks.ANY_TAG: "ANY_TAG"}
    out: list[tuple[str, str | None]] = []
    for name, parameter in inspect.signature(call).parameters.items():
        default = parameter.default
        if name in ("source", "tag", "recvtag") and default in names:
            text: str | None = names[default]
        elif isinstance(default, ranks.Datatype):
            text = default.name.removeprefix("MPI_")
        else:
            text = None if default is inspect.Parameter.empty else repr(default)
        if name != "self":
            out.append((name, text))
    return out


def calls() -> list[tuple[str, str]]:
    kinds = {"Comm": ranks.Comm, "Request": ranks.Request, "Prequest": ranks.Prequest, "Message": ranks.Message,
             "Status": ranks.Status, "Group": ranks.Group}  # fmt: skip
    own = {("Status", "fill")}
    return [
        (kind, name)
        for kind, ours in kinds.items()
        for name in dir(ours)
        if not name.startswith("_") and callable(getattr(ours, name)) and (kind, name) not in own
    ]


@pytest.mark.parametrize(("kind", "name"), calls())
def test_call_is_spelled_as_in_mpi4py(kind: str, name: str) -> None:
    from mpi4py import MPI

    theirs, ours = getattr(getattr(MPI, kind), name), getattr(getattr(ranks, kind), name)
    expected = parameters(theirs.__doc__.partition("\n")[0])
    got = spelled(ours)
    if name == "Split_type":  # an Info is nothing here
        expected, got = expected[:-1], got[:-1]
    assert got == expected


def test_all_constants_have_mpi4py_s_names() -> None:
    from mpi4py import MPI

    ours = [name for name in dir(constants) if name.isupper()] + list(DATATYPES)
    assert [name for name in ours if not hasattr(MPI, name)] == []
