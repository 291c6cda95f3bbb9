"""What each rank brings into a collective: random numbers (--bytes) or arrays from files (--npy)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from experiments.lab import npy
from experiments.lab.errors import UsageError
from experiments.lab.limits import EVENT_BYTES, Need, afford
from experiments.lab.npy import Array
from experiments.lab.options import Parser, size

Share = Callable[[int], Array]
PLOTTED_SIZES = 12
MOST_SAID = 16  # ranks that an error proposes at most


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
        afford(args, lambda args: _need(args, args.bytes), ranks=1, bytes=4)
        return random_share(args.bytes, args.seed)
    if "--seed" in args.given:
        raise UsageError(
            "got --npy and --seed, which is for random numbers, expected one of them; remedy: leave one out"
        )
    arrays = [npy.load(path) for path in args.npy]
    total = sum(array.nbytes for array in arrays)
    afford(args, lambda args: _need(args, total // args.ranks), ranks=1)
    shares = arrays if len(arrays) > 1 else _split(args.npy[0], arrays[0], args.ranks)
    for path, share in zip(args.npy, shares, strict=False):
        if (share.shape, share.dtype) != (shares[0].shape, shares[0].dtype):
            raise UsageError(
                f"--npy {path}: got {share.dtype} {share.shape}, expected {shares[0].dtype} {shares[0].shape} as in "
                f"{args.npy[0]}; remedy: give arrays of one shape and dtype"
            )
    native = shares[0].dtype.newbyteorder("=")  # MPI knows no other byte order
    return lambda rank: shares[rank].astype(native)


def random_share(n_bytes: int, seed: int) -> Share:
    """Return the function that makes a rank's n_bytes of float32, always the same for a rank and a seed."""
    return lambda rank: np.random.default_rng((seed, rank)).random(n_bytes // 4, np.float32)


def _need(args: argparse.Namespace, n_bytes: int) -> Need:
    """Return what ranks with n_bytes each need: arrays, results, and NumPy's; a ring's messages, and their trace."""
    p, events = args.ranks, 2 * args.ranks**2
    memory = 6 * p * n_bytes + (EVENT_BYTES * events if args.trace or args.html else 0)
    return Need(memory, messages=4 * events * (PLOTTED_SIZES if args.plot else 1))


def _split(path: Path, array: Array, p: int) -> Sequence[Array]:
    """Return the p equal parts of the array of a file, along its first axis."""
    n = len(np.atleast_1d(array))
    if n % p == 0:
        return np.split(np.atleast_1d(array), p)
    shared_by = " or ".join(str(q) for q in range(2, min(n, MOST_SAID) + 1) if n % q == 0)
    remedy = f"--ranks {shared_by}, or one file a rank" if shared_by else "one file a rank"
    expected = f"expected a first axis that {p} ranks can share equally"
    raise UsageError(f"--npy {path}: got shape {array.shape}, {expected}; remedy: {remedy}")
