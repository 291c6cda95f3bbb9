"""Arguments of attention, checked. Each error says who, got, expected, and the remedy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, NoReturn

import numpy as np

from collectives.arrays import Array
from parallel.precision import SIXTEEN


class Sizes(NamedTuple):
    """The lengths of the axes of q (batch, queries, heads, dim), k (batch, keys, kv_heads, dim), v (..., v_dim)."""

    batch: int
    queries: int
    keys: int
    heads: int
    kv_heads: int
    dim: int
    v_dim: int

    @property
    def group(self) -> int:
        """Return how many query heads share a head of k and v."""
        return self.heads // max(self.kv_heads, 1)


def refuse(kind: type[Exception], who: str, got: str, expected: str, remedy: str) -> NoReturn:
    """Raise `kind` with the four things that a reader needs."""
    raise kind(f"{who}: got {got}, expected {expected}; remedy: {remedy}")


def check_array(who: str, name: str, x: Any, ndim: int, *, sixteen: bool = False) -> None:
    """Raise unless `x` is an array of float32 or float64 with `ndim` axes; sixteen: or of numbers of 16 bits."""
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        refuse(TypeError, who, f"{name} of type {type(x).__name__}", "a numpy.ndarray", "pass np.asarray(...)")
    if x.dtype not in (np.float32, np.float64) and not (sixteen and x.dtype in SIXTEEN):
        remedy = f"pass {name}.astype(np.float32)"
        expected = "float32, float64, bfloat16 or float16" if sixteen else "float32 or float64"
        refuse(TypeError, who, f"{name} with dtype {x.dtype}", expected, remedy)
    if x.ndim != ndim:
        axes = "(batch, seq, heads, head_dim)" if ndim == 4 else "(batch, seq, heads)"
        refuse(ValueError, who, f"{name} with shape {x.shape}", axes, "reshape it")


def check_qkv(who: str, q: Any, k: Any, v: Any, *, sixteen: bool = False) -> Sizes:
    """Return the sizes of q, k and v; raise unless they go together."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        check_array(who, name, x, 4, sixteen=sixteen)
    if not q.dtype == k.dtype == v.dtype:
        got = f"q, k, v with dtypes {q.dtype}, {k.dtype}, {v.dtype}"
        refuse(TypeError, who, got, "one dtype", "convert them to one with astype")
    got = f"q {q.shape}, k {k.shape}, v {v.shape}"
    if q.shape[0] != k.shape[0] or k.shape[:3] != v.shape[:3]:
        expected = "one batch, and k and v alike in batch, seq and heads"
        refuse(ValueError, who, got, expected, "pass arrays of (batch, seq, heads, head_dim)")
    if q.shape[3] != k.shape[3]:
        refuse(ValueError, who, got, "q and k of one head_dim", "project both to the same head_dim")
    heads, kv_heads = q.shape[2], k.shape[2]
    if heads % kv_heads if kv_heads else heads:
        expected = f"KV heads that divide the {heads} query heads"
        refuse(ValueError, who, got, expected, "repeat k and v along axis 2, or change the number of heads")
    return Sizes(q.shape[0], q.shape[1], k.shape[1], heads, kv_heads, q.shape[3], v.shape[3])


def check_scale(who: str, scale: Any, dim: int) -> float:
    """Return `scale` as a float, 1/sqrt(dim) if it is None."""
    if scale is None:
        return 1 / math.sqrt(max(dim, 1))
    if not isinstance(scale, (int, float, np.integer, np.floating)) or not math.isfinite(scale):
        refuse(ValueError, who, f"scale={scale!r}", "a finite number", "leave it out for 1/sqrt(head_dim)")
    return float(scale)


def check_mask(who: str, mask: Any, sizes: Sizes) -> Array | None:
    """Return `mask` as a view of shape (batch, heads, queries, keys)."""
    if mask is None:
        return None
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        got = f"mask of {f'dtype {mask.dtype}' if isinstance(mask, np.ndarray) else type(mask).__name__}"
        refuse(TypeError, who, got, "an array of bool, True where a query attends to a key", "pass mask.astype(bool)")
    shape = (sizes.batch, sizes.heads, sizes.queries, sizes.keys)
    try:
        return np.broadcast_to(mask, shape)
    except ValueError:
        refuse(ValueError, who, f"mask {mask.shape}", f"what broadcasts to {shape}", "mask (batch, heads, seq, seq)")


def check_like(who: str, name: str, x: Any, shape: tuple[int, ...], dtype: np.dtype[Any], written: bool) -> None:
    """Raise unless `x` has the shape and dtype, and is writable if it is to be `written`."""
    check_array(who, name, x, len(shape), sixteen=dtype in SIXTEEN)
    if x.shape != shape or x.dtype != dtype:
        got, expected = f"{name} {x.shape} {x.dtype}", f"{shape} {dtype}"
        refuse(ValueError, who, got, expected, "pass what belongs to the same q, k and v")
    if written and not x.flags.writeable:
        refuse(ValueError, who, f"{name} read-only", "a writable array", "pass a copy")
