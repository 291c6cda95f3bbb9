"""The memory of objects that can be sent: arrays, what exports a buffer, DLPack and the CUDA array interface."""

from __future__ import annotations

import ctypes
import warnings
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpi.errors import WrongBufferError, WrongKeyError, WrongTypeError, WrongValueError, wrong
from ranks.words.datatypes import WIRE_DTYPES

Raw = NDArray[np.uint8]
EMPTY: Raw = np.empty(0, np.uint8)


def memory_of(data: Any, *, writable: bool) -> tuple[Raw, str]:
    """Return the memory of an object as bytes, and the type code of its elements; "B" if it says none."""
    if isinstance(data, np.ndarray) and data.dtype in WIRE_DTYPES:
        return _raw(data, writable), data.dtype.char
    if data is None:
        return EMPTY, "B"
    try:
        view = memoryview(data)
    except TypeError:
        return _without_buffer(data, writable)
    except ValueError as problem:  # NumPy's, of elements such as dates
        raise wrong(
            WrongBufferError, f"{problem}", "elements of a type that buffers have", "send x.view('i8'), or use send"
        ) from None
    if writable and view.readonly:
        raise wrong(WrongBufferError, "a read-only buffer", "a writable one to receive into", "receive into a copy")
    code = (view.format or "B").lstrip("@=<")
    if not (view.c_contiguous or view.f_contiguous):
        raise _in_pieces()
    raw = np.frombuffer(view, np.uint8) if view.nbytes else EMPTY
    return raw, code


def _without_buffer(data: Any, writable: bool) -> tuple[Raw, str]:
    """Return the memory and the code of an object that describes its memory in another way than by a buffer."""
    if hasattr(data, "__cuda_array_interface__"):
        return _of_interface(data.__cuda_array_interface__, writable)
    if hasattr(data, "__dlpack__"):
        return _of_dlpack(data, writable)
    raise wrong(
        WrongTypeError, f"an object of type {type(data).__name__}", "a buffer, or a list that begins with one",
        "give an array, or make the lower-case call",
    )  # fmt: skip


def _raw(array: NDArray[Any], writable: bool) -> Raw:
    if not array.flags.forc:
        raise _in_pieces()
    if writable and not array.flags.writeable:
        raise wrong(WrongBufferError, "a read-only array", "a writable one to receive into", "receive into a copy")
    return np.asarray(array).ravel(order="K").view(np.uint8) if array.size else EMPTY


def _in_pieces() -> Exception:
    return wrong(
        WrongBufferError, "an array that is not contiguous", "one in a single piece of memory",
        "send np.ascontiguousarray(x), receive into a contiguous array, or give a derived datatype",
    )  # fmt: skip


def at_address(address: int, n_bytes: int, *, writable: bool = True) -> Raw:
    """Return the memory at an address."""
    if not n_bytes:
        return EMPTY
    raw: Raw = np.frombuffer(memoryview((ctypes.c_uint8 * n_bytes).from_address(address)), np.uint8)
    raw.flags.writeable = writable
    return raw


def _in_one_piece(shape: Any, strides: Any, itemsize: int) -> bool:
    """Return whether strides, in bytes, are those of an array in C or Fortran order."""
    if min(shape, default=0) < 0:
        return False
    if strides is None or prod(shape) == 0:
        return True
    for axes in (range(len(shape) - 1, -1, -1), range(len(shape))):
        step = itemsize
        for axis in axes:
            if shape[axis] > 1 and strides[axis] != step:
                break
            step *= shape[axis]
        else:
            return True
    return False


