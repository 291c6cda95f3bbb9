"""Checkpoints: a training on disk, written whole or not at all, and read under any other plan.

    folder/step-00000020/manifest.json       what it is of, and the files with their checksums
                         rank-3.npz          "x/block.0.w_up/0:64,128:256": a piece of a whole array, by its place there

Every number is written by the one rank that counts it as its own, under its place in the whole, so no file says how
the training was cut. A step's folder has another name until all of it is on disk; the rename is what makes it count.
All ranks need to see the same folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from collectives import ring_allgather
from collectives.arrays import Array
from parallel.arguments import refuse
from parallel.precision import sum_dtype
from training.parts import Part
from training.precision import DynamicScale
from training.trainer import Trainer

_FORMAT = 2
_MANIFEST = "manifest.json"
_HISTORY = ("losses", "grad_norms", "auxiliary", "scales", "skipped")
_NEEDED = {"files": dict, **dict.fromkeys(_HISTORY, list)}
_NAME = re.compile(r"step-(\d{8,})(?:-(\d+))?")
# So much of a message travels to the other ranks.
_MESSAGE_BYTES = 1024

Box = tuple[slice, ...]


class CheckpointError(ValueError):
    """A checkpoint that is damaged, of another training, or could not be written."""


def save_checkpoint(trainer: Trainer, folder: str | Path) -> Path:
    """Write a training's parameters, optimiser state and history; return the new folder in `folder`. All ranks call it.

    A crash at any moment leaves what was there before. The checkpoints before this one stay.

    Raises: CheckpointError on every rank if a rank could not write; then nothing has changed in `folder`.
    """
    comm, who = trainer.comm, "save_checkpoint"
    step = len(trainer.history.losses)
    name = f"step-{step:08d}"
    partial = Path(folder) / f".{name}.partial"
    _together(comm, who, lambda: _make_empty(partial) if comm.rank == 0 else None)
    # The same step once more, as after going on from an older one, gets a name of its own: nothing good is overwritten.
    again = max((number + 1 for of, number in _found(folder) if of == step), default=0) if comm.rank == 0 else 0
    again = int(ring_allgather(comm, np.array([again])).reshape(-1)[0])
    done = Path(folder) / (f"{name}-{again:02d}" if again else name)
    checksums: list[int] = []
    pieces = dict(_pieces(trainer))
    _together(comm, who, lambda: checksums.append(_write_pieces(partial / _file(comm.rank), pieces)))
    every = ring_allgather(comm, np.array(checksums)).reshape(-1)

    def publish() -> None:
        files = {_file(rank): int(each) for rank, each in enumerate(every)}
        _write(partial / _MANIFEST, json.dumps(_manifest(trainer) | {"files": files}, indent=1).encode())
        _sync(partial)
        os.rename(partial, done)
        _sync(done.parent)

    _together(comm, who, publish if comm.rank == 0 else lambda: None)
    return done


def last_checkpoint(folder: str | Path) -> Path | None:
    """Return the newest complete checkpoint in `folder`, if there is one."""
    found = _found(folder)
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


def _found(folder: str | Path) -> dict[tuple[int, int], Path]:
    """Return all complete checkpoints in a folder by their step, and which of this step each is."""
    matches = [(_NAME.fullmatch(path.name), path) for path in Path(folder).glob("step-*")]
    return {(int(match[1]), int(match[2] or 0)): path for match, path in matches if match}


def load_checkpoint(trainer: Trainer, folder: str | Path) -> Path:
    """Read the newest checkpoint of `folder` into a trainer, whatever its plan; return its folder. All ranks call it.

    Training goes on as if nothing had happened: step, history and optimiser state are those of the checkpoint. float32,
    bfloat16 and float16 may go on from each other, since all keep parameters and moments in float32.

    Raises: CheckpointError on every rank, with the trainer unchanged, if there is none, it is damaged, or it is of
            another model, dtype, optimiser, batch or seed.
    """
    comm = trainer.comm
    path = newest_on_all(comm, folder)
    if path is None:
        refuse(CheckpointError, "load_checkpoint", f"{folder} without a checkpoint", "step-...", "save one there")
    found: list[tuple[dict[str, Any], dict[str, dict[str, dict[str, Array]]]]] = []

    def read() -> None:
        manifest = _read_manifest(trainer, path)
        found.append((manifest, _read_states(trainer, path, manifest)))

    _together(comm, "load_checkpoint", read)
    manifest, states = found[0]
    for unit, kinds in states.items():
        for kind, values in kinds.items():
            trainer.states[unit].fill(values, kind)
    for name in _HISTORY:
        getattr(trainer.history, name)[:] = manifest[name]
    if isinstance(trainer.scaling, DynamicScale) and manifest.get("next_scale"):
        trainer.scale = manifest["next_scale"]
    return path


# -- what is written ---------------------------------------------------------------------------------------------------


def _manifest(trainer: Trainer) -> dict[str, Any]:
    """Return what a checkpoint says of the training that it is of."""
    return {
        "format": _FORMAT,
        "sizes": asdict(trainer.sizes),
        "dtype": trainer.dtype.name,
        "kept": sum_dtype(trainer.dtype).name,
        "moments": list(trainer.optimizer.moments),
        "batch": trainer.batch,
        "seed": trainer.seed,
        "plan": str(trainer.plan),
        "next_scale": trainer.scale if isinstance(trainer.scaling, DynamicScale) else None,
        **asdict(trainer.history),
    }


def _pieces(trainer: Trainer) -> Iterator[tuple[str, Array]]:
    """Yield the key and the values of every piece that this rank counts as its own."""
    for unit, state in trainer.counted_states().items():
        if not state.is_counted_here:
            continue
        for kind, flat in state.updated_arrays().items():
            for name, place in state.places.items():
                low = max(place.start, state.updated.start)
                high = min(place.stop, state.updated.stop)
                part, begin = state.parts[name], low
                for box in boxes(part.here, low - place.start, high - place.start):
                    shape = [each.stop - each.start for each in box]
                    n = int(np.prod(shape))
                    offset = begin - state.updated.start
                    values = flat[offset : offset + n].reshape(shape)
                    begin += n
                    for here, there in _runs(part, box):
                        yield f"{kind}/{unit}.{name}/{_said(there)}", values[here]


def boxes(shape: tuple[int, ...], low: int, high: int) -> Iterator[Box]:
    """Yield the boxes that elements low ... high-1 of an array of one or two axes make up, in order.

    list(boxes((4, 3), 2, 7))  # row 0 from column 2, row 1, row 2 up to column 1
    """
    if low >= high:
        return
    if len(shape) == 1:
        yield (slice(low, high),)
        return
    width = shape[1]
    row, column = divmod(low, width)
    if column or high - low < width:
        stop = min(width, column + high - low)
        yield slice(row, row + 1), slice(column, stop)
        low += stop - column
        row += 1
    whole = max(high - low, 0) // width
    if whole:
        yield slice(row, row + whole), slice(0, width)
        low += whole * width
    if low < high:
        yield slice(row + whole, row + whole + 1), slice(0, high - low)


def _runs(part: Part, box: Box) -> Iterator[tuple[Box, Box]]:
    """Yield the pieces of a box of this rank's part that it counts and that are boxes of the whole: places in both."""
    if part.axis is None:
        if part.own:
            yield tuple(slice(0, each.stop - each.start) for each in box), box
        return
    cut = box[part.axis]
    places, own = part.places[cut], part.own[cut]
    ends = np.flatnonzero((np.diff(places) != 1) | (own[1:] != own[:-1])) + 1
    for low, high in zip([0, *ends], [*ends, len(places)], strict=True):
        if low < high and own[low]:
            here = [slice(0, each.stop - each.start) for each in box]
            there = [*box]
            here[part.axis] = slice(int(low), int(high))
            there[part.axis] = slice(int(places[low]), int(places[high - 1]) + 1)
            yield tuple(here), tuple(there)


