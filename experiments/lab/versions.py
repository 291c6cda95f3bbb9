"""What a report about this machine needs: versions, MPI, the processor."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec

import numpy as np

import ranks
from ranks import real
from ranks.words.extras import how_to_install

LIBRARIES = ("greenlet", "ml_dtypes", "matplotlib", "rich", "mpi4py")
PATIENCE_S = 60  # for the child that loads MPI


def versions() -> dict[str, str]:
    """Return what is installed here, by name."""
    return {
        "gears": ranks.__version__,
        "Python": f"{platform.python_version()}, {platform.python_implementation()}, {sys.executable}",
        "NumPy": f"{np.__version__}, SIMD: {simd_level()}",
        **{name: _version(name) for name in LIBRARIES},
        "MPI": _mpi(),
        "processor": f"{real.available_cores()} of {os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
    }


def simd_level() -> str:
    """Return the best instructions that NumPy found here, such as "AVX2"; beyond them, what it was built for."""
    simd = np.show_config(mode="dicts").get("SIMD Extensions", {})  # type: ignore[union-attr]
    found = simd.get("found") or simd.get("baseline") or ["none"]
    return str(found[-1])


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _mpi() -> str:
    """Return the MPI library and its launcher; a child loads it, since loading it joins a world."""
    if find_spec("mpi4py") is None:
        return f"not found; {how_to_install('mpi')}"
    code = "from mpi4py import MPI; print(' '.join(MPI.Get_library_version().split()[:3]).rstrip(','))"
    try:
        launcher = real.find_mpiexec()
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
    except (real.MPINotInstalledError, subprocess.SubprocessError) as problem:
        return f"not found: {str(problem).splitlines()[0]}"
    return f"{child.stdout.strip()}, {launcher}"
