"""The judges of notebooks say what is wrong with a program that the reader wrote, or that nothing is."""

from __future__ import annotations

import ast
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from notebook_answers import ANSWER, ANSWERS
from test_notebooks import PATHS, is_measured, read

# What a judge needs beside functions, classes and imports.
NEEDED = {
    "Send", "Recv", "Network", "Message", "NETWORK", "network", "messages_only", "deletions", "two", "five", "share",
    "infiniband", "used",
}  # fmt: skip


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
    "04_ulysses faults": [
        (
            "but ranks send [160, 160, 160] bytes",
            """
    out = np.empty((3, *mine.shape), mine.dtype)
    out[comm.rank] = mine
    for step in (1, 2):
        comm.Sendrecv(mine, (comm.rank + step) % 3, recvbuf=out[(comm.rank - step) % 3], source=(comm.rank - step) % 3)
    return out.reshape(6, -1)[:, share[comm.rank]]""",
        ),
        (
            "rank 1 returned [[2, 3], [7, 8], [12, 13], [17, 18]]",
            """
    if comm.rank == 0:
        for rank in (1, 2):
            comm.Send(np.ascontiguousarray(mine[:, share[rank]]), rank)
        return np.arange(30).reshape(6, 5)[:, :2]
    came = np.empty((2, share[comm.rank].stop - share[comm.rank].start), mine.dtype)
    comm.Recv(came, 0)
    return np.concatenate([came, mine[:, share[comm.rank]]])""",
        ),
    ],
    "05_which_collective faults": [
        (
            "the best of the nine takes 7.178 µs",
            """
    return collectives.allreduce(comm, x, algorithm="naive")""",
        ),
        ("rank 1 returned [62.]", "return collectives.allreduce(comm, x) - (comm.rank == 1)"),
        ("ranks 0-5 wait", "comm.Recv(np.empty_like(x), (comm.rank - 1) % comm.size)"),
    ],
    "06_anatomy_of_a_hang faults": [
        (
            "on 1 rank, DeadlockError",
            """
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    if comm.rank % 2:
        from_left, _ = comm.recv(source=left), comm.send(comm.rank, right)
        from_right, _ = comm.recv(source=right), comm.send(comm.rank, left)
    else:
        _, from_left = comm.send(comm.rank, right), comm.recv(source=left)
        _, from_right = comm.send(comm.rank, left), comm.recv(source=right)
    return from_left, from_right""",
        ),
        (
            "a rank sends 3 messages",
            """
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    told = {comm.rank: comm.rank}
    for step in range(1, comm.size):
        source = (comm.rank - step) % comm.size
        told[source] = comm.sendrecv(comm.rank, (comm.rank + step) % comm.size, source=source)
    return told[left], told[right]""",
        ),
        (
            "on 3 ranks it returned [(1, 2), (2, 0), (0, 1)]",
            """
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    return comm.sendrecv(comm.rank, left, source=right), comm.sendrecv(comm.rank, right, source=left)""",
        ),
    ],
    "07_honest_speed_up faults": [
        (
            "it makes 198 calls",
            """
    seconds = stopwatch([0, 1] * 99)
    return np.median(seconds[1::2] / seconds[::2])""",
        ),
        (
            "of the truth on ",
            """
    seconds = stopwatch([0, 1] * 31)
    return min(seconds[1::2]) / min(seconds[::2])""",
        ),
    ],
    "08_one_loss_curve faults": [
        ("on 1 ranks the loss is ", "return 0.0"),
        ("TypeError: unsupported operand", "return None"),
        (
            "a rank sends ",
            """
    every = np.zeros((len(labels), classes))
    every[:, first : first + logits.shape[1]] = logits
    return in_whole(ring_allreduce(comm, every), labels)""",
        ),
    ],
    "09_pipeline_bubbles turns_after": [
        ("the step takes 336, and a rank keeps 8 activations; allowed are ", "return 8"),
        ("TypeError: ", "return None"),
        ("TypeError: ", "return 1.5"),
        ("ValueError: check_schedule: yours", "return -1"),
        ("KeyError: ", "raise KeyError(rank)"),
    ],
    "09_pipeline_bubbles as_written": [
        (
            "ValueError: rank 0 has 'X0', which is no pass; a pass is a word such as ",
            "return ['F0 X0'.replace('F0 ', '')]",
        ),
        ("ValueError: rank 1 has 'Fx', which is no pass", "return ['F0', 'Fx', 'F0']"),
        ("ValueError: check_schedule: yours: got the operations of 2 ranks", "return ['F0 I0 W0'] * 2"),
        ("ValueError: check_schedule: yours: got ", "return ['F0 I0 W0'] * 3"),
        ("ValueError: check_schedule: yours", "return ['F9 I0 W0'] * 3"),
        ("AttributeError: ", "return [1, 2, 3]"),
        ("TypeError: ", "return None"),
        ("the step takes ", "return [' '.join(f'F{i} I{i} W{i}' for i in range(4))] * 3"),
    ],
    "10_hidden_bugs judge": [
        ("it rings for 0 of 6 bugs and for 0 healthy runs", "return training.losses[-1] > training.losses[0]"),
        ("it rings for 6 of 6 bugs and for 4 healthy runs", "return 'ring'"),
        ("it rings for 0 of 6 bugs and for 0 healthy runs", "return None"),
        ("AttributeError: ", "return training.loss"),
        ("ValueError: The truth value", "return np.ones(2)"),
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


def exercise_of(stem: str, judge: str) -> tuple[str, str]:
    """Return the cell whose program this judges, and the line with which the program begins."""
    cells = read(next(path for path in PATHS if path.stem == stem)).cells
    source = next(cell.source for cell in cells if f"{judge}(answer" in cell.source and ANSWER.search(cell.source))
    found = ANSWER.search(source)
    assert found
    return source, found.group().splitlines()[0].split("  #")[0]


def said_of(names: dict[str, Any], source: str, program: str, capsys: Any) -> str:
    """Return what a cell prints if this program stands in it."""
    exec(ANSWER.sub(lambda _: program, source), names)
    return str(capsys.readouterr().out)


def trained(norm: float) -> Any:
    return SimpleNamespace(losses=[4.0, 3.0], norms=[norm])


# In place of trainings that take their time: six bugs, whose first gradient is too large, and four healthy runs.
TRAINED = {
    "bugs": [SimpleNamespace(name=f"bug {i}", setting="plain") for i in range(6)],
    "found": {(f"bug {i}", "Adam, clipped"): trained(9.0) for i in range(6)},
    "healthy": {("Adam, clipped", setting): [trained(1.0), trained(1.1)] for setting in ("plain", "unequal")},
}


@pytest.mark.parametrize("exercise", WRONG)
def test_a_wrong_program_is_told_its_worst_fault_and_the_model_answer_is_right(exercise, capsys, monkeypatch):
    stem, judge = exercise.split()
    monkeypatch.chdir(PATHS[0].parent)
    names = definitions(stem)
    names.update({"display": lambda *_: None}, **TRAINED if stem == "10_hidden_bugs" else {})
    source, first = exercise_of(stem, judge)
    model = next(answer for answer in ANSWERS[stem] if answer.startswith(first))
    for fault, body in WRONG[exercise]:
        program = f"{first}{body if body.startswith(chr(10)) else ' ' + body}\n"
        said = said_of(names, source, program, capsys)
        assert said.startswith("Not yet: "), said
        assert fault in said, said
    assert said_of(names, source, model, capsys).startswith("Right: ")
