"""Claims about operations in the background and about `ranks.checked`, on real MPI launched by pytest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import ranks
from real_mpi import launch

PROGRAMS = Path(__file__).parents[1] / "mpi_programs"


@pytest.mark.parametrize("p", [1, 3])
def test_operations_in_the_background_give_what_blocking_ones_give(p: int) -> None:
    run = launch(p, [PROGRAMS / "background.py"])
    assert run.returncode == 0, run.stderr
    assert sorted(run.stdout.splitlines()) == [f"rank {rank} is done" for rank in range(p)]


def disagreements(p: int, path: Path, ending: str) -> tuple[dict[str, list[str]], Any]:
    run = launch(p, [PROGRAMS / "disagreements.py", path, ending])
    return json.loads(path.read_text()), run


@pytest.mark.parametrize("p", [2, 4])
def test_all_ranks_get_the_same_error_that_names_the_outlier(p: int, tmp_path: Path) -> None:
    outcomes, run = disagreements(p, tmp_path / "outcomes", "all leave")
    assert run.returncode == 0, run.stderr
    assert outcomes.pop("agreed") == outcomes.pop("still agreed") == ["agreed"] * p
    assert len(outcomes) == 10
    others = {2: "rank 0", 4: "ranks 0, 2-3"}[p]
    for case, texts in outcomes.items():
        assert len(set(texts)) == 1, f"{case}: ranks tell different things: {texts}"
        head, one, other, remedy = texts[0].splitlines()
        assert head == "ranks of one communicator disagree on their collective"
        assert one.startswith(f"  {'one side ' if p == 2 else 'majority '} {others}: "), case
        assert other.startswith(f"  {'one side ' if p == 2 else 'outlier  '} rank 1: "), case
        assert "disagreements.py:" in one
        assert "disagreements.py:" in other
        assert remedy.startswith("  remedy: ")
    line = next(
        i for i, text in enumerate((PROGRAMS / "disagreements.py").read_text().splitlines(), 1) if '"op"' in text
    )
    assert "ring_allreduce(op=maximum, shape=(6,), dtype=float64) at ring.py:" in outcomes["op"][0]
    assert outcomes["op"][0].count(f"(called at disagreements.py:{line})") == 2


@pytest.mark.parametrize(
    ("ending", "texts"),
    [
        ("one leaves", ["majority  ranks 0, 2: dissemination_barrier()", "outlier   rank 1: end of the checked block"]),
        (
            "one leaves a child",
            ["majority  ranks 0, 2: dissemination_barrier()", "outlier   rank 1: end of the checked block"],
        ),
        ("one raises", ["majority  ranks 0, 2: dissemination_barrier()", "missing   rank 1: left by KeyError: 'lost'"]),
    ],
)
def test_a_rank_that_calls_no_collective_any_more_is_told_by_the_others(
    ending: str, texts: list[str], tmp_path: Path
) -> None:
    _, run = disagreements(3, tmp_path / "outcomes", ending)
    assert run.returncode != 0
    for text in texts:
        assert text in run.stderr
    assert run.stdout.count("all have it") == (3 if ending.startswith("one leaves") else 0)


def test_a_rank_that_waits_says_for_whom(tmp_path: Path) -> None:
    _, run = disagreements(2, tmp_path / "outcomes", "one is late")
    assert run.returncode == 0, run.stderr
    assert "checked: rank 0 waits in dissemination_barrier() at barriers.py:" in run.stdout
    assert "for rank 1, which called no collective of this communicator in 0.01 s" in run.stdout


def test_a_simulated_communicator_is_checked_anyway_and_anything_else_is_refused() -> None:
    def program(comm: Any) -> None:
        with ranks.checked(comm) as same:
            assert same is comm

    ranks.run(program, 2)
    with (
        pytest.raises(TypeError, match="checked: got an object of type int, expected a communicator"),
        ranks.checked(3),
    ):
        pass