def _of_interface(interface: Any, writable: bool) -> tuple[Raw, str]:
    """Return the memory that a CUDA array interface describes; here it is the machine's own."""
    if not isinstance(interface, dict):
        raise wrong(WrongTypeError, "an interface that is no dict", "a CUDA array interface", "correct the object")
    interface = interface | {"descr": interface.get("descr") or []}
    for name, kind in (("data", tuple), ("typestr", str), ("shape", tuple), ("descr", list)):
        if name not in interface:
            raise wrong(WrongKeyError, f"an array interface without {name}", "one with it", "add it")
        if not isinstance(interface[name], kind):
            got = f"{name}={interface[name]!r:.40} in an array interface"
            raise wrong(WrongTypeError, got, f"a {kind.__name__}", "correct it")
    data, typestr, shape = interface["data"], interface["typestr"], interface["shape"]
    if len(data) != 2:
        raise wrong(WrongValueError, f"data={data!r:.40} in an array interface", "an address and a flag", "correct it")
    address, read_only = data
    if interface.get("mask") is not None:
        raise wrong(WrongBufferError, "an array with a mask", "one without", "send the data and the mask apart")
    if typestr[:1] not in ("<", "|", "="):
        raise wrong(
            WrongBufferError, f"elements of type {typestr!r}", "the byte order of the machine", "convert the array"
        )
    itemsize = int(typestr[2:])
    if not _in_one_piece(shape, interface.get("strides"), itemsize):
        raise _in_pieces()
    if writable and read_only:
        raise wrong(WrongBufferError, "a read-only array", "a writable one to receive into", "receive into a copy")
    if interface["descr"] not in ([], [("", typestr)]):
        warnings.warn("an array interface with fields: its elements are sent as bytes", RuntimeWarning, stacklevel=2)
    code = "B" if typestr[1] == "V" else typestr[1:]
    return at_address(address or 0, prod(shape) * itemsize, writable=not read_only), code


# -- DLPack --------------------------------------------------------------------------------------------------------


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int), ("device_id", ctypes.c_int), ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


_KINDS = {0: "i", 1: "u", 2: "f", 5: "c", 6: "b"}
# Offset of the tensor in a capsule's contents, by the capsule's name; a versioned one has flags before it.
_OFFSETS = {b"dltensor": 0, b"dltensor_versioned": 32}
_FLAGS, _READ_ONLY = 24, 1
_CPU = 1


def _of_dlpack(data: Any, writable: bool) -> tuple[Raw, str]:
    """Return the memory that a DLPack capsule describes, on whatever device it says; here it is the machine's own."""
    device, number = data.__dlpack_device__()
    if not isinstance(device, int) or not isinstance(number, int):
        raise wrong(WrongTypeError, f"device {device!r}, {number!r}", "two integers", "correct the object")
    stream = {} if device == _CPU else {"stream": -1}
    try:
        capsule, name = data.__dlpack__(**stream, max_version=(1, 0), copy=False), b"dltensor_versioned"
    except TypeError:  # it is older than the versions
        capsule, name = data.__dlpack__(**stream), b"dltensor"
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    try:
        address = pointer_of(capsule, name) or 0
    except ValueError:
        raise wrong(
            WrongBufferError, "no capsule, or one used before", f"one named {name!r}", "make a new one"
        ) from None
    if _OFFSETS[name]:
        if ctypes.c_uint32.from_address(address).value != 1:
            raise wrong(WrongBufferError, "a capsule of another version", "version 1", "make one of version 1")
        if writable and ctypes.c_uint64.from_address(address + _FLAGS).value & _READ_ONLY:
            raise wrong(WrongBufferError, "a read-only array", "a writable one to receive into", "receive into a copy")
    tensor = _Tensor.from_address(address + _OFFSETS[name])
    itemsize = tensor.bits * tensor.lanes // 8
    kind = _KINDS.get(tensor.code, "")
    if tensor.lanes == 2 and kind == "f":
        kind = "c"
    elif tensor.lanes != 1 or tensor.bits % 8:
        kind = ""
    if tensor.ndim < 0 or (tensor.ndim and not tensor.shape):
        raise wrong(WrongBufferError, f"{tensor.ndim} dimensions without a shape", "a shape", "correct the object")
    shape = [tensor.shape[axis] for axis in range(tensor.ndim)]
    strides = [tensor.strides[axis] * itemsize for axis in range(tensor.ndim)] if tensor.strides else None
    if not _in_one_piece(shape, strides, itemsize):
        raise _in_pieces()
    raw = at_address((tensor.data or 0) + tensor.byte_offset, prod(shape) * itemsize)
    return raw, f"{kind}{itemsize}" if kind else "B"