def _said(box: Box) -> str:
    return ",".join(f"{each.start}:{each.stop}" for each in box)


def _write_pieces(path: Path, pieces: dict[str, Array]) -> int:
    """Write the pieces of a rank; return the checksum of the file. Training could not go on from what is not finite."""
    for key, values in pieces.items():
        if not np.isfinite(values).all():
            got = f"{key} with numbers that are not finite"
            refuse(CheckpointError, "save_checkpoint", got, "finite ones", "lower the rate; go on from the last one")
    with open(path, "wb") as file:
        np.savez(file, **pieces)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    return zlib.crc32(path.read_bytes())


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_empty(folder: Path) -> None:
    if folder.exists():  # what a crash has left
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def _file(rank: int) -> str:
    return f"rank-{rank}.npz"


# -- what is read ------------------------------------------------------------------------------------------------------


def _read_manifest(trainer: Trainer, path: Path) -> dict[str, Any]:
    """Return the manifest; raise unless it is of this training."""
    who = "load_checkpoint"
    try:
        manifest = json.loads((path / _MANIFEST).read_text())
    except (OSError, ValueError) as problem:
        refuse(CheckpointError, who, f"{path}: {problem}", "a manifest", "take another checkpoint")
    whole = isinstance(manifest, dict) and all(isinstance(manifest.get(name), kind) for name, kind in _NEEDED.items())
    if not isinstance(manifest, dict) or not whole or manifest.get("format") != _FORMAT:
        refuse(
            CheckpointError, who, f"{path / _MANIFEST}", f"a manifest of format {_FORMAT}", "take another checkpoint"
        )
    ours = _manifest(trainer)
    for name, said in {
        "sizes": "sizes",
        "kept": "dtype",
        "moments": "moments",
        "batch": "batch",
        "seed": "seed",
    }.items():
        if manifest.get(name) != ours[name]:
            got, expected = f"{said} {manifest.get(name)} in {path}", f"{ours[name]}, as this trainer has"
            refuse(CheckpointError, who, got, expected, f"make the trainer with the {said} of the checkpoint")
    return manifest


