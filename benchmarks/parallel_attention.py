"""How much faster is attention on several processes? Ulysses and rings on real MPI, one BLAS thread each."""

import argparse
import gc
import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _measure import KEEP_MEMORY, machine, simd
from _report import Table, report

import parallel
from parallel.attention.local import Attention
from ranks import real

EXPLANATION = """
examples:
  python benchmarks/parallel_attention.py                       2 processes, 4k and 8k tokens; about ten minutes
  python benchmarks/parallel_attention.py --seq 4096 --runs 3   about two minutes
  python benchmarks/parallel_attention.py --processes 4

how it is measured:
  float32, batch 1, 8 heads of 64, the blockwise kernel everywhere. "one process" is the whole sequence on the first
  process, while the others sleep. A time is that of the slowest process, from a barrier on; variants take turns,
  once a round, and the median counts. The machine's cores must be free: a process that waits for one is no speed-up.
  Every result is compared with that of one process before anything is timed.
  What is freed stays with its process (glibc's MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_MAX_), as training frameworks keep
  it: otherwise pages that go back to the system and come anew can cost more, in a virtual machine, than the all-to-all.
"""
HEADS, HEAD_DIM, ASKED = 8, 64, 1.7
_START, _SLEEP_S = 1, 0.002

Run = Callable[[bool], Any]


def main() -> None:
    """Read the options, start the processes, or be one of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2, metavar="P", help="MPI processes (default: 2)")
    parser.add_argument("--seq", type=int, nargs="+", default=[4096, 8192], metavar="N", help="tokens in all")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="timed rounds (default: 5)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if min(options.processes, options.runs, *options.seq) < 1 or any(n % (2 * options.processes) for n in options.seq):
        parser.error("expected numbers from 1 up, and tokens that twice the processes divide")
    if real.under_mpi():
        comm = real.world()
        measured = parts(comm, options.seq, options.runs)
        if comm.rank == 0:
            report(measured, options.markdown)
        else:
            deque(measured, maxlen=0)
        return
    os.environ |= KEEP_MEMORY
    os.environ.pop("OPENBLAS_CORETYPE", None)  # read by the BLAS of the processes to come
    try:
        sys.exit(real.launch(options.processes, sys.argv, capture=False).returncode)
    except real.TooManyProcessesError as problem:
        parser.error(str(problem))


def parts(comm: Any, lengths: list[int], runs: int) -> Iterator[Table | str]:
    """Yield what the machine is, then a table for each length of the sequence and each mask: on every process."""
    yield "\n".join([*machine()[:2], f"{simd()}, one thread a process"])
    for n in lengths:
        for causal in (False, True):
            table = Table(
                f"{n:,} tokens{', causal' if causal else ''}, {comm.size} processes",
                ["", "forward ms", "times as fast as one", "with backward ms", "times as fast as one"],
            )
            _fill(table, comm, n, causal, runs)
            yield table


def _fill(table: Table, comm: Any, n: int, causal: bool, runs: int) -> None:
    """Add a row for each way."""
    ways = _ways(comm, n, causal)
    cells: dict[str, list[str]] = {name: [] for name in ways}
    for backward in (False, True):
        seconds = _interleaved(comm, ways, backward, runs)
        for name, times in seconds.items():
            ratio = statistics.median(seconds["one process"]) / statistics.median(times)
            asked = f" (≥ {ASKED}: {'yes' if ratio >= ASKED else 'NO'})" if name == "Ulysses" and comm.size == 2 else ""
            cells[name] += [f"{statistics.median(times) * 1e3:.0f}", f"{ratio:.2f}{asked}"]
    table.rows += [[name, *row] for name, row in cells.items()]


def _ways(comm: Any, n: int, causal: bool) -> dict[str, Run]:
    """Return what is timed, each as a function that runs forward or both; all have been compared with one process."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((1, n, HEADS, HEAD_DIM), np.float32) for _ in range(4)]
    lengths = [n // comm.size] * comm.size

    def run(attention: Attention, inputs: list[Any], backward: bool) -> list[Any]:
        out, saved = attention.forward(*inputs[:3])
        return [out, *attention.backward(saved, inputs[3])] if backward else [out]

    alone = partial(run, parallel.local_attention(causal=causal), arrays)
    expected = alone(True) if comm.rank == 0 else None
    expected = comm.bcast(expected)
    ways: dict[str, Run] = {"one process": lambda backward: alone(backward) if comm.rank == 0 else None}
    layout = "zigzag" if causal else "plain"
    shards = [parallel.shard(x, comm.size, comm.rank, layout) for x in arrays]
    ulysses = Attention(
        partial(parallel.ulysses_attention, comm, causal=causal, lengths=lengths),
        partial(parallel.ulysses_attention_backward, comm),
    )
    ways["Ulysses"] = partial(run, ulysses, [parallel.shard(x, comm.size, comm.rank) for x in arrays])
    for overlap in (True, False):
        ring = partial(parallel.ring_attention, comm, causal=causal, layout=layout, overlap=overlap, lengths=lengths)
        name = f"ring, {layout}{', overlapped' if overlap else ''}"
        ways[name] = partial(run, Attention(ring, partial(parallel.ring_attention_backward, comm)), shards)
    for name, way in ways.items():
        held = parallel.token_positions(layout if "ring" in name else "plain", n, comm.size)[comm.rank]
        for got, whole in zip(way(True) or [], expected, strict=name != "one process"):
            part = whole if name == "one process" else whole[:, held]
            if abs(got - part).max() > 1e-5 * max(1, abs(whole).max()):
                raise RuntimeError(f"{name}: off by {abs(got - part).max()}")
    return ways


def _interleaved(comm: Any, ways: dict[str, Run], backward: bool, runs: int) -> dict[str, list[float]]:
    """Return seconds of the slowest process, by way and round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            gc.collect()
            comm.Barrier()
            begin = time.perf_counter()
            way(backward)
            taken = time.perf_counter() - begin
            if name == "one process":
                _sleep_until_first_is_done(comm)
            seconds[name].append(max(comm.allgather(taken)))
    return seconds


def _sleep_until_first_is_done(comm: Any) -> None:
    """Let all but the first process sleep: waiting in MPI would keep a core busy and memory warm for nobody."""
    nothing = np.empty(0, np.uint8)
    if comm.rank == 0:
        for other in range(1, comm.size):
            comm.Send(nothing, other, _START)
        return
    while not comm.Iprobe(0, _START):
        time.sleep(_SLEEP_S)
    comm.Recv(nothing, 0, _START)


if __name__ == "__main__":
    main()
