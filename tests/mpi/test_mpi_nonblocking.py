"""Nonblocking and persistent calls of mpi.MPI: they progress by themselves, and mix in one Waitall."""

import numpy as np
import pytest

import ranks
from mpi import MPI, run

SIZES = (1, 2, 3, 5, 8)


@pytest.mark.parametrize("p", SIZES)
def test_requests_of_all_kinds_are_waited_for_together(p):
    def program(comm):
        r, right, left = comm.rank, (comm.rank + 1) % p, (comm.rank - 1) % p
        total, every, came, ring = np.zeros(3, "i8"), np.zeros(p, "i8"), np.zeros(2), np.zeros(4, "i8")
        persistent = comm.Allgather_init(np.array([r]), every)
        persistent.Start()
        requests = [
            comm.Iallreduce(np.full(3, r), total), comm.isend({"from": r}, right, 7), persistent,
            comm.irecv(source=left, tag=7), comm.Ibarrier(), comm.Isend(np.array([r, 0.5]), right),
            comm.Irecv(came, left),
            comm.Isendrecv(np.full(4, r), right, 9, ring, left, 9),
        ]  # fmt: skip
        statuses = []
        MPI.Request.Waitall(requests, statuses)
        assert (total == p * (p - 1) // 2).all()
        assert (every == np.arange(p)).all()
        assert came.tolist() == [left, 0.5]
        assert (ring == left).all()
        assert (statuses[-1].source, statuses[-1].tag, statuses[-1].Get_count(MPI.INT64_T)) == (left, 9, 4)
        persistent.Free()
        return not persistent

    assert all(run(program, p).results)


def test_a_collective_completes_while_its_rank_is_busy_with_something_else():
    def program(comm):
        x = np.array([comm.rank + 1.0])
        out = np.zeros(1)
        request = comm.Iallreduce(x, out)
        if comm.rank == 0:  # the others need rank 0's part, which comes without its Wait
            comm.recv(source=2)
        else:
            request.Wait()
            if comm.rank == 2:
                comm.send("done", 0)
        request.Wait()
        return out[0]

    assert run(program, 3).results == [6.0] * 3


def test_collectives_are_waited_for_in_any_order_and_do_not_mix():
    def program(comm):
        outs = [np.zeros(n, "i8") for n in range(1, 6)]
        requests = [comm.Iallreduce(np.full(n, comm.rank + n), out) for n, out in enumerate(outs, 1)]
        order = list(range(5)) if comm.rank % 2 else [4, 2, 0, 3, 1]
        for index in order:
            requests[index].Wait()
        return [out.tolist() for out in outs]

    assert run(program, 4).results == [[[6 + 4 * n] * n for n in range(1, 6)]] * 4


def test_a_loop_of_tests_ends_and_a_collective_that_one_rank_never_calls_is_explained():
    def polls(comm):
        request = comm.Ibarrier()
        n = 0
        while not request.Test():
            n += 1
        return n

    assert all(n >= 0 for n in run(polls, 4).results)
    with pytest.raises(ranks.DeadlockError, match=r"Wait\(\).*test_mpi_nonblocking.py.*waits for rank 0"):
        run(lambda comm: comm.Ibarrier().Wait() if comm.rank else None, 3)


def test_a_collective_that_nobody_waits_for_is_a_warning_and_an_error_if_checked():
    def program(comm):
        comm.Ibarrier()
        comm.Barrier()

    with pytest.warns(ranks.ProgramWarning, match="Ibarrier.*never completed"):
        run(program, 2)
    with pytest.raises(ranks.UnfinishedRequestError, match="Ibarrier"):
        run(program, 2, check=True)


@pytest.mark.parametrize(
    "options", [{"trace": True}, {"check": True}, {"network": "dgx-a100-shared"}, {"buffering": "none"}]
)
def test_nonblocking_collectives_run_under_observers_and_on_all_networks(options):
    def program(comm):
        out, b = np.zeros(1000), np.arange(500.0) if comm.rank == 1 else np.zeros(500)
        requests = [comm.Iallreduce(np.ones(1000), out), comm.Ibcast(b, 1)]
        MPI.Request.Waitall(requests)
        return out.sum() + b.sum()

    assert run(program, 9, **options).results == [9000 + 499 * 250.0] * 9


def test_a_collective_takes_its_time_from_the_call_on():
    def program(comm):
        out, times = np.zeros(100), []
        for _ in range(3):
            ranks.spend(MPI.COMM_WORLD._c, 10**9)
            begin = MPI.Wtime()
            comm.Iallreduce(np.ones(100), out).Wait()
            times.append(round(MPI.Wtime() - begin, 12))
        return times

    times = run(program, 4).results[0]
    assert times[0] > 0
    assert times == [times[0]] * 3


def test_the_clock_lets_a_collective_overlap_with_work():
    def program(comm):
        x, out = np.zeros(100_000), np.zeros(100_000)
        begin = MPI.Wtime()
        comm.Allreduce(x, out)
        alone = MPI.Wtime() - begin
        begin = MPI.Wtime()
        request = comm.Iallreduce(x, out)
        ranks.spend(MPI.COMM_WORLD._c, round(alone * 1e12))  # work as long as the collective takes
        request.Wait()
        return (MPI.Wtime() - begin) / alone

    assert max(run(program, 4).results) < 1.5
