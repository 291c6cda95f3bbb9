"""Changing one step of code that is there, for as long as a `with` lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

Present = Callable[[], AbstractContextManager[None]]


@contextmanager
def changed(owner: Any, **by_name: Callable[..., Any]) -> Iterator[None]:
    """Replace attributes of a class or module; each value makes the new one from the original."""
    originals = {name: getattr(owner, name) for name in by_name}
    try:
        for name, make in by_name.items():
            setattr(owner, name, make(originals[name]))
        yield
    finally:
        for name, original in originals.items():
            setattr(owner, name, original)


@contextmanager
def together(*several: AbstractContextManager[None]) -> Iterator[None]:
    """Put several changes in at once."""
    if not several:
        yield
        return
    with several[0], together(*several[1:]):
        yield
