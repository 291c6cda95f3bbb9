"""Memory that arrays are freed into: whether it stays with the process."""

from __future__ import annotations

import numpy as np

_LARGEST = 31 << 20  # bytes; glibc learns from pieces of less than 32 MiB


def keep_freed_memory() -> None:
    """Let this process keep some 60 MiB of freed memory for the next arrays, where its C library is glibc.

    glibc gives the end of its heap back to the system when more is free there than twice the largest piece that it has
    seen freed. Activations are freed in each step: all their pages would come anew, zeroed by the system, which takes
    a third of the time of a small model. This frees one large piece, whose pages are never touched.

    Call it before the first step. Elsewhere it does nothing.
    """
    np.empty(_LARGEST, np.uint8)
