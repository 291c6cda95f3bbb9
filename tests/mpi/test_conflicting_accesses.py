"""Two accesses of one epoch that share a byte are reported if one writes and not both are atomic; no others are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import ranks
from mpi import MPI, run
from mpi.conflicts import ATOMIC, GET, PUT, Access, Conflicts

ONE, TWO, GOT = np.ones(1), np.ones(2), np.zeros(1)
WHOLE, BYTES = np.zeros(1, int), bytearray(2)
PART = MPI.BYTE.Create_hindexed([2], [4]).Commit()
COLUMN = MPI.DOUBLE.Create_vector(2, 1, 4).Commit()

# What ranks 1 and 2 do with the memory of rank 0, eight float64: `w` is the window, `r` the rank, `pair` the two.
CONFLICTS = [
    "w.Fence(); w.Put(ONE, 0); w.Fence()",
    "w.Fence(); w.Put(ONE, 0, 5) if r == 1 else w.Get(GOT, 0, 5); w.Fence()",
    "w.Fence(); w.Put(ONE, 0) if r == 1 else w.Accumulate(ONE, 0); w.Fence()",
    "w.Fence(); w.Get(GOT, 0) if r == 1 else w.Accumulate(ONE, 0); w.Fence()",
    "w.Fence(); w.Put(ONE, 0, r); w.Put(ONE, 0, r); w.Fence()",
    "w.Fence(); w.Put(ONE, 0, r); w.Get(GOT, 0, r); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, r); w.Fence()",
    "w.Fence(); w.Fence(); w.Put(TWO, 0, r); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, [r, 1, COLUMN] if r == 1 else 4); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, [1, 1, COLUMN]); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, [1, 1, COLUMN]) if r == 1 else w.Put(BYTES, 0, [5, 1, PART]); w.Fence()",
    "w.Fence(); w.Put(ONE, 0) if r == 1 else w.Compare_and_swap(WHOLE, WHOLE, GOT.view(int), 0); w.Fence()",
    "w.Lock_all(); r > 1 or w.Get(GOT, 0); late(); r < 2 or w.Put(ONE, 0); late(); w.Unlock_all()",
    "w.Start(zero); w.Put(ONE, 0); w.Complete()",
    "w.Lock(0, MPI.LOCK_SHARED); w.Put(ONE, 0); w.Unlock(0)",
    "w.Lock(0); w.Get(GOT, 0, r); w.Put(ONE, 0, r); w.Unlock(0)",
    "w.Lock_all(); turn(lambda: w.Put(ONE, 0)); pair.Barrier(); w.Unlock_all()",
    "w.Lock_all(); turn(lambda: w.Rput(ONE, 0).Wait()); pair.Barrier(); w.Unlock_all()",
    "w.Lock_all(); w.Rget(GOT, 0, r); w.Put(ONE, 0, r); w.Unlock_all()",
]
NONE = [
    "w.Fence(); w.Get(GOT, 0); w.Get(GOT, 0); w.Fence()",
    "w.Fence(); w.Accumulate(ONE, 0); w.Accumulate(ONE, 0, op=MPI.MAX); w.Fence()",
    "w.Fence(); w.Fetch_and_op(ONE, GOT, 0); w.Get_accumulate(ONE, GOT, 0, op=MPI.NO_OP); w.Fence()",
    "w.Fence(); w.Put(ONE, 0, r); w.Fence(); w.Put(ONE, 0, 3 - r); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, 2 * r); w.Put(ONE[:0], 0, 2 * r + 1); w.Fence()",
    "w.Fence(); w.Put(ONE, r); w.Put(ONE, 0, r); w.Put(ONE, MPI.PROC_NULL); w.Fence()",
    "w.Fence(); w.Put(TWO, 0, [r, 1, COLUMN]); w.Put(ONE, 0, 4 * r - 1); w.Fence()",
    "w.Fence(); w.Put(ONE, 0) if r == 1 else v.Put(ONE, 0); w.Fence()",
    "w.Lock(0); w.Get(GOT, 0); w.Flush(0); w.Put(ONE, 0); w.Unlock(0)",
    "w.Lock_all(); turn(lambda: (w.Put(ONE, 0), w.Flush(0))); pair.Barrier(); w.Unlock_all()",
    "w.Lock_all(); turn(lambda: (w.Put(ONE, 0), w.Flush_all())); pair.Barrier(); w.Unlock_all()",
    "w.Lock_all(); w.Rget(GOT, 0, r).Wait(); w.Put(ONE, 0, r); w.Unlock_all()",
    "turn(lambda: (w.Lock(0, MPI.LOCK_SHARED), w.Put(ONE, 0), w.Unlock(0)))",
]


def program(comm: Any, code: str) -> None:
    r = comm.rank
    pair = comm.Split(r > 0, r)

    def turn(access: Any) -> None:
        """Let rank 1 go before rank 2."""
        if r == 2:
            pair.recv()
        access()
        if r == 1:
            pair.send(None, 1)

    def late() -> None:
        """Let more time go than a message takes there and back."""
        for _ in range(3):
            pair.Barrier()

    w, v = (MPI.Win.Create(np.zeros(8), 8, comm=comm) for _ in range(2))
    v.Fence()
    names = {"w": w, "v": v, "r": r, "turn": turn, "late": late, "pair": pair, "zero": comm.group.Incl([0])} | globals()
    if r:
        exec(code, names)
    elif "Start" in code:
        w.Post(comm.group.Excl([0]))
        w.Wait()
    else:
        for _ in range(code.count("w.Fence()")):
            w.Fence()
    v.Fence()


@pytest.mark.parametrize("code", CONFLICTS)
def test_accesses_that_conflict_are_an_error_of_a_checked_run(code: str) -> None:
    with pytest.raises(MPI.Exception) as caught:
        run(program, 3, code, check=True)
    assert caught.value.Get_error_class() == MPI.ERR_RMA_CONFLICT
    assert "of the memory of rank 0, which a" in str(caught.value)


@pytest.mark.parametrize("code", NONE)
def test_accesses_that_do_not_conflict_are_none(code: str) -> None:
    run(program, 3, code, check=True)


def test_exposures_of_a_memory_are_epochs_of_their_own() -> None:
    def one_after_the_other(comm: Any) -> None:
        w = MPI.Win.Create(np.zeros(1), 8, comm=comm)
        for origin in (1, 2, 1):
            if comm.rank == 0:
                w.Post(comm.group.Incl([origin]))
                w.Wait()
            elif comm.rank == origin:
                w.Start(comm.group.Incl([0]))
                w.Put(ONE, 0)
                w.Complete()

    run(one_after_the_other, 3, check=True)


def test_a_conflict_is_one_warning_for_two_places_of_the_program() -> None:
    def writes(comm: Any) -> None:
        w = MPI.Win.Create(np.zeros(4), 8, comm=comm)
        for _ in range(3):
            w.Fence()
            for target in range(comm.size):
                w.Put(ONE, target, 2)
        w.Fence()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run(writes, 3)
    (only,) = told
    assert only.category is ranks.ProgramWarning
    line = writes.__code__.co_firstlineno + 5
    place = f"test_conflicting_accesses.py:{line}"
    assert str(only.message) == (
        f"rank 1: Put() at {place}: got bytes 16 to 24 of the memory of rank 0, which a Put of rank 0 at {place} "
        "touches in the same epoch, expected accesses that share no byte, or only read, or are all atomic; remedy: "
        "begin another epoch in between, or use Accumulate"
    )


def test_in_a_dynamic_window_a_conflict_is_told_by_its_address() -> None:
    def attached(comm: Any) -> None:
        w, x = MPI.Win.Create_dynamic(comm=comm), np.zeros(3)
        w.Attach(x)
        address = comm.bcast(MPI.Get_address(x[1:]))
        w.Fence()
        w.Put(ONE, 0, address)
        with pytest.raises(MPI.Exception, match=f"got bytes {address} to {address + 8} of the memory of rank 0"):
            w.Put(ONE, 0, address)
        w.Fence()

    run(attached, 1, check=True)


MEMORY = np.zeros(10, np.uint8)
KINDS, OVER = st.sampled_from([GET, PUT, ATOMIC]), st.sampled_from([False, False, False, True])
ACCESSES = st.tuples(KINDS, st.integers(0, 1), st.integers(0, 6), st.integers(1, 3), OVER)


@settings(max_examples=300)
@example([(GET, 0, 0, 1, True), (GET, 0, 0, 1, False), (PUT, 0, 0, 1, False)])
@given(st.lists(ACCESSES, min_size=3, max_size=12))
def test_what_is_found_is_what_a_look_at_all_pairs_finds(drawn: list[Any]) -> None:
    found, kept = Conflicts(), []
    found.most_over = 1
    for now_ps, (kind, origin, begin, size, is_over) in enumerate(drawn):
        touched = set(range(begin, begin + size))
        expected = any(bytes_ & touched and not kind == other != PUT for other, _, bytes_ in kept)
        access = Access(kind, origin, MEMORY[begin : begin + size], None)
        assert (found.add(access, "Lock", now_ps) is not None) == expected
        if not expected:
            kept.append((kind, origin, touched))
        if is_over:
            found.complete(origin, now_ps)
            kept = [each for each in kept if each[1] != origin]
