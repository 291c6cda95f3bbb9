"""Memory for what comes: arrays to receive into, which on real MPI stay with the communicator."""

from __future__ import annotations

from typing import Any

import numpy as np

from collectives.arrays import Array
from ranks import is_plain, kept

# Memory for received data begins ASIDE bytes into a page. Some processors copy three to five times as slowly if the
# target's address modulo a page is slightly above the source's. Large arrays begin at a page, or 16 bytes into one,
# which malloc keeps for itself.
PAGE, ASIDE = 4096, 2048
_KEPT_FROM, _KEPT_UP_TO = 16 << 10, 64 << 20  # bytes: smallest array that is kept, and most bytes kept in all


def scratch(comm: Any, n_arrays: int, n: int, dtype: np.dtype[Any]) -> list[Array]:
    """Return flat arrays of n elements to receive into, the caller's until anybody asks for scratch of `comm` again.

    On real MPI those of 16 KiB and more are one memory, which stays with the communicator, grows, and is given back
    with it; what would take more than 64 MiB is new each time. New memory costs a third of what receiving into it does.
    """
    n_bytes = n * dtype.itemsize
    if n_bytes < _KEPT_FROM or not is_plain(comm):
        return [np.empty(n, dtype) for _ in range(n_arrays)]
    step = -(-n_bytes // PAGE) * PAGE
    holder: list[Array] = kept(comm, scratch, lambda: [np.empty(0, np.uint8)])
    memory = holder[0]
    if memory.size < n_arrays * step:
        memory = np.empty(n_arrays * step + PAGE, np.uint8)
        memory = memory[(ASIDE - memory.ctypes.data) % PAGE :]
        if memory.size <= _KEPT_UP_TO:
            holder[0] = memory
    return [memory[begin : begin + n_bytes].view(dtype) for begin in range(0, n_arrays * step, step)]
