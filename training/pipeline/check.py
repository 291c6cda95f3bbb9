"""Whether a schedule can be run: every pass there once, nothing read before it is made, no rank waiting for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from training.pipeline.schedule import KINDS, Op, Schedule

Group = tuple[Op, ...]
Step = tuple[str, Op]  # "receive", "run" or "send", and whose result is received, which is run, whose result is sent


def check_schedule(schedule: Schedule, *, buffered: bool = True) -> None:
    """Raise ValueError unless the schedule is complete, causal and free of deadlock.

    Complete:  each stage and microbatch has one F and one B, or one F, I and W, all three on the same rank.
    Causal:    no operation stands before one of its own rank whose result it reads.
    Deadlock:  a rank receives what an operation reads, runs it, and sends the result on. If buffered, a send always
               returns; else it returns when the receive has started, as a long MPI_Send does. The error names the
               ranks that wait for each other, and for which operation.
    """
    _check_complete(schedule)
    if buffered:
        _run_buffered(schedule)
    else:
        _run_blocking(schedule)


def _check_complete(schedule: Schedule) -> None:
    who = f"check_schedule: {schedule.name}"
    if len(schedule.operations) != schedule.p:
        raise ValueError(
            f"{who}: got the operations of {len(schedule.operations)} ranks, expected those of p={schedule.p}; "
            "remedy: give every rank its operations, if none then ()"
        )
    stages, microbatches = range(schedule.stages), range(schedule.microbatches)
    counted = Counter(op for ops in schedule.operations for op in ops)
    for op, times in counted.items():
        if op.kind not in KINDS or op.stage not in stages or op.microbatch not in microbatches:
            raise ValueError(
                f"{who}: got {op} on rank {schedule.places[op]}, expected a kind of {', '.join(KINDS)}, a stage below "
                f"{schedule.stages} and a microbatch below {schedule.microbatches}; remedy: leave it out"
            )
        if times > 1:
            raise ValueError(f"{who}: got {op} {times} times, expected it once; remedy: leave the others out")
    for stage in stages:
        for microbatch in microbatches:
            _check_pass(schedule, stage, microbatch)


def _check_pass(schedule: Schedule, stage: int, microbatch: int) -> None:
    """Check that the operations of one stage and microbatch are there, on one rank."""
    there = [op for op in (Op(kind, stage, microbatch) for kind in KINDS) if op in schedule.places]
    kinds = "".join(op.kind for op in there)
    if kinds not in ("FB", "FIW"):
        raise ValueError(
            f"check_schedule: {schedule.name}: got {' and '.join(kinds) or 'nothing'} for stage {stage}, microbatch "
            f"{microbatch}, expected F and B, or F, I and W; remedy: add what is missing"
        )
    ranks = [schedule.places[op] for op in there]
    if len(set(ranks)) > 1:
        placed = ", ".join(f"{op} on rank {rank}" for op, rank in zip(there, ranks, strict=True))
        raise ValueError(
            f"check_schedule: {schedule.name}: got {placed}, expected them on one rank, which has the activations; "
            "remedy: move them together"
        )


# -- running it without numbers ----------------------------------------------------------------------------------


def runnable(schedule: Schedule, orders: Sequence[Sequence[Group]]) -> Iterator[tuple[int, Group]]:
    """Yield rank and group, each after what it needs and after the groups before it on its rank, while there are any.

    orders: For each rank, its operations in order, in groups of those that start at once.
    """
    done: set[Op] = set()
    at = [0] * schedule.p
    moved = True
    while moved:
        moved = False
        for rank, order in enumerate(orders):
            while at[rank] < len(order) and all(done.issuperset(schedule.needs[op]) for op in order[at[rank]]):
                yield rank, order[at[rank]]
                done.update(order[at[rank]])
                at[rank] += 1
                moved = True


def one_by_one(schedule: Schedule) -> list[list[Group]]:
    """Return the orders of all ranks, every operation a group of its own."""
    return [[(op,) for op in ops] for ops in schedule.operations]


def _run_buffered(schedule: Schedule) -> None:
    done = {group[0] for _, group in runnable(schedule, one_by_one(schedule))}

    def waits(rank: int) -> tuple[int, str] | None:
        op = next((op for op in schedule.operations[rank] if op not in done), None)
        if op is None:
            return None
        needed = next(needed for needed in schedule.needs[op] if needed not in done)
        holder = schedule.places[needed]
        return (
            holder,
            f"rank {rank} waits before {op} for {needed} of {'itself' if holder == rank else f'rank {holder}'}",
        )

    _raise_if_waiting(schedule, waits, "put each operation after those that it needs")


def _run_blocking(schedule: Schedule) -> None:
    steps = [_steps(schedule, rank) for rank in range(schedule.p)]
    at = [0] * schedule.p

    def head(rank: int) -> Step | None:
        return steps[rank][at[rank]] if at[rank] < len(steps[rank]) else None

    def peer(rank: int, step: Step) -> int:
        kind, op = step
        return schedule.places[op] if kind == "receive" else schedule.places[_reader(schedule, op)]

    moved = True
    while moved:
        moved = False
        for rank in range(schedule.p):
            while step := head(rank):
                if step[0] == "send":
                    receiver = peer(rank, step)
                    if head(receiver) != ("receive", step[1]):
                        break
                    at[receiver] += 1
                elif step[0] == "receive":
                    break
                at[rank] += 1
                moved = True

    def waits(rank: int) -> tuple[int, str] | None:
        step = head(rank)
        if step is None:
            return None
        other = peer(rank, step)
        what = "to send {} to" if step[0] == "send" else "to receive {} from"
        return other, f"rank {rank} waits {what.format(step[1])} rank {other}"

    _raise_if_waiting(schedule, waits, "buffer the messages, or post receives before sends")


def _reader(schedule: Schedule, op: Op) -> Op:
    """Return the operation of the neighbouring stage that reads the result of `op`."""
    if op.kind == "F":
        return Op("F", op.stage + 1, op.microbatch)
    return schedule.backward(op.stage - 1, op.microbatch)


def _steps(schedule: Schedule, rank: int) -> list[Step]:
    """Return what a rank does if it receives what an operation needs, runs it and sends the result on."""
    steps: list[Step] = []
    for op in schedule.operations[rank]:
        steps += [("receive", needed) for needed in schedule.needs[op] if schedule.places[needed] != rank]
        steps.append(("run", op))
        is_read = op.stage + 1 < schedule.stages if op.kind == "F" else op.kind != "W" and op.stage > 0
        if is_read and schedule.places[_reader(schedule, op)] != rank:
            steps.append(("send", op))
    return steps


def _raise_if_waiting(schedule: Schedule, waits: Callable[[int], tuple[int, str] | None], remedy: str) -> None:
    """Raise ValueError with the ranks that wait for each other, if any rank waits.

    waits: It gives, for a rank, the rank that it waits for and a sentence that says so, or None if its work is done.
    """
    rank = next((rank for rank in range(schedule.p) if waits(rank)), None)
    if rank is None:
        return
    path: list[int] = []
    while rank not in path:
        path.append(rank)
        found = waits(rank)
        assert found is not None
        rank = found[0]
    said = "; ".join(found[1] for each in path[path.index(rank) :] if (found := waits(each)))
    raise ValueError(
        f"check_schedule: {schedule.name} hangs: got {said}; expected an order in which some rank can go on; "
        f"remedy: {remedy}"
    )
