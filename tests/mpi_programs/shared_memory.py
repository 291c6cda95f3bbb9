"""Run under mpiexec: what shared memory must do on real MPI. argv names the checks; prints "done" once per rank."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

import numpy as np
import pytest

import collectives
import collectives.operations
import collectives.shared
import collectives.staging_buffer
import ranks
from claims import claim_allreduce, claim_barriers_leave_nothing_behind, fixed_cases, rank_order, same
from collectives.scratch import scratch
from collectives.shared import prepared
from inside import kept as keeping
from ranks.real import world

comm = world()
p, rank = comm.size, comm.rank


def in_shared_memory(comm, x, op=np.add, *, out=None):
    shared = ranks.shared_array(comm, x.shape, x.dtype)
    shared.local[...] = x
    result = collectives.shared_allreduce(shared, op)
    if out is None:
        return result
    out[...] = result
    return out


def claims():
    """The claims over all fixed cases, in pieces as they are and in tiny ones; arrays outlive all else."""
    for allreduce in (collectives.staged_allreduce, in_shared_memory):
        for case in fixed_cases():
            claim_allreduce(comm, case, allreduce, rank_order)
            # What the first call has prepared serves the second, whose arrays may lie in memory in another way.
            claim_allreduce(comm, replace(case, layout="strided", out="fresh"), allreduce, rank_order)
    claim_barriers_leave_nothing_behind(comm, None, collectives.flag_barrier)
    collectives.staging_buffer.slot_size = lambda p: 4096
    collectives.staging_buffer._WHOLE = 4096
    other = comm.Dup()  # kept memory goes with its communicator: this one gets its own
    for case in fixed_cases():
        claim_allreduce(other, case, collectives.staged_allreduce, rank_order)
    handle = other.handle
    assert handle in keeping.kept_by_handle or p == 1
    other.Free()
    assert handle not in keeping.kept_by_handle
    array = in_shared_memory(comm, np.arange(1000))
    same(array, np.arange(1000) * p)


def barrier_holds():
    """No rank leaves a barrier before all have entered, which each says in memory that all see."""
    for barrier in (collectives.flag_barrier, collectives.dissemination_barrier):
        entered = ranks.shared_array(comm, 8, int)  # a line of its own
        for turn in range(1, 600):
            if turn % 60 == rank:
                sum(range(20_000))
            entered.local[0] = turn
            barrier(comm)
            assert all(array[0] >= turn for array in entered.arrays), (turn, entered.arrays)


def barriers_of_several():
    """Barriers of different communicators do not mix, nor with messages of the same tag; freed ones are given back.

    The test sees to it that nothing is left at the end: MPI says so.
    """
    other, ring = comm.Dup(), comm.Split(rank % 2, -rank)
    for barrier in (collectives.dissemination_barrier, collectives.flag_barrier):
        for turn in range(20):
            for each in (comm, other, ring)[: 1 + turn % 3]:
                for _ in range(turn % 4):
                    barrier(each)
            with ranks.checked(ring) as child:
                barrier(child)
        for _ in range(2100):  # more than MPICH has room for at a time
            child = comm.Dup()
            for _ in range(3):
                barrier(child)
            child.Free()
        for _ in range(3):
            barrier(comm)


def freed():
    """A communicator that was freed passes through no barrier, though it went through that one before."""
    for barrier in (collectives.dissemination_barrier, collectives.flag_barrier):
        child = comm.Dup()
        for _ in range(3):
            barrier(child)
        child.Free()
        with pytest.raises(ranks.mpi_of(comm).Exception):
            barrier(child)


def outlives():
    """Arrays in shared memory live on when the communicator for which they were made is freed, and so does sync."""
    child = comm.Dup()
    shared = ranks.shared_array(child, 1, int)
    child.Free()
    shared.local[0] = rank
    if rank == 0:
        time.sleep(0.1)  # the others wait for so long that they look after messages
    shared.sync()
    assert [int(array[0]) for array in shared.arrays] == [*range(p)]


def progress():
    """A rank that waits in a sync still moves the message that another one must have before it comes."""
    x = np.full(1 << 20, float(rank))
    for sender in range(p):
        requests = [comm.Isend(x, other) for other in range(p) if other != rank] if rank == sender else []
        if rank != sender:
            comm.Recv(x.copy(), sender)
        collectives.flag_barrier(comm)
        for request in requests:
            request.Wait()


def many_messages():
    """The same, when what must still move are receipts: after so many messages MPI has no room for all of them.

    The test's own time-out finds the hang.
    """
    x, room = np.zeros((512, 1 << 16), np.uint8), np.empty(1 << 16, np.uint8)
    shared, other = ranks.shared_array(comm, 1), 1 - rank
    for _ in range(120):
        sent = []
        for _ in range(2):
            sent += [comm.Isend(row, other) for row in x]
            for _ in x:
                comm.Recv(room, other)
        for request in sent:
            request.Wait()
        shared.sync()


def spare_memory():
    """What messages are received into is kept, begins in the middle of a page, and is each communicator's own."""
    other, n, dtype = comm.Dup(), 5001, np.dtype(np.float32)

    def where(of, n_spares, n):
        return [each.ctypes.data for each in scratch(of, n_spares, n, dtype)]

    first, second = where(comm, 2, n)
    assert second - first >= 4 * n
    assert first % 4096 == second % 4096 == 2048
    assert where(comm, 2, n) == [first, second]
    assert where(comm, 1, n - 1) == [first]
    assert not {*where(other, 2, n)} & {first, second}
    larger = scratch(comm, 3, 10 * n, dtype)
    begins = [each.ctypes.data for each in larger]
    assert [each.size for each in larger] == [10 * n] * 3
    assert where(comm, 3, 10 * n) == begins
    huge = scratch(comm, 1, 17 << 20, dtype)  # not kept
    assert huge[0].ctypes.data not in begins
    assert where(comm, 3, 10 * n) == begins
    small = scratch(comm, 2, 10, dtype)
    assert not np.shares_memory(small[0], small[1])
    assert small[0] is not scratch(comm, 2, 10, dtype)[0]
    other.Free()


