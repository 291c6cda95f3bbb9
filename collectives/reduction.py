"""Operations for reductions: their requirements, and their cost on the virtual clock."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from collectives.arrays import Array
from ranks import reduction_clock

# op(left, right) for a caller; for an algorithm, op(left, right, out=out)
Op = Callable[..., Any]

COMMUTATIVE = frozenset(
    {
        np.add, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logical_and, np.logical_or,
        np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.gcd, np.lcm, np.hypot, np.logaddexp,
        np.logaddexp2,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Commutative:
    """A function of two arrays that is declared to be commutative."""

    op: Op

    def __call__(self, left: Any, right: Any) -> Any:
        """Return op(left, right)."""
        return self.op(left, right)


def commutative(op: Op) -> Commutative:
    """Declare that op(a, b) equals op(b, a) for all arrays.

        ring_allreduce(comm, x, commutative(lambda a, b: a + b - a * b))

    NumPy's own commutative ufuncs are known. Declare only what is true, because algorithms reorder such operations.
    Raises: TypeError if `op` is a function that reduces one array, like sum.
    """
    refuse_one_array("commutative", op)
    return Commutative(op)


# Functions that reduce one array, and the ufunc that combines two. With two arrays some fail, and sum(a, b) is wrong.
_OF_ONE_ARRAY: dict[Any, str] = {
    sum: "add", math.fsum: "add", np.sum: "add", np.nansum: "add", np.cumsum: "add", np.mean: "add", np.average: "add",
    math.prod: "multiply", np.prod: "multiply", np.nanprod: "multiply", np.cumprod: "multiply",
    max: "maximum", np.max: "maximum", np.amax: "maximum", np.nanmax: "fmax",
    min: "minimum", np.min: "minimum", np.amin: "minimum", np.nanmin: "fmin",
    any: "logical_or", np.any: "logical_or", all: "logical_and", np.all: "logical_and",
}  # fmt: skip


def refuse_one_array(who: str, op: Any) -> None:
    """Raise TypeError if `op` is a function that reduces one array, such as sum, np.max or np.add.reduce."""
    if isinstance(op, np.ufunc):  # the most common case
        return
    owner, part = getattr(op, "__self__", None), getattr(op, "__name__", None)
    if isinstance(owner, np.ufunc) and part in ("reduce", "accumulate", "reduceat"):
        name, remedy = f"np.{owner.__name__}.{part}", owner.__name__
    else:
        try:
            remedy = _OF_ONE_ARRAY[op]
        except (KeyError, TypeError):  # TypeError: op has no hash
            return
        name = f"{'np.' if op.__module__ == 'numpy' else ''}{part}"
    mean = ", and divide by the number of ranks" if op in (np.mean, np.average) else ""
    raise TypeError(
        f"{who}: got op {name}, which works on one array, expected a NumPy ufunc or a function of two arrays; "
        f"remedy: pass np.{remedy}{mean}"
    )


def op_name(op: Any) -> str:
    """Return how messages name an operation: a ufunc by its name, a function by where it stands too."""
    if isinstance(op, np.ufunc):
        return op.__name__
    function = op.op if isinstance(op, Commutative) else op
    name = getattr(function, "__name__", repr(function))
    code = getattr(function, "__code__", None)
    return f"{name} of {Path(code.co_filename).name}:{code.co_firstlineno}" if code is not None else name


def is_commutative(op: Any) -> bool:
    """Return whether `op` is known to be commutative."""
    if isinstance(op, np.ufunc):
        return op in COMMUTATIVE
    return isinstance(op, Commutative) or getattr(op, "is_commutative", False) is True


def require_commutative(who: str, op: Any) -> None:
    """Raise ValueError unless `op` is known to be commutative, TypeError if it reduces one array."""
    refuse_one_array(who, op)
    if not is_commutative(op):
        raise ValueError(
            f"{who}: got op {op_name(op)}, expected a commutative one, since blocks are reduced in different "
            "orders of the ranks; remedy: declare it with collectives.commutative(op) if it is, otherwise use "
            "naive_allreduce, which reduces in rank order"
        )


def reducer(who: str, comm: Any, op: Any, dtype: np.dtype[Any]) -> Op:
    """Return reduce(left, right, out=out), which puts op(left, right) into `out` and charges the virtual clock.

    Raises: TypeError if `op` does not take two arrays of `dtype` to one of the same.
    """
    refuse_one_array(who, op)
    combine: Op = _ufunc(who, op, dtype) if isinstance(op, np.ufunc) else _function(who, op, dtype)
    charge = reduction_clock(comm)
    if charge is None:
        return combine

    def charged(left: Array, right: Array, *, out: Array) -> None:
        combine(left, right, out=out)
        charge(out.nbytes)

    charged.is_commutative = is_commutative(op)  # type: ignore[attr-defined]
    return charged


def first_of_scan(who: str, first: Any, op: Op, x: Any) -> Array:
    """Return what rank 0 gets, in the dtype of x; ValueError if nothing was given and op has no identity."""
    dtype = x.dtype if isinstance(x, np.ndarray) else None  # flat_input refuses anything else
    refuse_one_array(who, op)
    if first is None:
        identity = op.identity if isinstance(op, np.ufunc) else None
        if identity is None:
            raise ValueError(
                f"{who}: got first=None and op {op_name(op)}, expected the value for rank 0, since NumPy knows no "
                "identity of this op; remedy: pass first=..."
            )
        with np.errstate(invalid="ignore"):  # reducer refuses an op that does not fit the dtype
            return np.asarray(identity).astype(dtype)
    given = np.asarray(first)
    try:
        with np.errstate(all="ignore"):  # what does not fit is found by comparison
            filling = given.astype(dtype)
        fits = given.ndim == 0 and bool(filling == given or filling != filling)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise ValueError(
            f"{who}: got first={first!r:.60}, expected one value that {dtype} can hold; remedy: convert it, or x"
        )
    return filling


def _ufunc(who: str, op: np.ufunc, dtype: np.dtype[Any]) -> Op:
    came = _dtype_made(op, dtype)
    if came is None or came != dtype.newbyteorder("="):  # None == np.dtype(float)
        got = op_name(op) if came is None else f"{op_name(op)}, which makes {came} of it"
        raise TypeError(
            f"{who}: got dtype {dtype} and op {got}, expected an op that takes two arrays of a dtype to one; "
            "remedy: convert x, or choose another op"
        )
    return op


@lru_cache(maxsize=1024)
def _dtype_made(op: np.ufunc, dtype: np.dtype[Any]) -> np.dtype[Any] | None:
    """Return the dtype that `op` makes of two arrays of `dtype`, None if it takes no such arrays."""
    native = dtype.newbyteorder("=")
    if op.nin != 2 or op.nout != 1 or op.signature is not None:
        return None
    try:
        made: np.dtype[Any] = op.resolve_dtypes((native, native, None))[2]
    except TypeError:
        return None
    return made


def _function(who: str, op: Any, dtype: np.dtype[Any]) -> Op:
    if not callable(op):
        raise TypeError(
            f"{who}: got op {op!r}, expected a NumPy ufunc or a function of two arrays; remedy: pass np.add"
        )

    def combine(left: Array, right: Array, *, out: Array) -> None:
        if not out.size:
            return  # an op may do anything with empty arrays
        try:
            made = np.asarray(op(_read_only(left), _read_only(right)))
        except Exception as problem:
            problem.add_note(
                f"{who}: op {op_name(op)} was called with two arrays of {dtype} and shape {out.shape}; remedy: let op "
                "work on whole arrays, element by element, as np.maximum does"
            )
            raise
        if made.shape != out.shape or not np.can_cast(made.dtype, dtype, "same_kind"):
            raise TypeError(
                f"{who}: got {made.dtype} of shape {made.shape} from op {op_name(op)}, expected {dtype} of shape "
                f"{out.shape}; remedy: let op work element by element and keep the dtype"
            )
        out[...] = made

    combine.is_commutative = is_commutative(op)  # type: ignore[attr-defined]
    return combine


def _read_only(array: Array) -> Array:
    """Return a view that an op cannot write to: it may be the caller's argument."""
    view = array.view()
    view.flags.writeable = False
    return view