def _read_states(trainer: Trainer, path: Path, manifest: dict[str, Any]) -> dict[str, dict[str, dict[str, Array]]]:
    """Return this rank's part of every array: unit -> "x" or a moment -> name -> values."""
    who, found = "load_checkpoint", {}
    for file, checksum in manifest["files"].items():
        try:
            data = (path / file).read_bytes()
        except OSError as problem:
            refuse(CheckpointError, who, f"{path / file}: {problem.strerror}", "a file", "take another checkpoint")
        if zlib.crc32(data) != checksum:
            got = f"{path / file} with checksum {zlib.crc32(data)}"
            refuse(CheckpointError, who, got, f"{checksum}: the file is damaged", "take another checkpoint")
        with np.load(path / file) as pieces:
            for key in pieces.files:
                found[key] = pieces[key]
    by_array: dict[str, list[tuple[Box, Array]]] = {}
    for key, values in found.items():
        kind, name, place = key.split("/")
        box = tuple(slice(*map(int, each.split(":"))) for each in place.split(","))
        by_array.setdefault(f"{kind}/{name}", []).append((box, values))
    return {
        unit: {
            kind: {
                name: part.of(_whole(path, part.shape, by_array, f"{kind}/{unit}.{name}", sum_dtype(trainer.dtype)))
                for name, part in state.parts.items()
            }
            for kind in state.updated_arrays()
        }
        for unit, state in trainer.states.items()
    }


def _whole(
    path: Path, shape: tuple[int, ...], by_array: dict[str, list[tuple[Box, Array]]], name: str, dtype: Any
) -> Array:
    """Return an array from its pieces; raise if a part of it is missing."""
    whole, filled = np.empty(shape, dtype), np.zeros(shape, np.bool_)
    for box, values in by_array.get(name, []):
        whole[box], filled[box] = values, True
    if not filled.all():
        got = f"{path}: {int((~filled).sum())} of {filled.size} numbers of {name} missing"
        refuse(CheckpointError, "load_checkpoint", got, "all of them", "take another checkpoint")
    return whole


def _together(comm: Any, who: str, action: Callable[[], None]) -> None:
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
