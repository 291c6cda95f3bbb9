"""Libraries that a plain installation leaves out, and what to install where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from ranks.words.errors import RanksError


class NotInstalledError(RanksError, ImportError):
    """A library of an extra is needed, and cannot be loaded."""

    def __init__(self, call: str, extra: str, *, got: str, expected: str) -> None:
        super().__init__(None, call, got=got, expected=expected, remedy=how_to_install(extra))


def how_to_install(extra: str) -> str:
    """Return what brings the libraries of an extra.

    how_to_install("show")  # 'install the extra "show": pip install "gears[show]"'
    """
    return f'install the extra "{extra}": pip install "gears[{extra}]"'


def need(call: str, library: str, extra: str = "show") -> None:
    """Raise NotInstalledError unless the library, which this extra brings, is there to be imported."""
    if find_spec(library) is None:
        raise NotInstalledError(call, extra, got=f"no {library}", expected="it to be installed")
