"""Writing a checkpoint: each rank its own numbers, then one rank the manifest, then the rename that makes it count."""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from collectives import ring_allgather
from collectives.arrays import Array
from parallel.arguments import refuse
from training.checkpoint import MANIFEST, Box, CheckpointError, checkpoints_in, manifest_of, together
from training.parts import Part
from training.trainer import Trainer


def save_checkpoint(trainer: Trainer, folder: str | Path) -> Path:
    """Write a trainer's parameters, optimiser state and history; return the new folder in `folder`. All ranks call it.

    A crash at any moment leaves what was there before. The checkpoints before this one stay.

    Raises: CheckpointError on every rank if a rank could not write; then nothing has changed in `folder`.
    """
    comm, who = trainer.comm, "save_checkpoint"
    step = len(trainer.history.losses)
    name = f"step-{step:08d}"
    partial = Path(folder) / f".{name}.partial"
    together(comm, who, lambda: _make_empty(partial) if comm.rank == 0 else None)
    # The same step once more, as after going on from an older one, gets a name of its own: nothing good is overwritten.
    again = max((number + 1 for of, number in checkpoints_in(folder) if of == step), default=0) if comm.rank == 0 else 0
    again = int(ring_allgather(comm, np.array([again])).reshape(-1)[0])
    done = Path(folder) / (f"{name}-{again:02d}" if again else name)
    checksums: list[int] = []
    pieces = dict(_pieces(trainer))
    together(comm, who, lambda: checksums.append(_write_pieces(partial / _file(comm.rank), pieces)))
    every = ring_allgather(comm, np.array(checksums)).reshape(-1)

    def publish() -> None:
        files = {_file(rank): int(each) for rank, each in enumerate(every)}
        text = json.dumps(manifest_of(trainer) | {"files": files}, indent=1)
        _write(partial / MANIFEST, lambda file: file.write(text.encode()))
        _sync(partial)
        os.rename(partial, done)
        _sync(done.parent)

    together(comm, who, publish if comm.rank == 0 else lambda: None)
    return done


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
    if column:
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
    return _write(path, lambda file: np.savez(file, **pieces))  # type: ignore[arg-type]


class _Checked(io.RawIOBase):
    """A file that is written from its beginning to its end, and the checksum of what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.checksum = file, 0

    def write(self, data: Any) -> int:
        """Write, and count in."""
        self.checksum = zlib.crc32(data, self.checksum)
        return self.file.write(data)


def _write(path: Path, fill: Callable[[Any], object]) -> int:
    """Let `fill` write a file; return its checksum, when all of it is on disk."""
    with open(path, "wb") as file:
        checked = _Checked(file)
        fill(checked)
        file.flush()
        os.fsync(file.fileno())
    return checked.checksum


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
