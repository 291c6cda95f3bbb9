"""How times and sizes are written for a reader."""

from __future__ import annotations


def nice_time(time_ps: float) -> str:
    """Return a time in four digits and its unit: "2.700 µs", "30.88 ms"."""
    unit, ps = next(((unit, ps) for unit, ps in (("s", 1e12), ("ms", 1e9)) if time_ps >= ps), ("µs", 1e6))
    return f"{time_ps / ps:#.4g} {unit}" if time_ps else "0"


def nice_bytes(n_bytes: float) -> str:
    """Return a size in up to four digits and its unit: "25 MiB"."""
    for unit, size in (("PiB", 2**50), ("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes:.4g} B"
