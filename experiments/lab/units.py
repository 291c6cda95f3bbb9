"""How times and sizes are written for a reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def nice_time(time_ps: float) -> str:
    """Return a time in four digits and its unit: "2.700 µs", "30.88 ms"."""
    unit, ps = next(((unit, ps) for unit, ps in (("s", 1e12), ("ms", 1e9)) if time_ps >= ps), ("µs", 1e6))
    return f"{time_ps / ps:#.4g} {unit}" if time_ps else "0"


def nice_bytes(n_bytes: float) -> str:
    """Return a size in up to four digits and its unit: "25 MiB"."""
    units = ("EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B")
    place = next((place for place in range(6) if n_bytes >= 2 ** (60 - 10 * place)), 6)
    return f"{decimals('.4g')(n_bytes / 2 ** (60 - 10 * place))} {units[place]}"


def decimals(form: str) -> Callable[[Any], str]:
    """Return how a number is written in such a form: decimals(".3f")(1.5) is "1.500", decimals(".2g")(168) is "170"."""

    def written(number: Any) -> str:
        text = format(number, form)
        return f"{float(text):,.0f}" if "e+" in text else text

    return written
