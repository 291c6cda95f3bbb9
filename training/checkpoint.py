"""Checkpoints: a training on disk, written whole or not at all, and read under any other plan.

    folder/step-00000020/manifest.json       what it is of, and the files with their checksums
                         rank-3.npz          "x/block.0.w_up/0:64,128:256": a piece of a whole array, by its place there

Every number is written by the one rank that counts it as its own, under its place in the whole, so no file says how
the training was cut. All ranks need to see the same folder. `saving.py` writes, `loading.py` reads; here is what both
know: what a checkpoint is of, where it is, and how all ranks learn what failed on one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from collectives import ring_allgather
from parallel.arguments import refuse
from parallel.precision import sum_dtype
from training.precision import DynamicScale
from training.trainer import Trainer

FORMAT = 3
MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8,})(?:-(\d+))?")
_COPY = re.compile(r"copy-\d+-of-(\d+)")
# So much of a message travels to the other ranks.
_MESSAGE_BYTES = 1024

Box = tuple[slice, ...]


class CheckpointError(ValueError):
    """A checkpoint that is damaged, belongs to another training run, or could not be written."""


def last_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest complete checkpoint in `folder`, if there is one."""
    found = checkpoints_in(folder)
    return found[max(found)] if found else None


def newest_on_all(comm: Any, folder: str | Path) -> Path | None:
    """Return the newest complete checkpoint in `folder`, if there is one; raise on all ranks if they see others."""
    path = last_checkpoint(folder)
    names = _said_by_all(comm, path.name if path else "")
    for rank, name in enumerate(names):
        if name != names[0]:
            got = f"{names[0] or 'nothing'} in the folder on rank 0 and {name or 'nothing'} on rank {rank}"
            refuse(CheckpointError, "load_checkpoint", got, "the same", "pass a folder that all ranks see")
    return path


def checkpoints_in(folder: str | Path) -> dict[tuple[int, int], Path]:
    """Return all complete checkpoints in a folder by their step, and which of this step each is."""
    matches = [(_NAME.fullmatch(path.name), path) for path in Path(folder).glob("step-*")]
    return {(int(match[1]), int(match[2] or 0)): path for match, path in matches if match}


def folder_of_copy(folder: str | Path, copy: int, copies: int) -> Path:
    """Return where one of several copies that train apart has its checkpoints."""
    return Path(folder) / f"copy-{copy}-of-{copies}"


def check_copies(comm: Any, folder: str | Path, copies: int | None) -> None:
    """Raise on every rank if `folder` has checkpoints of another number of copies; None: of no copies that train apart.

    No training of this number could go on from them: it would begin anew, beside them. The folder is made here, so that
    a folder that cannot be made is an error before the first step and not after the last.
    """

    def check() -> None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        matches = [_COPY.fullmatch(path.name) for path in Path(folder).glob("copy-*")]
        found: set[int | None] = {int(match[1]) for match in matches if match}
        if checkpoints_in(folder):
            found.add(None)
        for other in found - {copies}:
            got = f"{folder} with checkpoints of {_said_copies(other)}"
            refuse(CheckpointError, "load_checkpoint", got, _said_copies(copies), "pass another folder")

    together(comm, "load_checkpoint", check)


def _said_copies(copies: int | None) -> str:
    return "a training without local_steps" if copies is None else f"{copies} copies that train apart"


def manifest_of(trainer: Trainer) -> dict[str, Any]:
    """Return what a checkpoint says of the training that it is of."""
    return {
        "format": FORMAT,
        "sizes": asdict(trainer.sizes),
        "dtype": trainer.dtype.name,
        "kept": sum_dtype(trainer.dtype).name,
        "optimizer": type(trainer.optimizer).__name__,
        "moments": list(trainer.optimizer.moments),
        "batch": trainer.batch,
        "seed": trainer.seed,
        "plan": str(trainer.plan),
        "next_scale": trainer.scale if isinstance(trainer.scaling, DynamicScale) else None,
        **asdict(trainer.history),
    }


def together(comm: Any, who: str, action: Callable[[], None]) -> None:
    """Do something with files on every rank; raise the same CheckpointError on all if it fails on one."""
    problem = ""
    try:
        action()
    except CheckpointError as error:
        problem = str(error)
    except OSError as error:
        problem = f"{who}: got {error} on rank {comm.rank}, expected to read and write files; remedy: free or allow it"
    for said in _said_by_all(comm, problem):
        if said:
            raise CheckpointError(said)


def _said_by_all(comm: Any, text: str) -> list[str]:
    """Return the text of each rank; all ranks call it."""
    mine = np.array([text.encode()], f"S{_MESSAGE_BYTES}").view(np.uint8)
    every = ring_allgather(comm, mine).reshape(comm.size, _MESSAGE_BYTES)
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in every]
