"""One process of the benchmarks on real MPI: measures, and lets rank 0 print JSON. Started by real_allreduce.py."""

import json
import mmap
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import collectives
import ranks
from ranks.real import world

# Bytes that calls in a row are of, about; and how many calls at least. A single one after those of another variant may
# find the ranks unevenly spread over the cores, since an MPI that waits looks as busy as one that works.
IN_A_ROW, FEWEST = 16 << 20, 4
Settings = dict[tuple[ModuleType, str], object]  # values of names in modules
HUGE = 2 << 20  # a huge page, to which memory must be aligned to lie in some
comm = world()
p, rank = comm.size, comm.rank
start_line = ranks.shared_array(comm, 1)


def buffer(n_bytes: int, pages: str) -> np.ndarray:
    """Return float32 from the beginning of a page: a huge one ("2 MiB"), none such ("4 KiB"), or NumPy's choice."""
    if pages == "NumPy's":
        raw = np.ones(n_bytes + 4096, np.uint8)
        begin = -raw.ctypes.data % 4096
        return raw[begin : begin + n_bytes].view(np.float32)
    size = -(-n_bytes // HUGE) * HUGE + HUGE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE if pages == "2 MiB" else mmap.MADV_NOHUGEPAGE)
    raw = np.frombuffer(memory, np.uint8)
    begin = -raw.ctypes.data % HUGE
    made = raw[begin : begin + n_bytes].view(np.float32)
    made[...] = 0  # pages are there before anything is timed
    return made


def medians_us(variants: dict[str, Callable[[], object]], n_bytes: int, turns: int) -> dict[str, float]:
    """Return each variant's median over turns of the time of a call on the slowest rank, and "least ..." of it.

    In a turn calls follow each other, as in osu_allreduce, after one that is not timed.
    """
    calls = max(FEWEST, min(200, IN_A_ROW // max(n_bytes, 1)))
    taken: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(turns):
        # In an order drawn for each turn, the same on all ranks: what one leaves in the caches is the next one's luck.
        for name in Random(turn).sample(names, len(names)):
            call = variants[name]
            call()
            start_line.sync()
            begin = perf_counter()
            for _ in range(calls):
                call()
            taken[name].append((perf_counter() - begin) / calls * 1e6)
    every = comm.allgather(taken)
    slowest = {name: [*map(max, zip(*(each[name] for each in every), strict=True))] for name in variants}
    least = {f"least {name}": min(times) for name, times in slowest.items()}
    return {name: statistics.median(times) for name, times in slowest.items()} | least


def checked(name: str, call: Callable[[], np.ndarray], expected: np.ndarray) -> Callable[[], np.ndarray]:
    """Return `call` after it has given what is expected."""
    if not np.array_equal(call(), expected):
        raise AssertionError(f"{name} on rank {rank}: wrong result for {expected.nbytes} bytes")
    return call


def data(n_bytes: int, pages: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, out, and the sum of all x: whole numbers, which float32 adds exactly in any order."""
    x, out = buffer(n_bytes, pages), buffer(n_bytes, pages)
    x[...] = np.arange(x.size) % 1000 + rank
    return x, out, (np.arange(x.size) % 1000 * p + p * (p - 1) / 2).astype(np.float32)


def native(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    comm.Allreduce(x, out)
    return out


def allreduces(sizes: list[int], turns: int) -> list[dict[str, object]]:
    """Native, "auto", and data in shared memory; and a plain copy on all ranks at once, for scale."""
    rows = []
    for pages in ("4 KiB", "2 MiB"):
        for n_bytes in sizes:
            x, out, expected = data(n_bytes, pages)
            shared = ranks.shared_array(comm, x.size, np.float32)
            shared.local[...] = x
            shared.sync()
            if not np.array_equal(collectives.shared_allreduce(shared), expected):
                raise AssertionError(f"shared_allreduce on rank {rank}")
            shared.local[...] = 0  # it works in place: sums of sums would overflow
            variants = {
                "native": checked("native", lambda x=x, out=out: native(x, out), expected),
                "auto": checked("auto", lambda x=x, out=out: collectives.allreduce(comm, x, out=out), expected),
                "shared": lambda shared=shared: collectives.shared_allreduce(shared),
                "copy": lambda x=x, out=out: np.copyto(out, x),
            }
            choice = collectives.explain(comm, "allreduce", x).algorithm
            row: dict[str, object] = medians_us(variants, n_bytes, turns) | {
                "pages": pages,
                "bytes": n_bytes,
                "choice": choice,
            }
            rows.append(row)
    return rows


def barriers(turns: int) -> dict[str, float]:
    """Return the times of barriers."""
    return medians_us(
        {
            "native": comm.Barrier,
            "dissemination": lambda: collectives.dissemination_barrier(comm),
            "flag": lambda: collectives.flag_barrier(comm),
        },
        4096,
        turns,
    )


@contextmanager
def changed(settings: Settings) -> Iterator[Any]:
    """Give a communicator whose shared memory is made while these settings of modules are others."""
    before = {(module, name): getattr(module, name) for module, name in settings}
    for (module, name), value in settings.items():
        setattr(module, name, value)
    try:
        yield comm.Dup()
    finally:
        for (module, name), value in before.items():
            setattr(module, name, value)


def ablations(sizes: list[int], turns: int) -> list[dict[str, object]]:
    """What each part of the staged all-reduce is worth: the same without it, beside it in the same turns."""
    rows = []
    for pages in ("4 KiB", "2 MiB"):
        for n_bytes in sizes:
            x, out, expected = data(n_bytes, pages)
            variants: dict[str, Callable[[], np.ndarray]] = {"native": lambda x=x, out=out: native(x, out)}
            comms = []
            for name, (prepares, settings) in without(n_bytes).items():
                with changed(settings) as other:
                    if not prepares:
                        other = unlike_mpi4py(other)
                    call = checked(
                        name, lambda c=other, x=x, out=out: collectives.staged_allreduce(c, x, out=out), expected
                    )
                variants[name] = call
                comms.append(other)
            for name in ("recursive_doubling", "ring"):
                by_messages = collectives.CATALOGUE["allreduce"][name].function
                call = checked(name, lambda f=by_messages, x=x, out=out: f(comm, x, out=out), expected)
                variants[f"messages, {name.replace('_', ' ')}"] = call
            rows.append(medians_us(variants, n_bytes, turns) | {"pages": pages, "bytes": n_bytes})
            for other in comms:
                other.Free()
    return rows


def without(n_bytes: int) -> dict[str, tuple[bool, Settings]]:
    """Return what is left out or changed, by name: whether calls are prepared, and settings."""
    staging, memory = sys.modules["collectives.staging_buffer"], sys.modules["ranks.both.shared"]
    one_piece: Settings = {(staging, "_STAGED"): n_bytes, (staging, "_ALL_STAGED"): 2 * p * n_bytes}
    barrier: Settings = {(memory, "_ORDERED"): ()}
    return {
        "staged": (True, {}),
        "staged, nothing prepared": (False, {}),
        "staged, 64 KiB a piece": (True, {(staging, "_STAGED"): 64 << 10}),
        "staged, all in one piece": (True, one_piece),
        "staged, MPI's barrier for flags": (True, barrier),
        "staged, in one piece, MPI's barrier, nothing prepared": (False, one_piece | barrier),
    }


def unlike_mpi4py(other: Any) -> Any:
    """Return the communicator as one of a class for which nothing is prepared."""
    return type("Unprepared", (type(other),), {})(other)


def predictions(sizes: list[int], turns: int) -> list[dict[str, object]]:
    """What the formulas say on the calibrated network, and what is measured, for all that `auto` chooses from.

    Each turn calibrates anew and measures at once, and the least over all turns counts: the hypervisor may migrate a
    process between cores that share a cache and cores that do not, several times in ten seconds.
    """
    calls, arrays = {}, {n_bytes: data(n_bytes, "NumPy's")[:2] for n_bytes in sizes}
    for operation in ("allreduce", "broadcast", "reduce"):
        for n_bytes, (x, out) in arrays.items():
            target = out if operation != "reduce" or rank == 0 else None
            for name, _ in collectives.explain(comm, operation, x).candidates:
                function = collectives.CATALOGUE[operation][name].function
                calls[operation, name, n_bytes] = partial(once, partial(function, comm, x, out=target), x)
    predicted: dict[Any, list[float]] = {key: [] for key in calls}
    measured: dict[Any, list[float]] = {key: [] for key in calls}
    for _ in range(turns):
        for key, time_us in formulas(calls, arrays).items():
            predicted[key].append(time_us)
        for key, time_us in least_us(calls).items():
            measured[key].append(time_us)
    middle = {key: (min(predicted[key]), min(measured[key])) for key in calls}
    return [
        {"operation": key[0], "algorithm": key[1], "bytes": key[2], "predicted": said, "measured": found}
        for key, (said, found) in middle.items()
    ]


def formulas(keys: Iterable[Any], arrays: dict[int, Any]) -> dict[Any, float]:
    """Return what the formulas say in microseconds, when network and algorithms' own code are timed now."""
    # A new communicator is calibrated anew then, and the own code is what calls take beyond this network's formulas.
    sys.modules["ranks.both.nodes"]._calibrated.clear()
    child, said = comm.Dup(), {}
    for operation, n_bytes in {(key[0], key[2]): None for key in keys}:
        candidates = collectives.explain(child, operation, arrays[n_bytes][0]).candidates
        said.update({(operation, name, n_bytes): time_ps / 1e6 for name, time_ps in candidates})
    child.Free()
    return said


def least_us(calls: dict[Any, Callable[[], float]]) -> dict[Any, float]:
    """Return the least time of each call on its slowest rank, all called a few times in each of some rounds."""
    times: dict[Any, list[float]] = {key: [] for key in calls}
    for turn in range(5):
        for key in Random(turn).sample([*calls], len(calls)):
            times[key] += [calls[key]() for _ in range(4)]
    least = np.array(comm.allgather([*times.values()])).max(axis=0).min(axis=1)
    none = min(comm.allgather(min(once(lambda: None, start_line.local) for _ in range(100))))
    return dict(zip(calls, (least - none).tolist(), strict=True))


def once(call: Callable[[], object], x: np.ndarray) -> float:
    """Return the microseconds of a call, and of waiting until all ranks have done it; x has just been computed."""
    x.fill(rank)
    start_line.sync()
    begin = perf_counter()
    call()
    start_line.sync()
    return (perf_counter() - begin) * 1e6


def main() -> None:
    job = json.loads(sys.argv[1])
    report: dict[str, object] = {"library": " ".join(ranks.mpi_of(comm).Get_library_version().split()[:3])}
    if job["what"] == "native":
        rows = []
        for n_bytes in job["sizes"]:
            x, out, expected = data(n_bytes, "4 KiB")
            call = checked("native", lambda x=x, out=out: native(x, out), expected)
            rows.append({"bytes": n_bytes, "native": medians_us({"native": call}, n_bytes, job["turns"])["native"]})
        report["rows"] = rows
    elif job["what"] == "predictions":
        report["rows"] = predictions(job["sizes"], job["turns"])
    elif job["what"] == "ablations":
        report["rows"] = ablations(job["sizes"], job["turns"])
    elif job["what"] == "barriers":
        report["barriers"] = barriers(job["turns"])
    else:
        report["rows"] = allreduces(job["sizes"], job["turns"])
    if rank == 0:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    comm.Barrier()


if __name__ == "__main__":
    main()
