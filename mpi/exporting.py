"""Objects that export a buffer of Python: `__buffer__` is enough from Python 3.12 on; before, it takes a slot in C."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_GetBuffer = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
# The words of a type object of CPython 3.11 before its `tp_as_buffer`, whose first word is the function.
_WORDS_BEFORE = 20


def _get_buffer(exporter: Any, view: int, flags: int) -> int:
    memory = ctypes.py_object(exporter.__buffer__(flags))
    status: int = ctypes.pythonapi.PyObject_GetBuffer(memory, ctypes.c_void_p(view), ctypes.c_int(flags))
    return status


_get_buffer_in_c = _GetBuffer(_get_buffer)  # it has to live as long as the types that have it


def exports_buffer(cls: type) -> type:
    """Let the objects of a class export what their `__buffer__`, which must not raise, returns."""
    if sys.version_info < (3, 12):
        slot = ctypes.c_void_p.from_address(id(cls) + _WORDS_BEFORE * ctypes.sizeof(ctypes.c_void_p))
        function = ctypes.c_void_p.from_address(slot.value or 0)
        function.value = ctypes.cast(_get_buffer_in_c, ctypes.c_void_p).value
    return cls
