"""How many MPI processes this machine can hold. Without this check a launcher fills the memory before it fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Private memory of an MPI process. Measured on Linux, MPICH 5.0: 14 MiB without NumPy, 21 to 27 with.
PROCESS_BYTES = 20 * 2**20
# MPICH's launcher opens 16 files and 4 a process: with 64, 128 and 256 open files it started 12, 28 and 60 processes.
LAUNCHER_FILES, PROCESS_FILES = 16, 4
# The guard, the launcher and its proxy.
OTHER_PROCESSES = 3


def most_processes() -> tuple[int, str, str]:
    """Return how many MPI processes can be started now, the fact that sets this limit, and what would raise it."""
    return min(_limits())


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _limits() -> Iterator[tuple[int, str, str]]:
    import resource  # Windows has none

    n_bytes = available_memory()
    needed = f"{n_bytes / 2**30:.1f} GiB of memory are available and a process needs {PROCESS_BYTES // 2**20} MiB"
    yield n_bytes // PROCESS_BYTES, needed, "ask for fewer, or simulate them: ranks.run has all in one process"
    n_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if n_files != resource.RLIM_INFINITY:
        why = f"{n_files} files may be open and a process needs {PROCESS_FILES}"
        yield (n_files - LAUNCHER_FILES) // PROCESS_FILES, why, "ask for fewer, or raise ulimit -n"
    bounds = [*_numbers("/proc/sys/kernel/pid_max", "/sys/fs/cgroup/pids.max")]
    own = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if own != resource.RLIM_INFINITY and os.geteuid() != 0:  # root has no such limit
        bounds.append(own)
    if bounds:
        yield min(bounds) - OTHER_PROCESSES, f"{min(bounds)} processes may run", "ask for fewer, or raise ulimit -u"


def available_memory() -> int:
    """Return the bytes of memory that new processes can have."""
    n_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (meminfo := Path("/proc/meminfo")).exists():
        lines = meminfo.read_text().splitlines()
        n_bytes = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), n_bytes)
    of_container = _numbers("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
    return min([n_bytes, *of_container])


def _numbers(*paths: str) -> Iterator[int]:
    """Yield the number in each of these files that has one: a container's limits, of either version of cgroups."""
    for path in map(Path, paths):
        if path.exists() and (text := path.read_text().strip()).isdecimal():  # without a limit it is the word max
            yield int(text)
