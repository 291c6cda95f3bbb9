"""Reading a checkpoint: every rank takes its part of each array out of the pieces of all files."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from collectives.arrays import Array
from parallel.arguments import refuse
from parallel.precision import sum_dtype
from training.checkpoint import FORMAT, MANIFEST, Box, CheckpointError, manifest_of, newest_on_all, together
from training.parts import Part
from training.precision import DynamicScale
from training.trainer import Trainer

_HISTORY = ("losses", "grad_norms", "auxiliary", "scales", "skipped")
_NEEDED = {"files": dict, **dict.fromkeys(_HISTORY, list)}


def load_checkpoint(trainer: Trainer, folder: str | Path) -> Path:
    """Read the newest checkpoint of `folder` into a trainer, whatever its plan; return its folder. All ranks call it.

    Training goes on as if nothing had happened: step, history and optimiser state are those of the checkpoint. float32,
    bfloat16 and float16 may go on from each other, since all keep parameters and moments in float32. Settings of the
    optimiser, dropout, smoothing and data are the trainer's: a rate may change, but not the kind of optimiser.

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

    together(comm, "load_checkpoint", read)
    manifest, states = found[0]
    for unit, kinds in states.items():
        for kind, values in kinds.items():
            trainer.states[unit].fill(values, kind)
    for name in _HISTORY:
        getattr(trainer.history, name)[:] = manifest[name]
    if isinstance(trainer.scaling, DynamicScale) and manifest.get("next_scale"):
        trainer.scale = manifest["next_scale"]
    return path


def _read_manifest(trainer: Trainer, path: Path) -> dict[str, Any]:
    """Return the manifest; raise unless it is of this training."""
    who = "load_checkpoint"
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as problem:
        refuse(CheckpointError, who, f"{path}: {problem}", "a manifest", "take another checkpoint")
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not _is_whole(manifest):
        refuse(CheckpointError, who, f"{path / MANIFEST}", f"a manifest of format {FORMAT}", "take another checkpoint")
    ours = manifest_of(trainer)
    for name in ("sizes", "kept", "optimizer", "moments", "batch", "seed"):
        said = "dtype" if name == "kept" else name
        if manifest.get(name) != ours[name]:
            got, expected = f"{said} {manifest.get(name)} in {path}", f"{ours[name]}, as this trainer has"
            refuse(CheckpointError, who, got, expected, f"make the trainer with the {said} of the checkpoint")
    return manifest


def _is_whole(manifest: dict[str, Any]) -> bool:
    """Return whether a manifest has all that is needed, and numbers of the same steps."""
    if not all(isinstance(manifest.get(name), kind) for name, kind in _NEEDED.items()):
        return False
    numbers = [each for name in _HISTORY for each in manifest[name]]
    lengths = {len(manifest[name]) for name in _HISTORY if name != "skipped"}
    return len(lengths) == 1 and all(isinstance(each, (int, float)) for each in numbers)


def _read_states(trainer: Trainer, path: Path, manifest: dict[str, Any]) -> dict[str, dict[str, dict[str, Array]]]:
    """Return this rank's part of every array: unit -> "x" or a moment -> name -> values."""
    who = "load_checkpoint"
    wanted = {f"{unit}.{name}": part for unit, state in trainer.states.items() for name, part in state.parts.items()}
    by_array: dict[str, list[tuple[Box, Array]]] = {}
    for file, checksum in manifest["files"].items():
        try:
            data = (path / file).read_bytes()
        except OSError as problem:
            refuse(CheckpointError, who, f"{path / file}: {problem.strerror}", "a file", "take another checkpoint")
        if zlib.crc32(data) != checksum:
            got = f"{path / file} with checksum {zlib.crc32(data)}"
            refuse(CheckpointError, who, got, f"{checksum}: the file is damaged", "take another checkpoint")
        with np.load(io.BytesIO(data)) as pieces:
            for key in pieces.files:
                kind, name, place = key.split("/")
                box = tuple(slice(*map(int, each.split(":"))) for each in place.split(","))
                if name in wanted and wanted[name].meets(box):
                    by_array.setdefault(f"{kind}/{name}", []).append((box, pieces[key]))
    return {
        unit: {
            kind: {
                name: _from_pieces(path, part, by_array, f"{kind}/{unit}.{name}", sum_dtype(trainer.dtype))
                for name, part in state.parts.items()
            }
            for kind in state.updated_arrays()
        }
        for unit, state in trainer.states.items()
    }


def _from_pieces(path: Path, part: Part, by_array: dict[str, list[tuple[Box, Array]]], name: str, dtype: Any) -> Array:
    """Return this rank's part of an array from the pieces that it meets; raise if some of it is missing."""
    whole, filled = np.empty(part.shape, dtype), np.zeros(part.shape, np.bool_)
    for box, values in by_array.get(name, []):
        whole[box], filled[box] = values, True
    here = part.of(filled)
    if not here.all():
        got = f"{path}: {int((~here).sum())} of {here.size} numbers of {name} missing"
        refuse(CheckpointError, "load_checkpoint", got, "all of them", "take another checkpoint")
    return part.of(whole)
