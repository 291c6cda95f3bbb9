"""Large runs, each in a process of its own, which prints its seconds and memory as JSON:

python benchmarks/_giants.py barrier 65536
python benchmarks/_giants.py ring_left 1000000
python benchmarks/_giants.py parked 20000
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
from _measure import in_fresh_process, resident_bytes
from _report import Table

import ranks
from collectives import dissemination_barrier

GIB = 2**30
BARRIER_RANKS, RING_RANKS, PARKED_RANKS = 65_536, 1_000_000, 20_000
ASKED_BARRIER_S, ASKED_PARKED_BYTES = 60, 8 * 1024
# How a table calls it, its key in GIANTS, its ranks.
LARGE = (
    ("one dissemination barrier", "barrier", BARRIER_RANKS),
    ("one ring step to the right", "ring_right", RING_RANKS),
    ("one ring step to the left", "ring_left", RING_RANKS),
)


def giant_table(shrink: int) -> Table:
    """Run the giants once each, at 1/shrink of their size; seconds and memory."""
    header = ["one run each", "p", "seconds", "peak memory", "bytes a rank at the peak", "asked"]
    table = Table("Giants, default network", header)
    for name, key, full in LARGE:
        p = full // shrink
        answer = in_fresh_process(Path(__file__), key, str(p))
        seconds, peak, base = answer["seconds"], answer["peak_bytes"], answer["base_bytes"]
        asked = f"≤ {ASKED_BARRIER_S} s: {_yes(seconds <= ASKED_BARRIER_S)}" if p == BARRIER_RANKS else ""
        row = [name, f"{p:,}", f"{seconds:.3g}", f"{peak / GIB:.3g} GiB", f"{(peak - base) / p:,.0f}", asked]
        table.rows.append(row)
    return table


def parked_table() -> Table:
    """Measure what a rank holds while it waits in Recv, its own arrays left out."""
    header = ["a rank parked in Recv", "p", "bytes", "asked"]
    held = in_fresh_process(Path(__file__), "parked", str(PARKED_RANKS))["held_bytes"] / PARKED_RANKS
    asked = f"≤ {ASKED_PARKED_BYTES:,}: {_yes(held <= ASKED_PARKED_BYTES)}"
    row = ["resident memory beyond its arrays", f"{PARKED_RANKS:,}", f"{held:,.0f}", asked]
    return Table("Memory of a parked rank", header, [row])


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


def barrier(size: int) -> None:
    """Send `size` ranks through one dissemination barrier."""
    run = ranks.run(dissemination_barrier, size)
    rounds = (size - 1).bit_length()
    if any(sends != rounds for sends in run.sends):
        raise RuntimeError(f"dissemination barrier, p={size}: not every rank sent ⌈lg p⌉ = {rounds} messages")


def ring_right(size: int) -> None:
    """Let `size` ranks each send one float64 to the right: most find their message there."""
    _ring_step(size, 1)


def ring_left(size: int) -> None:
    """Let `size` ranks each send one float64 to the left: most park, no sender having started."""
    _ring_step(size, -1)


def _ring_step(size: int, step: int) -> None:

    def program(comm: ranks.Comm) -> int:
        p, rank = comm.size, comm.rank
        received = np.empty(1)
        comm.Sendrecv(np.array([float(rank)]), (rank + step) % p, recvbuf=received, source=(rank - step) % p)
        return int(received[0])

    run = ranks.run(program, size)
    if any(got != (rank - step) % size for rank, got in enumerate(run.results)):
        raise RuntimeError(f"ring step, p={size}: some rank did not receive its neighbour's number")


def parked(size: int) -> int:
    """Return the bytes that `size` ranks hold while all but rank 0 are parked in a Recv."""
    # One array serves every rank, so that what is measured is the rank and not its data.
    token = np.zeros(1)

    def program(comm: ranks.Comm) -> int:
        if comm.rank:
            comm.Send(token, 0)
            comm.Recv(token, 0)
            return 0
        for source in range(1, comm.size):
            comm.Recv(token, source)
        held = resident_bytes()
        for dest in range(1, comm.size):
            comm.Send(token, dest)
        return held

    ranks.run(program, 16)
    before = resident_bytes()
    held: int = ranks.run(program, size).results[0]
    return held - before


GIANTS: dict[str, Callable[[int], int | None]] = {
    "barrier": barrier,
    "ring_right": ring_right,
    "ring_left": ring_left,
    "parked": parked,
}


def main(name: str, size: int) -> None:
    """Run one giant and print {"seconds", "cpu_seconds", "base_bytes", "peak_bytes", "held_bytes"}."""
    base = resident_bytes()
    start, cpu_start = perf_counter(), process_time()
    held = GIANTS[name](size)
    times = {"seconds": perf_counter() - start, "cpu_seconds": process_time() - cpu_start}
    peak = resident_bytes("VmHWM")
    print(json.dumps(times | {"base_bytes": base, "peak_bytes": peak, "held_bytes": held or 0}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
