"""Flags in memory that processes share: how often each has come to a point at which all wait for all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from ranks.words.constants import mpi_of
from ranks.words.errors import RanksError

_TAG = 32_150
LINE = 64  # a cache line: flags on one line would travel together
_STEP = LINE // 8  # words from one flag to the next
_LOOKS = 300  # at a flag before the processor is offered to others; some 20 µs
_YIELDS = 20  # offers before a wait is taken for a long one
_NAP_S, _NAP_AFTER_S, _LOOK_AFTER_S = 100e-6, 2e-3, 1.0


class LostPeerError(RanksError):
    """A process that others wait for has ended."""


class Flags:
    """How often each rank has called `sync`: one word a rank in shared memory, written by that rank alone."""

    def __init__(self, comm: Any, words: memoryview[int]) -> None:
        self._words, self._rank = words, comm.rank
        self._world = mpi_of(comm).COMM_WORLD  # not `comm`, which may be freed while its arrays live on
        self._pids = comm.allgather(os.getpid())
        # With fewer processors than ranks, the rank that we wait for may need this processor.
        self._looks = _LOOKS if comm.size <= len(os.sched_getaffinity(0)) else 0

    def make_sync(self) -> Callable[[], None]:
        """Return what waits until all ranks have called it as often as this one.

        It looks often, then it lets others run. All names are local: two ranks take 0.3 µs for a sync, and looking up
        attributes or calling a function would add half of that.
        """
        words, looks, patience = self._words, self._looks, self._looks + _YIELDS
        own, others = self._rank * _STEP, [rank * _STEP for rank in range(len(self._pids)) if rank != self._rank]
        let_others_run, wait_long, count = os.sched_yield, self._wait_long, 0

        def sync() -> None:
            nonlocal count
            count += 1
            words[own] = count
            for other in others:
                looked = 0
                while words[other] < count:
                    looked += 1
                    if looked > looks:
                        let_others_run()
                        if looked > patience:
                            wait_long(other, count)

        return sync

    def _wait_long(self, other: int, count: int) -> None:
        """Return when a rank's word has reached `count`: let others run for a while, then sleep."""
        words = self._words
        begin_s = looked_s = time.monotonic()
        while words[other] < count:
            # A peer may wait for a message of ours, which progresses only while we are inside MPI. The probe must be in
            # the world: in COMM_SELF, MPICH knows that nothing can come, and makes no progress.
            self._world.Iprobe(self._world.rank, _TAG)
            now_s = time.monotonic()
            if now_s - begin_s < _NAP_AFTER_S:
                os.sched_yield()
                continue
            time.sleep(_NAP_S)
            if now_s - looked_s > _LOOK_AFTER_S:
                looked_s = now_s
                self._look_for(other // _STEP, count)

    def _look_for(self, rank: int, count: int) -> None:
        """Raise LostPeerError if the process of a rank is gone before its word has reached `count`."""
        try:
            os.kill(self._pids[rank], 0)
        except ProcessLookupError:
            if self._words[rank * _STEP] >= count:
                return  # it has come, and ended since
            raise LostPeerError(
                self._rank,
                "sync of a shared array",
                got=f"no process {self._pids[rank]}, which was rank {rank}",
                expected="it to call sync too",
                remedy=f"see why rank {rank} ended",
            ) from None
        except PermissionError:
            pass  # it is there, and belongs to somebody else
