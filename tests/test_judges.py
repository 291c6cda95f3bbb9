"""The judges of notebooks 0 to 3 say what is wrong with a program that the reader wrote, or that nothing is."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import Any

import pytest

from notebook_answers import ANSWER, ANSWERS
from test_notebooks import PATHS, is_measured, read

NEEDED = {"Send", "Recv", "Network", "Message", "NETWORK", "network", "messages_only", "deletions", "two"}

WRONG: dict[str, list[tuple[str, str]]] = {
    "00_a_simulator_in_a_hundred_lines judge_broadcast": [
        ("on 2 ranks, rank 1 does not return the gift", "return gift; yield"),
        (
            "2 ranks send 2 messages, and 1 are allowed",
            """
    if rank == 0:
        for other in (*range(1, p), *range(1, p)):
            yield Send(gift, other)
    else:
        gift = yield Recv(0)
    return gift""",
        ),
        (
            "the gift is no sooner on all 8 ranks than one by one",
            """
    if rank:
        gift = yield Recv(rank - 1)
    if rank + 1 < p:
        yield Send(gift, rank + 1)
    return gift""",
        ),
    ],
    "00_a_simulator_in_a_hundred_lines judge_neighbours": [
        (
            "DeadlockError: rank 0 waits in Recv(source=0, tag=1)\ncircle: 0 → 0\nnobody has taken a message to rank 0 "
            "that answers Recv(source=0, tag=2)",
            """
    left, right = (rank - 1) % p, (rank + 1) % p
    yield Send(rank, right, tag=1)
    yield Send(rank, left, tag=2)
    return (yield Recv(left, tag=1)) + rank + (yield Recv(right, tag=1))""",
        ),
        (
            "on 3 ranks, rank 0 returns 4, expected 3",
            """
    left, right = (rank - 1) % p, (rank + 1) % p
    yield Send(rank, right)
    yield Send(rank, left)
    from_left = yield Recv(left)
    return from_left + rank + from_left""",
        ),
    ],
    "01_ring_allreduce judge_allreduce": [
        ("your program takes 27.11 µs, and the ring takes 27.11 µs", "return ring_allreduce(comm, x)"),
        ("rank 0 does not return the sum of all six arrays", "return x"),
        ("your program changes x", "x += 1; return x"),
        (
            "DeadlockError",
            """
    total, came, other = x.copy(), np.empty_like(x), comm.rank ^ 1
    comm.Send(x, other)
    comm.Recv(came, other)
    return total + came""",
        ),
    ],
    "02_dissemination_barrier judge_barrier": [
        (
            "on 3 ranks, rank 0 may leave before rank 1 has entered",
            "comm.sendrecv(None, (comm.rank + 1) % comm.size, source=(comm.rank - 1) % comm.size)",
        ),
        (
            "on 6 ranks, a rank sends 7 messages; 6 are allowed",
            """
    for step in (*range(1, comm.size), *([1, 1] if comm.size == 6 else [])):
        comm.sendrecv(None, (comm.rank + step) % comm.size, source=(comm.rank - step) % comm.size)""",
        ),
        ("DeadlockError", "comm.recv(source=(comm.rank + 1) % comm.size)"),
    ],
    "03a_bitonic_sort judge_network": [
        ("your 1 comparators do not sort (0, 0, 0, 0, 0, 1, 0)", "return [(0, 1)]"),
        (
            "it sorts, with 18 comparators; 16 are enough",
            "return [pair for stage in bitonic(7).stages for pair in stage]",
        ),
        ("ValueError", "return [(1, 0)]"),
    ],
    "03b_a_missing_comparator judge_tests": [
        ("expected two orders of the numbers 0 to 7", "return [range(8)]"),
        ("24 of 24 deletions get past your tests, such as that of (0, 1)", "return [range(8), range(8)]"),
        ("one of these orders stands above; find others", "return two"),
    ],
    "03c_how_fast_is_a_network judge_sort": [
        ("with blocks 0, rank 0 does not end with its part of the sorted numbers", "return block"),
        (
            "a rank sends 4 messages; 3 are enough",
            """
    for low, high in [(0, 1), (2, 3), (0, 2), (1, 3), (1, 2), (1, 2)]:
        block = split(comm, block, low, high)
    return block""",
        ),
    ],
}


def definitions(stem: str) -> dict[str, Any]:
    """Return what the cells of a notebook import and define, without what they run."""
    names: dict[str, Any] = {}
    cells = read(next(path for path in PATHS if path.stem == stem)).cells
    for cell in cells:
        if cell.cell_type != "code" or is_measured(cell):
            continue
        for node in ast.parse(cell.source.replace("%matplotlib inline", "")).body:
            assigned = {getattr(target, "id", "") for target in getattr(node, "targets", ())}
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)) or assigned & NEEDED:
                with suppress(NameError):  # a default argument of a function that no judge calls
                    exec(compile(ast.Module([node], []), cell.id, "exec"), names)
    return names


def head(stem: str, judge: str) -> str:
    """Return the line with which the program of an exercise begins."""
    cells = read(next(path for path in PATHS if path.stem == stem)).cells
    source = next(cell.source for cell in cells if f"\n{judge}(answer" in cell.source)
    found = ANSWER.search(source)
    assert found
    return found.group().splitlines()[0].split("  #")[0]


@pytest.mark.parametrize("exercise", WRONG)
def test_a_wrong_program_is_told_its_worst_fault_and_the_model_answer_is_right(exercise, capsys):
    stem, judge = exercise.split()
    names, first = definitions(stem), head(stem, judge)
    more = (7, 16) if judge == "judge_network" else ()
    model = next(answer for answer in ANSWERS[stem] if answer.startswith(first))
    for fault, body in [*WRONG[exercise], ("", model)]:
        exec(f"{first}{body if body.startswith(chr(10)) else ' ' + body}" if fault else body, names)
        names[judge](names["answer"], *more)
        said = capsys.readouterr().out
        assert said.startswith(f"Not yet: {fault}" if fault else "Right: "), said
