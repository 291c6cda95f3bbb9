"""How much faster is training on two real processes, and how much slower is a pipeline of simulated ranks?"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _measure import machine, simd
from _report import Table, report

import ranks
from ranks import real
from training import GPTSizes, Plan, Trainer

EXPLANATION = """
how it is measured:
  float32, one BLAS thread a process; the machine's two cores must be free; about a minute. Data parallel: sequences a
  second of 2 processes over those of one, 8 sequences each, medians of 20 steps. Pipeline: CPU time of 8 simulated
  ranks, 8 blocks and 64 microbatches, over that of one rank, the median of 3.
"""
SIZES = {"64 features": GPTSizes(), "128 features": GPTSizes(hidden=128, ffn=512)}
STEPS = 20


def step_s(comm: Any, sizes: GPTSizes) -> float:
    """Return the median time of a step of data parallelism, once memory is warm."""
    trainer = Trainer(comm, Plan(dp=comm.size), sizes=sizes, batch=8 * comm.size, dtype=np.float32)
    times = []
    for _ in range(STEPS + 2):
        begin = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[2:])


def of_processes(n: int) -> list[float]:
    """Return the times of a step on n real processes, by size."""
    run = real.launch(n, sys.argv, timeout_s=200)
    if run.returncode:
        sys.exit(run.stderr)
    return [float(each) for each in run.stdout.split()]


def pipeline_s(plan: Plan) -> float:
    """Return the CPU time of a step of 64 microbatches."""

    def program(comm: Any) -> None:
        Trainer(comm, plan, sizes=GPTSizes(layers=8), batch=128, dtype=np.float32).step()

    begin = time.process_time()
    ranks.run(program, plan.ranks)
    return time.process_time() - begin


def parts() -> Iterator[Table | str]:
    """Yield what the machine is, and both tables."""
    yield "\n".join([*machine()[:2], simd()])
    table = Table("data parallel on 2 processes", ["", "one, ms", "two, ms", "throughput", "asked"])
    for name, one, two in zip(SIZES, of_processes(1), of_processes(2), strict=True):
        table.rows.append([name, f"{one * 1e3:.1f}", f"{two * 1e3:.1f}", f"{2 * one / two:.2f}x", "1.8x"])
    yield table
    ratios = [pipeline_s(Plan(pp=8, microbatches=64)) / pipeline_s(Plan(microbatches=64)) for _ in range(3)]
    yield Table(
        "pipeline of 8 simulated ranks, CPU time over that of one", ["", "ratio", "asked"],
        [["1f1b, 64 microbatches", f"{statistics.median(ratios):.2f}x", "at most 2x"]],
    )  # fmt: skip


def main() -> None:
    """Measure, or be one of the processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if real.under_mpi():
        times = [step_s(real.world(), sizes) for sizes in SIZES.values()]
        if real.world().rank == 0:
            print(*times)
        return
    report(parts(), options.markdown)


if __name__ == "__main__":
    if not real.under_mpi() and os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # BLAS reads it when it is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"OPENBLAS_NUM_THREADS": "1"})
    main()
