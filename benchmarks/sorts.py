"""How fast is the bitonic network in NumPy, and what do two processes gain? Beside np.sort, in one run."""

import argparse
import gc
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from _measure import at_most, machine, ratio
from _report import Table, report

from ranks import real
from sorting import bitonic_block_sort, bitonic_sort, odd_even_block_sort, partition_sort, sample_sort
from sorting.blocks import merge_runs
from sorting.kernel import exchange
from sorting.plain import sort_pairs, sort_views

EXPLANATION = """
examples:
  python benchmarks/sorts.py                       everything; about five minutes
  python benchmarks/sorts.py --quick               arrays a sixteenth as large; half a minute
  python benchmarks/sorts.py --only processes --sizes 22 24 26
  python benchmarks/sorts.py --markdown table.md   also write the tables for a README

how it is measured:
  Every result is compared with np.sort's before anything is timed. All variants of a table take turns, each once a
  round, so that the drift of the machine hits all alike; a ratio is the median of the ratios of the rounds. Seconds
  of one process are CPU time. The project's goals are shares of a bound that is measured in the same run, not of
  np.sort, which is there to compare: with AVX-512 np.sort is two to ten times as fast as with AVX2.
  Two processes: each holds half of the array at the start and at the end. np.sort of the whole runs in one of them
  while the other sleeps. "bound" is what local sorts of the halves alone would give: what no communication can beat.
  The bound of the network is as many passes of np.minimum and np.maximum over halves of an array as it has stages.
  That of merging is the same merge of runs whose elements take turns, so that the processor foresees every branch.
  torch.sort is measured with one thread if torch is installed (pip install torch).
"""

Work = dict[str, Callable[[], Any]]
SORTS: dict[str, Callable[[Any, Any], Any]] = {
    "partition_sort": partition_sort,
    "sample_sort": sample_sort,
    "bitonic_block_sort (textbook merge-split)": bitonic_block_sort,
    "odd_even_block_sort": odd_even_block_sort,
}
NUMPY, BOUND = "np.sort, one core", "bound: sorts of the halves alone"
STAGES_ALONE = "bound: minima and maxima of its stages alone"
ASKED_OVER_STAGES, ASKED_OF_BOUND = 1.2, 0.9
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")  # Linux only


def timed(work: Work, rounds: int, clock: Callable[[], float] = process_time) -> dict[str, list[float]]:
    """Return the seconds of each function in every round, by `clock`; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, call in work.items():
            gc.collect()
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return seconds


def random_values(n: int, dtype: str, seed: int = 0) -> np.ndarray:
    """Return n random elements over the whole range of an integer dtype, or normal floats."""
    rng = np.random.default_rng(seed)
    if dtype.startswith("int"):
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, n, dtype)
    return rng.standard_normal(n, dtype)


# -- one process -------------------------------------------------------------------------------------------------


def network_table(k: int, dtypes: Sequence[str], rounds: int) -> Table:
    """Compare the network with its bound, with np.sort, and with torch.sort where there is one, on 2^k elements."""
    table = Table(f"2^{k} elements, one core", ["sort", "dtype", "ms", "over np.sort", "over the bound", "asked"])
    for dtype in dtypes:
        x = random_values(2**k, dtype)
        work: Work = {"np.sort": lambda x=x: np.sort(x), "bitonic_sort": lambda x=x: bitonic_sort(x)}
        if dtype == "float32" and k <= 20:
            work |= torch_work(x) | {"sort_views (no second layout, no tiles)": lambda x=x: sort_views(x)}
        for name, call in work.items():
            if not np.array_equal(np.asarray(call()), np.sort(x)):
                raise RuntimeError(f"{name}: not what np.sort makes of 2^{k} {dtype}")
        work[STAGES_ALONE] = stages_alone(x, k * (k + 1) // 2)
        seconds = timed(work, rounds)
        for name, times in seconds.items():
            ratios = [ratio(times, seconds[other]) for other in ("np.sort", STAGES_ALONE)]
            asked = at_most(ratios[1], ASKED_OVER_STAGES) if name == "bitonic_sort" and k >= 20 else ""
            cells = [f"{statistics.median(times) * 1e3:.4g}", *(f"{each:.2f}" for each in ratios), asked]
            table.rows.append([name, dtype, *cells])
    return table


def stages_alone(x: np.ndarray, stages: int) -> Callable[[], None]:
    """Return a function that takes so many minima and maxima of the halves of integers as wide as x, nothing else."""
    halves = x.view(f"i{x.itemsize}").reshape(2, -1)
    results = np.empty_like(halves)

    def call() -> None:
        for _ in range(stages):
            exchange(halves[0], halves[1], results[0], results[1])

    return call


def torch_work(x: np.ndarray) -> Work:
    """Return torch's sort with one thread, nothing if torch is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(1)
    tensor = torch.from_numpy(x)
    return {"torch.sort, one thread": lambda: torch.sort(tensor)[0]}


def pairs_table(k: int) -> Table:
    """Compare the network with the same network in pure Python, one run of the latter."""
    x = random_values(2**k, "float32")
    items = x.tolist()
    seconds = timed({"pairs": lambda: sort_pairs(items)}, 1) | timed({"network": lambda: bitonic_sort(x)}, 5)
    slow, fast = seconds["pairs"][0], statistics.median(seconds["network"])
    table = Table(f"2^{k} float32: pure-Python pairs, once", ["pairs, s", "bitonic_sort, ms", "ratio"])
    table.rows.append([f"{slow:.3g}", f"{fast * 1e3:.4g}", f"{slow / fast:.0f}"])
    return table


