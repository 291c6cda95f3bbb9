"""How long does a step of training take on one rank? The same model in eager PyTorch beside it."""

import argparse
import os
import statistics
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _report import Table

CHILD = Path(__file__).with_name("_training_child.py")
# Features, those inside of the MLP, and how many times PyTorch's time is asked at most.
MODELS = [(64, 256, 1.0), (256, 1024, 1 / 0.9)]

EXPLANATION = """
examples:
  python benchmarks/training_step.py               about a minute
  python benchmarks/training_step.py --runs 100    less spread

how it is measured:
  GPTs of 4 blocks with 4 heads, 8 sequences of 64 tokens, float32, AdamW, clipping, one thread each. Both start with
  the same parameters and see the same batches; losses of the first steps are compared before anything is timed. Times
  are medians of CPU seconds of a step, ours and PyTorch's in turns; ratios are medians of the ratios of the rounds.
  Memory that is freed stays with the process, as `train` has it. NumPy's OpenBLAS chooses its kernels by the
  processor: an OPENBLAS_CORETYPE of the environment is unset for what is measured.

optional peer:
  PyTorch    pip install torch     layers of torch.nn.functional, its AdamW
"""


def main() -> None:
    """Read the options, run the benchmark, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="timed steps of each (default: 30)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and table to FILE")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error(f"--runs: got {options.runs}, expected 1 or more")
    absent = [name for name in ("rich", "ranks", "training") if not find_spec(name)]
    if absent:
        parser.error(f'cannot import {", ".join(absent)}: in the checkout, pip install -e ".[bench,show]"')
    from _report import report

    report(parts(options.runs), options.markdown)


def parts(runs: int) -> Iterator["Table | str"]:
    """Yield what the machine is, then the table."""
    # Read as NumPy is imported, and inherited by all processes that are measured.
    preset = os.environ.pop("OPENBLAS_CORETYPE", None)
    os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    from _measure import KEEP_MEMORY, at_most, in_fresh_process, machine, ratio, simd
    from _report import Table

    yield "\n".join([*machine()[:2], simd() + (f" here; it was {preset}" if preset else "")])
    if not find_spec("torch"):
        yield "PyTorch is not installed (pip install torch): its columns stay empty"
    header = ["features, of the MLP", "ours ms", "torch ms", "ours / torch", "asked"]
    table = Table(f"A step of training (medians of {runs})", header)
    for hidden, ffn, asked in MODELS:
        found = in_fresh_process(CHILD, str(hidden), str(ffn), str(runs), setting=KEEP_MEMORY)
        cells = [f"{1e3 * statistics.median(seconds):,.1f}" for seconds in found.values()]
        if "torch" in found:
            over = ratio(found["ours"], found["torch"])
            cells += [f"{over:.2f}", at_most(over, round(asked, 2))]
        table.rows.append([f"{hidden}, {ffn}", *cells, *[""] * (len(header) - 1 - len(cells))])
    yield table


if __name__ == "__main__":
    main()
