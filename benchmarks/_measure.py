"""Measure: which machine this is, interleaved medians, and seconds and memory of a fresh process."""

import gc
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

import greenlet
import numpy as np
from threadpoolctl import threadpool_info

LONG_RUN_S = 30.0
# Where a greenlet switch took this long, the asked rates were found to be within reach.
REFERENCE_SWITCH_NS = 140
STATUS = Path("/proc/self/status")  # of this process; Linux only
# For glibc, read when a process starts: what is freed stays with the process.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


@dataclass
class Variant:
    """One way to do the work: `run()` returns its own seconds for `messages` messages.

    `asked` is the rate in messages/s that was asked of it, 0 if none was.
    """

    name: str
    messages: int
    run: Callable[[], float]
    asked: float = 0.0
    seconds: list[float] = field(default_factory=list)
    switch_ns: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages per second of the median run."""
        return self.messages / statistics.median(self.seconds)

    @property
    def switches(self) -> float:
        """Time of a message in greenlet switches as they were just before each run; the median."""
        pairs = zip(self.seconds, self.switch_ns, strict=True)
        return statistics.median(1e9 * seconds / self.messages / switch_ns for seconds, switch_ns in pairs)


def interleave(variants: Sequence[Variant], runs: int, *, switches: bool = True) -> None:
    """Fill `seconds` of every variant, round after round, each variant once a round: drift hits all alike.

    Every other round goes backwards, so that no variant is always the one that runs after a certain other.
    A variant whose first run takes longer than LONG_RUN_S is run once. The garbage collector stays on, as it
    is for whoever uses the library, but starts each run with nothing to collect from the run before.
    switches: also time greenlet switches before each run, for `Variant.switches`.
    """
    for turn in range(runs):
        for variant in variants[:: -1 if turn % 2 else 1]:
            if variant.seconds and variant.seconds[0] > LONG_RUN_S:
                continue
            gc.collect()
            # The least of three: a process that has just started or ended leaves cold caches behind.
            if switches:
                variant.switch_ns.append(min(_switch_ns(20_000) for _ in range(3)))
            variant.seconds.append(variant.run())


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Return how many times as long the first takes: the median over rounds in which both took turns."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def at_most(value: float, limit: float) -> str:
    """Return how a table says whether a ratio, in the two decimals that it shows, is as small as asked."""
    return f"≤ {limit:g}: {'yes' if round(value, 2) <= limit else 'NO'}"


def simd() -> str:
    """Return the level of SIMD that NumPy found, and the kernels that its BLAS chose, in this process."""
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    kernels = [f"{each['internal_api']} {each['version']} for {each['architecture']}" for each in threadpool_info()]
    kernels.append(f"OPENBLAS_CORETYPE {os.environ.get('OPENBLAS_CORETYPE', 'not set')}")
    return f"SIMD: NumPy at {found[-1] if found else 'its baseline'}; BLAS: {', '.join(kernels)}"


def machine() -> list[str]:
    """Return lines that name the machine and calibrate it, so that a reader can scale the figures."""
    loop_ns, switch_ns = _median_of_5(_loop_ns), _median_of_5(_switch_ns)
    return [
        f"{_cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}, numpy {np.__version__}, greenlet {greenlet.__version__}",
        f"calibration: {loop_ns:.0f} ns an iteration of an empty Python loop, "
        f"{switch_ns:.0f} ns a greenlet switch ({REFERENCE_SWITCH_NS} ns where the asked rates were set)",
        f"{simd()}; garbage collector on; tracing off",
    ]


def in_fresh_process(
    script: Path, *arguments: str, tree: Path | None = None, setting: Mapping[str, str] = MappingProxyType({})
) -> Any:
    """Return the JSON object that `script` prints, run in a process of its own.

    tree: the folder whose packages the script imports, if it is not this one. setting: more of its environment.
    Raises RuntimeError with the script's own words if it fails.
    """
    argv = [sys.executable, str(script), *arguments]
    environment = (importing_from(tree) if tree else os.environ) | setting
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with status {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def importing_from(tree: Path) -> dict[str, str]:
    """Return the environment of a process that imports `ranks` and `collectives` from the folder `tree`."""
    path = [str(tree.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Two trees are compared under one seed of hashes, since sets and dictionaries are laid out by it.
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": "0"}


def resident_bytes(key: str = "VmRSS") -> int:
    """Return this process's resident memory in bytes, now ("VmRSS") or at its peak ("VmHWM").

    Not getrusage: its peak starts at the parent's, so that a small child of a large process looks large.
    """
    lines = STATUS.read_text().splitlines()
    line = next(line for line in lines if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown CPU"
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown CPU"


def _median_of_5(figure: Callable[[], float]) -> float:
    return statistics.median(figure() for _ in range(5))


def _loop_ns(n: int = 1_000_000) -> float:
    start = perf_counter()
    for _ in range(n):
        pass
    return (perf_counter() - start) / n * 1e9


def _switch_ns(n: int = 200_000) -> float:
    to_hub = greenlet.getcurrent().switch

    def rank() -> None:
        while True:
            to_hub()

    to_rank = greenlet.greenlet(rank).switch
    to_rank()
    start = perf_counter()
    for _ in range(n):
        to_rank()
    return (perf_counter() - start) / (2 * n) * 1e9