def merge_table(k: int, rounds: int) -> Table:
    """Measure the merge of two sorted runs, as the distributed sorts do it: of integers, or of floats as they are."""
    table = Table(f"2^{k} elements in two sorted runs", ["merge of two runs", "dtype", "ns an element"])
    for dtype in ("int32", "int64", "float64"):
        x = np.sort(random_values(2**k, dtype))
        is_first = np.random.default_rng(0).random(x.size) < 0.5
        kinds = {
            "merge_runs": np.concatenate([x[is_first], x[~is_first]]),
            "bound: every branch is foreseen": np.concatenate([x[::2], x[1::2]]),
        }
        rooms = {name: np.empty_like(x) for name in kinds}
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, runs in kinds.items():
                room = rooms[name]
                room[...] = runs
                seconds[name] += timed({name: lambda room=room: merge_runs(room)}, 1)[name]
        for name, room in rooms.items():
            if not np.array_equal(room, x):
                raise RuntimeError(f"{name}: not what np.sort makes of 2^{k} {dtype}")
            table.rows.append([name, dtype, f"{statistics.median(seconds[name]) / 2**k * 1e9:.2f}"])
    return table


# -- two processes -----------------------------------------------------------------------------------------------


def processes_table(k: int, rounds: int) -> Table:
    """Compare the sorts over two real processes with np.sort in one, on 2^k float64."""
    done = real.launch(2, [Path(__file__), "--worker", str(k), str(rounds)], timeout_s=600)
    if done.returncode:
        raise RuntimeError(f"two processes ended with status {done.returncode}:\n{done.stderr}")
    seconds: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    header = ["sort", "ms", "times as fast as np.sort", "share of the bound", "asked"]
    table = Table(f"2^{k} float64, two processes", header)
    bound = ratio(seconds[NUMPY], seconds[BOUND])
    for name, times in seconds.items():
        gain = ratio(seconds[NUMPY], times)
        share = gain / bound
        met = "yes" if share >= ASKED_OF_BOUND else "NO"
        asked = f"≥ {ASKED_OF_BOUND:.0%}: {met}" if name == "partition_sort" else ""
        table.rows.append([name, f"{statistics.median(times) * 1e3:.4g}", f"{gain:.2f}", f"{share:.0%}", asked])
    return table


def work_in_process(k: int, rounds: int) -> None:
    """Be one of the two processes; the first prints the seconds of each sort in every round."""
    comm = real.world()
    x = random_values(2**k // 2, "float64", seed=comm.rank)
    whole = np.concatenate([random_values(2**k // 2, "float64", seed=rank) for rank in range(2)])
    expected = np.sort(whole)[comm.rank * x.size : (comm.rank + 1) * x.size]
    for name, sort in SORTS.items():
        got = sort(comm, x)
        # Only sample_sort has sizes of its own; then the other process tells.
        same = np.array_equal(got, expected) if got.size == x.size else name == "sample_sort"
        if not same:
            raise RuntimeError(f"{name}: not what np.sort makes of 2^{k} float64")
    if comm.rank:
        whole = expected = None  # type: ignore[assignment]
    seconds: dict[str, list[float]] = {name: [] for name in (NUMPY, BOUND, *SORTS)}
    for _ in range(rounds):
        if comm.rank == 0:
            seconds[NUMPY] += timed({NUMPY: lambda: np.sort(whole)}, 1, perf_counter)[NUMPY]
        rest(comm)
        for name, call in {BOUND: lambda: np.sort(x), **{n: lambda s=s: s(comm, x) for n, s in SORTS.items()}}.items():
            comm.Barrier()
            start = perf_counter()
            result = call()
            comm.Barrier()
            seconds[name].append(perf_counter() - start)
            del result
    if comm.rank == 0:
        print(json.dumps(seconds), flush=True)


def rest(comm: Any) -> None:
    """Wait for the first process without keeping a core busy, as MPI's own waiting would."""
    if comm.rank == 0:
        comm.send(None, 1)
        return
    while not comm.Iprobe(0):
        sleep(0.001)
    comm.recv(source=0)


# -- the way in --------------------------------------------------------------------------------------------------


def main() -> None:
    """Read the options, run the benchmarks, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXPLANATION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="arrays a sixteenth as large")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="timed rounds (default: 7)")
    parser.add_argument(
        "--only", nargs="+", choices=("network", "large", "pairs", "merge", "processes"), help="some of the tables"
    )
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[22, 24, 26], metavar="K", help="2^K elements for two processes"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write machine and tables to FILE")
    parser.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work_in_process(*options.worker)
        return
    if options.rounds < 1 or not all(10 <= k <= 30 for k in options.sizes):
        parser.error(f"got --rounds {options.rounds} --sizes {options.sizes}, expected 1 or more, and 10 to 30")
    report(parts(options), options.markdown)


def parts(options: argparse.Namespace) -> Iterator[Table | str]:
    """Yield what the machine is, then the tables, each run when it is asked for."""
    huge = HUGE_PAGES.read_text().strip() if HUGE_PAGES.exists() else "unknown"
    yield "\n".join([*machine(), f"huge pages: {huge}"])
    less, rounds = 4 * options.quick, options.rounds
    tables: dict[str, list[Callable[[], Table]]] = {
        "network": [lambda: network_table(20 - less, ("int32", "float32", "float64"), rounds)],
        "large": [lambda: network_table(24 - less, ("int32", "float32", "float64"), min(rounds, 3))],
        "pairs": [lambda: pairs_table(20 - less)],
        "merge": [lambda: merge_table(22 - less, rounds)],
        "processes": [
            lambda k=k: processes_table(k - less, rounds if k < 26 else min(rounds, 3)) for k in options.sizes
        ],
    }
    for name in options.only or tables:
        for make in tables[name]:
            yield make()


if __name__ == "__main__":
    main()
