"""Claims about programs and callers that are no ranks: coroutines, generators, threads, event loops; each is told."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import greenlet
import numpy as np
import pytest

import ranks
from processes import HANG_S


async def coroutine(comm: ranks.Comm) -> int:
    return comm.rank


async def asynchronous_generator(comm: ranks.Comm) -> Any:
    yield comm.rank


def generator(comm: ranks.Comm) -> Any:
    yield comm.rank


class Program:
    async def asynchronous(self, comm: ranks.Comm) -> int:
        return comm.rank

    def generated(self, comm: ranks.Comm) -> Any:
        yield comm.rank

    async def __call__(self, comm: ranks.Comm) -> int:
        return comm.rank


@functools.wraps(generator)
def wrapped(*args: Any) -> Any:
    return generator(*args)


NO_PROGRAMS = {
    "coroutine function": coroutine,
    "asynchronous generator": asynchronous_generator,
    "generator function": generator,
    "method, asynchronous": Program().asynchronous,
    "method, generator": Program().generated,
    "object whose call is asynchronous": Program(),
    "partial": functools.partial(coroutine),
    "wrapped": wrapped,
    "lambda to a coroutine": lambda comm: coroutine(comm),
    "lambda to a generator": lambda comm: generator(comm),
    "lambda to a generator expression": lambda comm: (n for n in range(comm.size)),
    "lambda to an asynchronous generator": lambda comm: asynchronous_generator(comm),
}


@pytest.mark.parametrize("name", NO_PROGRAMS)
def test_what_would_not_run_as_a_program_is_refused_with_the_remedy(name: str) -> None:
    for run in (ranks.run, lambda program, p: ranks.run(program, p, check=True), ranks.explore):
        with pytest.raises(TypeError, match="remedy: ") as caught:
            run(NO_PROGRAMS[name], 2)
        assert "generator" in str(caught.value) or "coroutine" in str(caught.value) or "async" in str(caught.value)


def test_a_list_of_what_a_generator_gives_and_a_result_of_asyncio_are_fine() -> None:
    def program(comm: ranks.Comm) -> Any:
        return list(generator(comm)), asyncio.run(coroutine(comm)), comm.sendrecv(1, comm.rank, source=comm.rank)

    assert ranks.run(program, 3).results == [([rank], rank, 1) for rank in range(3)]


# -- threads ----------------------------------------------------------------------------------------------------------

CALLS = {
    "send": lambda comm: comm.send(1, 0),
    "recv": lambda comm: comm.recv(source=0),
    "Sendrecv": lambda comm: comm.Sendrecv(np.zeros(1), 0, 0, np.zeros(1), 0),
    "Isend": lambda comm: comm.Isend(np.zeros(1), 0),
    "Iprobe": lambda comm: comm.Iprobe(),
    "Dup": lambda comm: comm.Dup(),
    "spend": lambda comm: ranks.spend(comm, 1),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("p", [1, 3])
def test_a_call_from_a_thread_of_a_rank_is_refused_in_the_thread_and_the_rank_goes_on(p: int, name: str) -> None:
    def program(comm: ranks.Comm) -> Any:
        with ThreadPoolExecutor(1) as pool:
            problem = pool.submit(CALLS[name], comm).exception(timeout=HANG_S)
        assert isinstance(problem, ranks.InvalidHandleError), repr(problem)
        assert "thread" in str(problem)
        assert problem.remedy
        return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    assert ranks.run(program, p).results == [(rank - 1) % p for rank in range(p)]


def test_runs_in_threads_of_their_own_do_not_meet() -> None:
    def program(comm: ranks.Comm) -> Any:
        return [comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size) for _ in range(50)]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda p: ranks.run(program, p).results, [2, 3, 4]))
    assert found == [[[(rank - 1) % p] * 50 for rank in range(p)] for p in (2, 3, 4)]


def test_a_run_inside_of_a_thread_of_a_rank_is_a_run_of_its_own() -> None:
    def program(comm: ranks.Comm) -> Any:
        got = []
        thread = threading.Thread(target=lambda: got.append(ranks.run(lambda inner: inner.rank, 2).results))
        thread.start()
        thread.join()
        return got, comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    assert ranks.run(program, 2).results == [([[0, 1]], 1), ([[0, 1]], 0)]


def test_wtime_in_a_thread_of_a_rank_is_outside_of_the_run() -> None:
    def program(comm: ranks.Comm) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return type(pool.submit(ranks.Wtime).exception(timeout=HANG_S))

    assert issubclass(ranks.run(program, 1).results[0], RuntimeError)


# -- event loops and greenlets ----------------------------------------------------------------------------------------


def test_a_rank_that_waits_inside_of_an_event_loop_while_others_run_is_told_so() -> None:
    async def work(comm: ranks.Comm) -> Any:
        await asyncio.sleep(0)
        return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    def program(comm: ranks.Comm) -> Any:
        job = work(comm)
        try:
            return asyncio.run(job)
        finally:
            job.close()  # one that is never begun is a warning

    with pytest.raises(ranks.RanksError, match=r"asyncio|event loop") as caught:
        ranks.run(program, 3)
    assert "remedy: " in str(caught.value)
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_rank_may_use_an_event_loop_between_two_calls_and_a_run_may_be_inside_of_one() -> None:
    def program(comm: ranks.Comm) -> Any:
        got = asyncio.run(asyncio.sleep(0, comm.rank))
        return comm.sendrecv(got, (comm.rank + 1) % comm.size)

    assert ranks.run(program, 3).results == [2, 0, 1]

    async def outside() -> Any:
        return ranks.run(lambda comm: comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size), 3).results

    assert asyncio.run(outside()) == [2, 0, 1]


def test_a_call_from_a_greenlet_of_the_program_s_own_is_no_raw_error() -> None:
    def program(comm: ranks.Comm) -> Any:
        return greenlet.greenlet(lambda: comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)).switch()

    try:
        text = str(ranks.run(program, 3).results)
    except ranks.RanksError as problem:
        text = str(problem)
    assert text == "[2, 0, 1]" or ("greenlet" in text and "remedy: " in text), text
