"""Checks of what training is told, before any work."""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np

from collectives import ring_allgather
from parallel.arguments import refuse
from training.plan import Plan
from training.sizes import GPTSizes
from training.text import checked_batch


def checked_share(name: str, share: Any) -> float:
    """Return a share of what is trained; raise unless it is one that leaves something."""
    if isinstance(share, bool) or not isinstance(share, (int, float, np.floating)) or not 0 <= share < 1:
        refuse(ValueError, "train", f"{name}={share!r}", "a number from 0 up, below 1", f"change {name}")
    return float(share)


def check_kinds(plan: Any, sizes: Any, optimizer: Any, seed: Any) -> None:
    """Raise if an argument is not what its name says, such as a class where an object of it belongs."""
    for name, value, kind in (("plan", plan, Plan), ("sizes", sizes, GPTSizes)):
        if not isinstance(value, kind):
            refuse(TypeError, "train", f"{name}={value!r}", f"a {kind.__name__}", f"pass {kind.__name__}(...)")
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        refuse(TypeError, "train", f"optimizer={optimizer!r}", "an optimiser", "pass AdamW() or SGD()")
    if type(seed) is not int or seed < 0:
        refuse(ValueError, "train", f"seed={seed!r}", "a whole number from 0 up", "pass an int")


def check_data(comm: Any, data: Any, seed: int, batch: int, sizes: GPTSizes) -> None:
    """Raise on every rank unless the data functions of all ranks make the same first batch."""
    if not callable(data):
        refuse(TypeError, "train", f"data={data!r}", "a function that makes batches", "leave it out for text_batch")
    made = checked_batch(data(seed, 1, batch, sizes.context, sizes.vocab), 1, (batch, sizes.context), sizes.vocab)
    check_alike(comm, tuple(zlib.crc32(each.astype(np.int64).tobytes()) for each in made), "data")


def check_alike(comm: Any, settings: tuple[Any, ...], what: str = "settings") -> None:
    """Raise on every rank if ranks were given different settings."""
    said = re.sub(r" at 0x[0-9a-f]+", "", repr(settings))  # a function's address differs from process to process
    digest = zlib.crc32(said.encode())
    every = ring_allgather(comm, np.array([digest])).reshape(-1)
    others = [rank for rank, each in enumerate(every) if each != every[0]]
    if others:
        got = f"{what} on rank{'s' * (len(others) > 1)} {', '.join(map(str, others))} unlike those of rank 0"
        remedy = "pass the same arguments on every rank"
        refuse(ValueError, "train", got, "the same on all ranks", remedy)
