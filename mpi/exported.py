"""buffer: memory of the program as bytes, which MPI hands out; also called `memory`."""

from __future__ import annotations

from typing import Any, NoReturn, Self

import numpy as np

from mpi.memory import EMPTY, Raw, at_address, memory_of


class buffer(np.ndarray):  # noqa: N801  # mpi4py's name
    """Bytes of memory, which any object of as many bytes can be assigned to.

    obj:  Whose memory it is; None if it is nobody's.
    """

    obj: Any

    def __new__(cls, buf: Any = b"") -> Self:
        if buf is None or isinstance(buf, (int, float, list, tuple)):
            raise TypeError(
                f"buffer: got {buf!r:.40}, expected an object with a buffer; remedy: pass bytes or an array"
            )
        is_nothing = isinstance(buf, bytes) and not buf
        return cls._of(EMPTY, None) if is_nothing else cls._of(memory_of(buf, writable=False)[0], buf)

    @classmethod
    def _of(cls, raw: Raw, obj: Any) -> Self:
        self = raw.view(cls)
        self.obj = obj
        return self

    def __array_finalize__(self, obj: Any) -> None:
        self.obj = getattr(obj, "obj", None)

    @classmethod
    def allocate(cls, nbytes: int, clear: bool = False) -> Self:
        """Return new memory."""
        if not isinstance(nbytes, int):
            raise TypeError(f"buffer.allocate: got {nbytes!r}, expected a number of bytes; remedy: pass an int")
        if nbytes < 0:
            raise ValueError(f"buffer.allocate: got {nbytes} bytes, expected 0 or more; remedy: correct the number")
        raw: Raw = np.zeros(nbytes + 1, np.uint8)[:nbytes]
        return cls._of(raw, bytearray(nbytes) if not nbytes else raw)

    @classmethod
    def frombuffer(cls, buf: Any, readonly: bool = False) -> Self:
        """Return the memory of an object."""
        self = cls(buf)
        if not readonly and not self.flags.writeable:
            memory_of(buf, writable=True)  # which refuses it
        return self.toreadonly() if readonly else self

    @classmethod
    def fromaddress(cls, address: int, nbytes: int, readonly: bool = False) -> Self:
        """Return the memory at an address."""
        if nbytes < 0 or (nbytes and not address):
            raise ValueError(
                f"buffer.fromaddress: got {nbytes} bytes at {address}, expected memory; remedy: correct it"
            )
        return cls._of(at_address(address, nbytes, writable=not readonly), None)

    def toreadonly(self) -> Self:
        """Return the same memory, which cannot be written to."""
        view: Self = self[...]
        view.flags.writeable = False
        view.obj = self.obj
        return view

    def cast(self, format: str, shape: Any = None) -> memoryview:  # mpi4py's name
        """Return a memoryview of elements of a format."""
        view: Any = memoryview(np.asarray(self))  # type: ignore[arg-type]  # arrays export buffers
        found: memoryview = view.cast(format) if shape is None else view.cast(format, shape)
        return found

    def tobytes(self, order: str | None = None) -> bytes:
        """Return a copy of the bytes; `order` means nothing for them."""
        return super().tobytes()

    def release(self) -> None:
        """Let go of the memory."""
        self.obj = _RELEASED

    address = property(lambda self: 0 if self._is_gone() else int(self.ctypes.data))
    readonly = property(lambda self: not self._is_gone() and not self.flags.writeable)
    format = property(lambda self: "B")

    def _is_gone(self) -> bool:
        return self.obj is _RELEASED or (not self.size and self.obj is None)

    @property
    def nbytes(self) -> int:
        """The bytes of it."""
        return 0 if self.obj is _RELEASED else int(self.size)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __len__(self) -> int:
        return self.nbytes

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(_checked(key))
        return int(got) if isinstance(got, np.uint8) else got

    def __setitem__(self, key: Any, value: Any) -> None:
        _checked(key)
        if not self.flags.writeable:
            raise TypeError("buffer: got a read-only one, expected one that can be written to; remedy: copy it")
        if isinstance(key, slice) and not isinstance(value, int):
            value = memory_of(value, writable=False)[0]
            if value.size != super().__getitem__(key).size:
                raise ValueError(
                    f"buffer: got {value.size} bytes for {key}, expected as many; remedy: correct the slice"
                )
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> NoReturn:
        raise NotImplementedError("buffer: got a deletion, expected none; remedy: copy the part to keep")


def _checked(key: Any) -> Any:
    """Return a number, or a slice whose step is 1."""
    if key is None:
        raise TypeError("buffer: got None as an index, expected a number or a slice; remedy: pass one")
    if isinstance(key, slice) and key.step not in (None, 1):
        raise IndexError(f"buffer: got a slice with step {key.step}, expected step 1; remedy: take a part in one piece")
    return key


_RELEASED: Any = object()
