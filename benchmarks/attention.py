"""How fast is blockwise attention, and how much memory does it take? PyTorch's and the dense form beside it."""

import argparse
import os
import statistics
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _report import Table

CHILD = Path(__file__).with_name("_attention_child.py")
ASKED = 1.1  # times the bound, at most

EXPLANATION = """
examples:
  python benchmarks/attention.py --quick                     1k and 4k tokens; about four minutes
  python benchmarks/attention.py                             1k to 16k; about half an hour
  python benchmarks/attention.py --seq 2048 --runs 9         one length, more runs
  python benchmarks/attention.py --markdown table.md         also write the tables for a README

how it is measured:
  Batch 1, 8 heads, head_dim 64, float32, one thread each. Results are compared before anything is timed. Times
  are medians of CPU seconds, the variants one after the other in every round, so that the drift of the machine hits
  all alike; ratios are medians of the ratios of the rounds. "bound" is what no arrangement of NumPy calls can leave
  out: the matrix products and the exponentials of the same tiles and nothing else, in the same run. It reads the same
  arrays and writes results as large as ours. The project's goals are shares of the bound; PyTorch and the dense form
  are there to compare.
  NumPy's OpenBLAS chooses its kernels by the processor: an OPENBLAS_CORETYPE of the environment is unset for what is
  measured. Memory that is freed stays with its process (glibc's MALLOC_TRIM_THRESHOLD_, MALLOC_MMAP_MAX_), as training
  frameworks keep it: otherwise the pages of each new result can cost more, in a virtual machine, than what is measured.
  Memory, the last table, is the rise of the peak of resident memory in a fresh process, results included.

optional peer:
  PyTorch    pip install torch     scaled_dot_product_attention, which is blockwise too
"""


def main() -> None:
    """Read the options, run the benchmarks, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1k and 4k tokens, three runs")
    parser.add_argument("--seq", type=int, nargs="+", metavar="N", help="lengths of sequences (default: 1k ... 16k)")
    parser.add_argument("--runs", type=int, metavar="N", help="timed runs of each (default: 5)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    seqs = options.seq or ([1024, 4096] if options.quick else [1024, 2048, 4096, 8192, 16384])
    runs = options.runs if options.runs is not None else 3 if options.quick else 5
    for name, numbers in (("--seq", seqs), ("--runs", [runs])):
        if min(numbers) < 1:
            parser.error(f"{name}: got {min(numbers)}, expected 1 or more")
    absent = [name for name in ("rich", "ranks", "parallel") if not find_spec(name)]
    if absent:
        parser.error(f'cannot import {", ".join(absent)}: in the checkout, pip install -e ".[bench,show]"')
    from _report import report

    report(parts(seqs, runs), options.markdown)


def parts(seqs: list[int], runs: int) -> Iterator["Table | str"]:
    """Yield what the machine is, then the tables, each run when it is asked for."""
    # Read as NumPy is imported, and inherited by all processes that are measured.
    preset = os.environ.pop("OPENBLAS_CORETYPE", None)
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    from _measure import STATUS, machine, simd

    yield "\n".join([*machine()[:2], simd() + (f" here; it was {preset}" if preset else "")])
    if not find_spec("torch"):
        yield "PyTorch is not installed (pip install torch): its columns stay empty"
    yield times_table(seqs, runs)
    if STATUS.exists():
        yield memory_table(seqs)
    else:
        yield f"Memory: left out, it is read from {STATUS}, which only Linux has"


def times_table(seqs: list[int], runs: int) -> "Table":
    """Return the table of times beside the bound and the peers."""
    from _measure import KEEP_MEMORY, at_most, in_fresh_process, ratio
    from _report import Table
    from rich.progress import track

    header = ["tokens, direction", "ours ms", "bound ms", "torch ms", "dense ms"]
    header += ["ours / bound", "asked", "ours / torch", "ours / dense"]
    title = f"Attention (medians of {runs})"
    table = Table(title, header)
    jobs = [(seq, mask, way) for seq in seqs for way in ("forward", "backward") for mask in ("full", "causal")]
    for seq, mask, way in track(jobs, title, transient=True):
        found = in_fresh_process(CHILD, "time", str(seq), mask, way, str(runs), setting=KEEP_MEMORY)
        names = ("blockwise", "bound", "torch", "dense")
        times = [f"{1e3 * statistics.median(found[name]):,.1f}" if name in found else "" for name in names]
        over = {name: ratio(found["blockwise"], found[name]) for name in names if name in found}
        against = [f"{over[name]:.2f}" if name in over else "" for name in ("torch", "dense")]
        cells = [*times, f"{over['bound']:.2f}", at_most(over["bound"], ASKED), *against]
        table.rows.append([f"{seq:,} {mask} {way}", *cells])
    return table


def memory_table(seqs: list[int]) -> "Table":
    """Return the table of peaks; dense ones only where they fit."""
    from _attention_child import LONGEST_DENSE
    from _measure import in_fresh_process
    from _report import Table

    table = Table(
        "Peak of extra memory, causal, MiB",
        ["tokens, direction", "ours", "torch", "dense", "dense / ours", "of q, k, v"],
    )
    names = ["blockwise", *(["torch"] if find_spec("torch") else []), "dense"]
    for seq in seqs:
        for way in ("forward", "backward"):
            found = {
                name: in_fresh_process(CHILD, "memory", str(seq), "causal", way, name)["bytes"] / 2**20
                for name in names
                if name != "dense" or seq <= LONGEST_DENSE
            }
            ratio = f"{found['dense'] / found['blockwise']:.0f}" if "dense" in found else ""
            cells = [f"{found[name]:,.1f}" if name in found else "" for name in ("blockwise", "torch", "dense")]
            table.rows.append([f"{seq:,} {way}", *cells, ratio, f"{3 * seq * 8 * 64 * 4 / 2**20:,.0f}"])
    return table


if __name__ == "__main__":
    main()
