"""The options of `mpi4py.rc`, and the variables of the environment that set them too, as MPI4PY_RC_INITIALIZE does."""

from __future__ import annotations

import os
import warnings
from typing import Any

# The options, as they are at first.
OPTIONS: dict[str, Any] = {
    "initialize": True, "threads": True, "thread_level": "multiple", "finalize": None, "fast_reduce": True,
    "recv_mprobe": True, "irecv_bufsz": 1 << 15, "errors": "exception",
}  # fmt: skip
LEVELS = ("single", "funneled", "serialized", "multiple")
_BOOLEANS = {"true": True, "yes": True, "on": True, "y": True, "1": True}
_BOOLEANS |= {"false": False, "no": False, "off": False, "n": False, "0": False}
_TEXTS = {"thread_level": LEVELS, "errors": ("exception", "default", "abort", "fatal")}


def take(options: dict[str, Any]) -> dict[str, Any]:
    """Return what options mean to a rank that imports MPI; those that the environment sets are changed.

    A value that mpi4py does not know is a warning, and its option stays as it is at first.
    """
    settings = {}
    for name, first in OPTIONS.items():
        text = os.environ.get(f"MPI4PY_RC_{name.upper()}")
        if text is not None:
            options[name] = _meant(text, first)
        settings[name] = value = options[name]
        if name not in _TEXTS and value in ("yes", "no"):
            settings[name] = value == "yes"
        elif not _is_known(name, value):
            warnings.warn(f"mpi4py.rc.{name}: unexpected value {value!r}", RuntimeWarning, stacklevel=4)
            settings[name] = first
    return settings


def _meant(text: str, first: Any) -> Any:
    """Return the value that a text in the environment gives to an option whose first value is given."""
    if type(first) is int and text.isdecimal():
        return int(text)
    return _BOOLEANS.get(text.lower(), text.lower())


def _is_known(name: str, value: Any) -> bool:
    if name in _TEXTS:
        return value in _TEXTS[name]
    if name == "irecv_bufsz":
        return type(value) is int and value >= 0
    return value in (True, False) or (name == "finalize" and value is None)