def without_ordered_stores():
    """On another processor sync is MPI's barrier, and all else is the same."""
    ranks.shared_array.__globals__["_ORDERED"] = ()
    shared = ranks.shared_array(comm, 3)
    assert shared.sync.__name__ == "Barrier"
    collectives.flag_barrier(comm)
    same(in_shared_memory(comm, np.arange(5)), np.arange(5) * p)


def wrong_calls():
    """What is wrong on one rank is an error on all of them."""
    for make, text in [
        (lambda: ranks.shared_array(comm, 3 + (rank == 1)), "expected the same"),
        (lambda: ranks.shared_array(comm, 3, float if rank else "f4"), "expected the same"),
        (lambda: ranks.shared_array(comm, 1 << 60), "bytes of memory that all ranks can map"),
    ]:
        with pytest.raises(ValueError, match=text):
            make()


def same_bits():
    """All ranks get the same bits when the x of one lies in another way, which NumPy's loops may round otherwise."""
    made = np.random.default_rng(rank).standard_normal(8198).view(np.complex128).astype(np.complex64).reshape(-1)
    turned = made if rank else made[::-1].copy()[::-1]
    for x in (made, turned):
        for out in (None, np.empty_like(x), np.empty_like(x)[::-1] if rank else np.empty_like(x)):
            bits = comm.allgather(collectives.staged_allreduce(comm, x, np.multiply, out=out).tobytes())
            assert len({*bits}) == 1


def prepared_calls():
    """A call like an earlier one is prepared, and still checks its out; so are they forgotten when they are many."""
    x = np.arange(6.0) + rank
    expected = np.arange(6.0) * p + p * (p - 1) / 2
    same(collectives.staged_allreduce(comm, x), expected)
    assert prepared(comm, collectives.staged_allreduce, x, np.add) is not None
    assert prepared(comm, collectives.staged_allreduce, x, np.maximum) is None
    for out in (np.empty(5), np.empty((2, 6)), np.empty(6, "f4"), np.broadcast_to(0.0, 6), [0]):
        with pytest.raises((TypeError, ValueError), match="staged_allreduce: got out"):
            collectives.staged_allreduce(comm, x, out=out)
    assert collectives.staged_allreduce(comm, x, out=x) is x
    same(x, expected)
    for n in range(1, 1100):
        same(collectives.staged_allreduce(comm, np.full(n, rank)), np.full(n, p * (p - 1) // 2))
    assert len(ranks.kept(comm, collectives.staged_allreduce, dict)) < 1000
    large = np.arange(700_000) + rank
    for _ in range(2):
        same(collectives.staged_allreduce(comm, large), np.arange(700_000) * p + p * (p - 1) // 2)


def auto():
    """All ranks choose the same, from the same measured network; the chosen call is prepared, and right."""
    choices = []
    for n in (1, 300, 20_000, 600_000):
        x = np.arange(n, dtype=np.float32) % 1000 + rank
        expected = (np.arange(n) % 1000 * p + p * (p - 1) // 2).astype(np.float32)
        for _ in range(3):
            same(collectives.allreduce(comm, x), expected)
        choice = collectives.explain(comm, "allreduce", x)
        assert dict(choice.left_out).get("segmented_ring", "").startswith("inside a node processors copy messages")
        choices.append((str(choice), choice.machine))
    assert comm.allgather(choices) == [choices] * p
    names = {row.function.__name__ for row in collectives.CATALOGUE["allreduce"].values()}
    assert dict(choices[0][1].network.calls).keys() == names
    # Whatever was chosen above by what this machine is like now: when staging is, it is prepared for this door too.
    ranks.kept(comm, collectives.operations.fastest, dict)["allreduce", 6, 8, True] = collectives.staged_allreduce
    x = np.arange(6.0)
    assert prepared(comm, collectives.allreduce, x, np.add) is None
    same(collectives.allreduce(comm, x), x * p)
    assert prepared(comm, collectives.allreduce, x, np.add) is not None
    same(collectives.allreduce(comm, x + 1), (x + 1) * p)
    same(collectives.allreduce(comm, x, algorithm="ring"), x * p)


def lost_peer():
    """A rank whose peer has ended does not wait for ever, nor keep a processor busy meanwhile."""
    # A launcher ends the others when a process ends, if it notices. Here it cannot: rank 1 goes by another's number.
    own_number = os.getpid
    if rank == 1:
        gone = subprocess.Popen(["true"])
        gone.wait()
        os.getpid = lambda: gone.pid
    shared = ranks.shared_array(comm, 1)
    os.getpid = own_number
    if rank == 0:
        begin = os.times()
        with pytest.raises(ranks.LostPeerError, match="which was rank 1"):
            shared.sync()
        end = os.times()
        assert end.user + end.system - begin.user - begin.system < 0.5 * (end.elapsed - begin.elapsed), "it was busy"


for check in sys.argv[1:]:
    globals()[check]()
comm.Barrier()
sys.stdout.write(f"rank {rank} done\n")
