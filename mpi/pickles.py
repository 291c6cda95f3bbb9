"""How objects become bytes; a program may put other functions in the place of pickle's."""

from __future__ import annotations

import pickle as _pickle
from collections.abc import Callable
from typing import Any

from mpi.exported import buffer

_THRESHOLD = 1 << 18


class Pickle:
    """Two functions that make bytes of objects and objects of bytes, and the protocol that the first one takes."""

    def __init__(
        self, dumps: Callable[..., bytes] | None = None, loads: Callable[[Any], Any] | None = None,
        protocol: int | None = None,
    ) -> None:  # fmt: skip
        self._dumps, self._loads = dumps or _pickle.dumps, loads or _pickle.loads
        if dumps is None and protocol is None:
            protocol = _pickle.HIGHEST_PROTOCOL
        self.PROTOCOL = protocol
        self._threshold = _THRESHOLD

    @property
    def THRESHOLD(self) -> int:  # mpi4py's name
        """From how many bytes on a buffer is kept apart."""
        return self._threshold

    @THRESHOLD.setter
    def THRESHOLD(self, n_bytes: int | None) -> None:
        self._threshold = _THRESHOLD if n_bytes is None else n_bytes

    def dumps(self, obj: Any) -> bytes:
        """Return the bytes of an object."""
        return self._dumps(obj) if self.PROTOCOL is None else self._dumps(obj, self.PROTOCOL)

    def loads(self, data: Any) -> Any:
        """Return the object of some bytes."""
        return self._loads(data)

    def dumps_oob(self, obj: Any) -> tuple[bytes, list[Any]]:
        """Return the bytes of an object, and its large buffers apart."""
        buffers: list[Any] = []
        protocol = max(self.PROTOCOL or 0, 5)

        def keep(picked: Any) -> bool:
            raw = picked.raw()
            if raw.nbytes < self.THRESHOLD:
                return True
            buffers.append(buffer(raw))
            return False

        return self._dumps(obj, protocol, buffer_callback=keep), buffers

    def loads_oob(self, data: Any, buffers: Any) -> Any:
        """Return the object of some bytes, and of buffers apart."""
        return self._loads(data, buffers=buffers)  # type: ignore[call-arg]  # as pickle's takes it


pickle = Pickle()
