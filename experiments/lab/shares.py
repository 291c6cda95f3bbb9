"""What each rank brings into a collective: random numbers (--bytes) or arrays from files (--npy)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.cli import require_memory
from experiments.lab.errors import UsageError
from experiments.lab.options import Parser, size
from experiments.lab.units import nice_bytes

Array = np.ndarray[Any, np.dtype[Any]]
Share = Callable[[int], Array]


def add_options(parser: Parser) -> None:
    """Add --bytes, --npy and --seed."""
    data = parser.add_mutually_exclusive_group()
    what = "bytes of random float32 on each rank: 25MiB (default), 64KiB, 1e6"
    data.add_argument("--bytes", type=size, default="25MiB", metavar="N", help=what)
    what = "arrays from files instead: one a rank, or one that the ranks share out along its first axis"
    data.add_argument("--npy", nargs="+", type=Path, metavar="FILE", help=what)
    parser.add_seed("the random numbers of --bytes")


def prepare(args: argparse.Namespace) -> Share:
    """Return the function that makes a rank's array; set args.ranks where that is None: one a file, or 8."""
    if args.npy and len(args.npy) > 1:
        if args.ranks not in (None, len(args.npy)):
            raise UsageError(f"got {len(args.npy)} .npy files and {args.ranks} ranks, expected one file a rank, or one")
        args.ranks = len(args.npy)
    args.ranks = args.ranks or 8
    if not args.npy:
        if args.bytes % 4:
            raise UsageError(f"--bytes: got {args.bytes}, expected a multiple of 4, the size of a float32")
        _require_memory(args.ranks, args.bytes)
        return random_share(args.bytes, args.seed)
    shares = _split(args.npy[0], args.ranks) if len(args.npy) == 1 else [_load(path) for path in args.npy]
    for path, share in zip(args.npy, shares, strict=False):
        if (share.shape, share.dtype) != (shares[0].shape, shares[0].dtype):
            raise UsageError(
                f"{path}: got {share.dtype} {share.shape}, expected {shares[0].dtype} {shares[0].shape} as in "
                f"{args.npy[0]}; remedy: give arrays of one shape and dtype"
            )
    _require_memory(args.ranks, shares[0].nbytes)
    native = shares[0].dtype.newbyteorder("=")  # MPI knows no other byte order
    return lambda rank: shares[rank].astype(native)


def random_share(n_bytes: int, seed: int) -> Share:
    """Return the function that makes a rank's n_bytes of float32, always the same for a rank and a seed."""
    return lambda rank: np.random.default_rng((seed, rank)).random(n_bytes // 4, np.float32)


def _require_memory(p: int, n_bytes: int) -> None:
    """Refuse ranks whose arrays, results and as much again for NumPy's do not fit."""
    require_memory(f"{p} ranks of {nice_bytes(n_bytes)}", 3 * p * n_bytes, "fewer --ranks or --bytes")


def _load(path: Path) -> Array:
    """Return the array of an .npy file, not read yet."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise UsageError(f"{path}: cannot read it: {reason}") from error
    if not isinstance(array, np.ndarray):
        raise UsageError(f"{path}: got an archive of arrays, expected one array; remedy: write it with numpy.save")
    if array.dtype.kind not in "iufc":
        raise UsageError(f"{path}: got {array.dtype}, expected numbers; remedy: x.astype(numpy.float32) before saving")
    return array


def _split(path: Path, p: int) -> Sequence[Array]:
    """Return the p equal parts of the array in an .npy file, along its first axis."""
    array = _load(path)
    if array.ndim == 0 or len(array) % p:
        raise UsageError(
            f"{path}: got shape {array.shape}, expected a first axis that {p} ranks can share equally; remedy: "
            "another --ranks, or one file per rank"
        )
    return np.split(array, p)
