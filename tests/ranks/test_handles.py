"""Claims about handles: they belong to one rank of one run, and whoever else uses them is told whose they are."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranks
from ways import COMPLETIONS, call_on

X = np.zeros(1)


def open_request(comm: ranks.Comm) -> Any:
    return comm.irecv(source=comm.rank, tag=9)


def persistent(comm: ranks.Comm) -> Any:
    return comm.Recv_init(X.copy(), comm.rank, 9)


def started(comm: ranks.Comm) -> Any:
    request = persistent(comm)
    request.Start()
    return request


def matched(comm: ranks.Comm) -> Any:
    comm.bsend("x", comm.rank, 8)
    return comm.mprobe(comm.rank, 8)


# What a rank may keep, and what may be done with it.
USES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    **{
        f"comm.{name}": (lambda comm: comm, use)
        for name, use in {
            "Send": lambda c: c.Send(X, 0),
            "Ssend": lambda c: c.Ssend(X, 0),
            "Bsend": lambda c: c.Bsend(X, 0),
            "send": lambda c: c.send(1, 0),
            "Recv": lambda c: c.Recv(X.copy(), 0),
            "recv": lambda c: c.recv(source=0),
            "recv of any": lambda c: c.recv(),
            "Sendrecv": lambda c: c.Sendrecv(X, 0, 0, X.copy(), 0),
            "Sendrecv_replace": lambda c: c.Sendrecv_replace(X.copy(), 0, 0, 0),
            "sendrecv": lambda c: c.sendrecv(1, 0, source=0),
            "Isend": lambda c: c.Isend(X, 0),
            "isend": lambda c: c.isend(1, 0),
            "Irecv": lambda c: c.Irecv(X.copy(), 0),
            "irecv": lambda c: c.irecv(),
            "Send_init": lambda c: c.Send_init(X, 0).Start(),
            "Recv_init": lambda c: c.Recv_init(X.copy(), 0).Start(),
            "Probe": lambda c: c.Probe(0),
            "Iprobe": lambda c: c.Iprobe(0),
            "Mprobe": lambda c: c.Mprobe(0),
            "Improbe": lambda c: c.Improbe(),
            "Split": lambda c: c.Split(0),
            "Dup": lambda c: c.Dup(),
            "Free": lambda c: c.Free(),
            "Create": lambda c: c.Create(c.Get_group()),
            "spend": lambda c: ranks.spend(c, 5),
            "announce": lambda c: ranks.announce(c, "barrier"),
        }.items()
    },
    "Dup of it": (lambda comm: comm.Dup(), lambda c: c.Send(X, 0)),
    "Split of it": (lambda comm: comm.Split(0), lambda c: c.recv()),
    **{f"request, {name}": (open_request, lambda r, n=name: call_on(n, r)()) for name in [*COMPLETIONS, "Get_status"]},
    "request.Cancel": (open_request, lambda r: r.Cancel()),
    "request.Free": (open_request, lambda r: r.Free()),
    "persistent.Start": (persistent, lambda r: r.Start()),
    "persistent.Startall": (persistent, lambda r: r.Startall([r])),
    "persistent.Free": (persistent, lambda r: r.Free()),
    **{f"started, {name}": (started, lambda r, n=name: call_on(n, r)()) for name in ("Wait", "Test", "Waitany")},
    "message.recv": (matched, lambda m: m.recv()),
    "message.irecv": (matched, lambda m: m.irecv()),
    "message.Recv": (matched, lambda m: m.Recv(bytearray(99))),
    "message.Irecv": (matched, lambda m: m.Irecv(bytearray(99))),
}


@pytest.mark.parametrize("name", USES)
def test_a_handle_of_another_rank_is_refused_and_both_ranks_are_named(name: str) -> None:
    keep, use = USES[name]

    def program(comm: ranks.Comm) -> None:
        handles[comm.rank] = keep(comm)
        if comm.rank == user:
            comm.recv(source=owner, tag=1)
            use(handles[owner])
        elif comm.rank == owner:
            comm.send("here it is", user, tag=1)
            comm.recv(source=user, tag=2)

    for user, owner in ((0, 2), (2, 0)):
        for check in (False, True):
            handles: dict[int, Any] = {}
            with pytest.raises(ranks.InvalidHandleError) as caught:
                ranks.run(program, 3, check=check)
            assert caught.value.rank == user
            assert f"of rank {owner}" in str(caught.value)
            assert f"rank {user}" in str(caught.value)


@pytest.mark.parametrize("name", ["Waitall", "waitall", "Waitany", "Waitsome", "Testall", "Testany", "Testsome"])
def test_a_handle_of_another_rank_is_found_in_any_place_of_a_list(name: str) -> None:
    def program(comm: ranks.Comm, place: int) -> None:
        handles[comm.rank] = [comm.irecv(source=1 - comm.rank, tag=tag) for tag in range(3)]
        comm.sendrecv(None, 1 - comm.rank, 9, source=1 - comm.rank, recvtag=9)
        if comm.rank == 0:
            requests = [*handles[0]]
            requests[place] = handles[1][place]
            getattr(ranks.Request, name)(requests)
        comm.recv(source=0, tag=10)

    handles: dict[int, Any] = {}
    for place in range(3):
        with pytest.raises(ranks.InvalidHandleError, match=r"of rank 1"):
            ranks.run(program, 2, place)


@pytest.mark.parametrize("name", USES)
def test_a_handle_of_a_run_that_is_over_is_refused(name: str) -> None:
    keep, use = USES[name]
    for fails in (False, True):
        kept = []

        def program(comm: ranks.Comm, fails: bool = fails, kept: Any = kept) -> None:
            kept.append(keep(comm))
            if fails:
                raise ZeroDivisionError

        with contextlib.suppress(ranks.RanksError, ZeroDivisionError):  # some leave a request open
            ranks.run(program, 1)
        with pytest.raises(ranks.InvalidHandleError, match="over"):
            use(kept[0])
        with pytest.raises(ranks.InvalidHandleError, match="over"):
            ranks.run(lambda comm, kept=kept: use(kept[0]), 2)


@pytest.mark.parametrize("name", USES)
def test_a_handle_used_by_a_thread_is_refused(name: str) -> None:
    keep, use = USES[name]

    def program(comm: ranks.Comm) -> None:
        handle, caught = keep(comm), []

        def work() -> None:
            try:
                use(handle)
            except BaseException as problem:
                caught.append(problem)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        raise caught[0] if caught else AssertionError("nothing was refused")

    with pytest.raises(ranks.InvalidHandleError, match="thread"):
        ranks.run(program, 1)


@pytest.mark.parametrize("name", USES)
def test_a_handle_used_in_a_nested_run_is_refused(name: str) -> None:
    keep, use = USES[name]

    def program(comm: ranks.Comm) -> None:
        handle = keep(comm)
        ranks.run(lambda inner: use(handle) if inner.rank == 1 else inner.recv(source=1), 2)

    with pytest.raises(ranks.InvalidHandleError, match=r"another run|outer run|of rank 0"):
        ranks.run(program, 1)


def test_nested_runs_that_keep_their_handles_apart_are_fine() -> None:
    def inner(comm: ranks.Comm) -> Any:
        return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size), ranks.Wtime()

    def program(comm: ranks.Comm) -> Any:
        ranks.spend(comm, 10**9)
        got = ranks.run(inner, 3).results
        return got, comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size), ranks.Wtime() >= 1e-3

    alone = ranks.run(inner, 3).results
    assert [value for value, _ in alone] == [2, 0, 1]
    assert ranks.run(program, 2).results == [(alone, 1, True), (alone, 0, True)]


def test_the_last_rank_s_communicator_kept_in_a_global_is_refused() -> None:
    def helper() -> Any:
        return kept["comm"].sendrecv("x", 0, source=0)

    def program(comm: ranks.Comm) -> Any:
        kept["comm"] = comm
        comm.sendrecv(None, (comm.rank + 1) % comm.size)
        return helper() if comm.rank == 0 else "idle"

    kept: dict[str, Any] = {}
    with pytest.raises(ranks.InvalidHandleError, match=r"rank 0: .* of rank 2"):
        ranks.run(program, 3)


def test_a_communicator_kept_from_one_schedule_to_the_next_is_refused_in_every_later_one() -> None:
    def program(comm: ranks.Comm) -> Any:
        kept.append(comm)
        return kept[0].sendrecv(comm.rank, 0, source=0) if comm.rank == 0 else None

    kept: list[Any] = []
    with pytest.raises(ranks.NondeterminismError, match=r"InvalidHandleError: rank 0: .* run is over"):
        ranks.explore(program, 2)
