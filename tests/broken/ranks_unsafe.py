"""Programs that hang, each with the report that explains it. A line marked `# rank N` is where rank N hangs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import ranks

LARGE = 100_000  # bytes, above the eager limit


@dataclass(frozen=True)
class Hang:
    """A program, how it is run, the ranks at fault, what helps, and parts of the report."""

    program: Callable[[Any], Any]
    size: int
    core: list[int]
    buffering: str = "eager"
    passes_with: str | None = None
    says: tuple[str, ...] = ()


def both_send_first(comm: Any) -> None:
    comm.Send(np.zeros(100), 1 - comm.rank)  # rank 0, rank 1
    comm.Recv(np.zeros(100), 1 - comm.rank)


def ring_sends_first(comm: Any) -> None:
    comm.Send(np.zeros(LARGE, np.uint8), (comm.rank + 1) % comm.size)  # rank 0, rank 1, rank 2
    comm.Recv(np.zeros(LARGE, np.uint8), (comm.rank - 1) % comm.size)


def both_receive_first(comm: Any) -> None:
    comm.recv(source=1 - comm.rank)  # rank 0, rank 1
    comm.send(1, 1 - comm.rank)


def another_tag(comm: Any) -> None:
    if comm.rank == 0:
        comm.Send(np.zeros(2), 1, tag=4)
        comm.Recv(np.zeros(2), 1, tag=4)  # rank 0
    else:
        comm.Recv(np.zeros(2), 0, tag=5)  # rank 1


def another_communicator(comm: Any) -> None:
    other = comm.Dup()
    if comm.rank == 0:
        other.send("hello", 1)
        comm.recv(source=1)  # rank 0
    else:
        comm.recv(source=0)  # rank 1


def waits_for_one_that_returned(comm: Any) -> None:
    if comm.rank == 2:
        comm.recv(source=1)  # rank 2


def waitall_of_two(comm: Any) -> None:
    others = [rank for rank in range(comm.size) if rank != comm.rank]
    requests = [comm.irecv(source=rank) for rank in others]
    if comm.rank == 2:
        comm.send(2, 0)
        comm.send(2, 1)
    ranks.Request.waitall(requests)  # rank 0, rank 1, rank 2
    comm.send(1, others[0])


def waitany_of_two(comm: Any) -> None:
    requests = [comm.irecv(source=rank) for rank in range(comm.size) if rank != comm.rank]
    ranks.Request.waitany(requests)  # rank 0, rank 1, rank 2


def probe_without_message(comm: Any) -> None:
    if comm.rank == 0:
        comm.Probe(1, tag=3)  # rank 0
        comm.recv(source=1)
    else:
        comm.send("x", 0, tag=2)
        comm.recv(source=0)  # rank 1


def wildcard_when_all_others_returned(comm: Any) -> None:
    if comm.rank == 1:
        comm.recv()  # rank 1


def split_that_one_rank_skips(comm: Any) -> None:
    if comm.rank < 3:
        comm.Split(0)  # rank 0, rank 1, rank 2
    else:
        comm.recv(source=0)  # rank 3


def odd_even_with_an_odd_number_of_ranks(comm: Any) -> None:
    """Pairs (even, odd) exchange; the last rank's partner would be out of range, and wraps to rank 0."""
    partner = (comm.rank + 1 if comm.rank % 2 == 0 else comm.rank - 1) % comm.size
    comm.sendrecv(comm.rank, partner, source=partner)  # rank 4


def two_behind_a_pair(comm: Any) -> None:
    if comm.rank < 2:
        comm.recv(source=1 - comm.rank)  # rank 0, rank 1
    comm.recv(source=comm.rank % 2)


def message_to_oneself(comm: Any) -> None:
    if comm.rank == 1:
        comm.Ssend(np.zeros(1), 1)  # rank 1


def two_pairs(comm: Any) -> None:
    comm.recv(source=comm.rank ^ 1)  # rank 0, rank 1, rank 2, rank 3


def buffering_lets_another_message_come_first(comm: Any) -> None:
    """Unbuffered, rank 2 cannot send to rank 0 before rank 1 has done so."""
    if comm.rank == 0:
        comm.recv()
        comm.recv(source=2)  # rank 0
    elif comm.rank == 1:
        ranks.spend(comm, 10**7)
        comm.send(1, 0)
        comm.recv(source=2)
    else:
        comm.send(2, 1)
        comm.send(2, 0)


def helper(comm: Any) -> None:
    comm.recv(source=1 - comm.rank)  # rank 0, rank 1


def hangs_in_a_helper(comm: Any) -> None:
    helper(comm)


HANGS = [
    Hang(both_send_first, 2, [0, 1], "none", "infinite", ("waits for rank 1 to receive (source=0, tag=0)",)),
    Hang(ring_sends_first, 3, [0, 1, 2], "eager", "infinite", ("Send(dest=1, tag=0, 100000 B)",)),
    Hang(both_receive_first, 2, [0, 1], says=("ranks 0 and 1 wait for each other",)),
    Hang(another_tag, 2, [0, 1], says=("nearly: rank 0 has sent 16 B of float64 (tag=4)",)),
    Hang(another_communicator, 2, [0, 1], says=("nearly: rank 0 has sent an object (tag=0, communicator 1)",)),
    Hang(waits_for_one_that_returned, 3, [2], says=("rank 2 waits for rank 1, which has returned",)),
    Hang(waitall_of_two, 3, [0, 1], says=("behind them: rank 2 in waitall",)),
    Hang(waitany_of_two, 3, [0, 1, 2], says=(" or for rank 2 to send",)),
    Hang(
        probe_without_message, 2, [0, 1], says=("Probe(source=1, tag=3)", "nearly: rank 1 has sent an object (tag=2)")
    ),
    Hang(wildcard_when_all_others_returned, 3, [1], says=("rank 1 waits for ranks 0, 2, which have returned",)),
    Hang(split_that_one_rank_skips, 4, [0, 3], says=("Split(color=0, key=0)", "waits for rank 3 to call it too")),
    Hang(odd_even_with_an_odd_number_of_ranks, 5, [4], says=("rank 4 waits for rank 0, which has returned",)),
    Hang(two_behind_a_pair, 40, [0, 1], says=("behind them: ranks 2-39 in recv",)),
    Hang(message_to_oneself, 2, [1], says=("rank 1 waits for itself",)),
    Hang(two_pairs, 4, [0, 1], says=("rank 3  recv(",)),
    Hang(buffering_lets_another_message_come_first, 3, [0], "infinite", "none", ("a wildcard takes another message",)),
    Hang(hangs_in_a_helper, 2, [0, 1], says=("(called at ranks_unsafe.py:",)),
]
