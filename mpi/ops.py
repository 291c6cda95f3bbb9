"""Op: what a reduction does with two values, on objects and on the elements of buffers."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from collectives import commutative
from mpi.buffers import Blocks, simple
from mpi.datatypes import DATATYPES, PAIR_DTYPES, Datatype
from mpi.errors import ERR_OP, WrongValueError, wrong
from mpi.exported import buffer
from mpi.handles import Handle, Named, constant
from mpi.memory import Raw
from mpi.process import process
from ranks.words.datatypes import Scattered

Array = NDArray[Any]
Kinds = tuple[str, ...]
# As many as mpi4py lets a program have at a time.
MOST_OPS = 32


class Operation(Named):
    """What an op's handle stands for.

    name:        Its name.
    on_objects:  What it makes of two objects.
    ufunc:       What it is on arrays of numbers, or a function of two arrays; None if the program has made it.
    kinds:       The kinds of elements that it takes, as `_kind` says.
    function:    What the program has made: it takes two buffers and their datatype, and writes to the second.
    commutes:    Whether the order of its operands does not matter.
    """

    def __init__(
        self, name: str, on_objects: Callable[[Any, Any], Any], ufunc: Any, kinds: Kinds, *, function: Any = None,
        commutes: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.name, self.on_objects, self.ufunc, self.kinds = name, on_objects, ufunc, kinds
        self.function, self.commutes = function, commutes


class Op(Handle):
    """An operation of reductions, predefined or made by the program."""

    __slots__ = ()
    error_class = ERR_OP
    null = "OP_NULL"
    _o: Operation | None

    @classmethod
    def Create(cls, function: Callable[[Any, Any, Datatype], None], commute: bool = False) -> Self:
        """Return an op that calls `function(inbuf, inoutbuf, datatype)`, which writes in op inout to inout."""
        mine = process()
        if mine.n_ops >= MOST_OPS:
            raise RuntimeError(
                f"Op.Create: got operation {mine.n_ops + 1}, expected at most {MOST_OPS} at a time; remedy: Free some"
            )
        if not callable(function):
            raise TypeError(
                f"Op.Create: got {function!r:.60}, expected a function of two buffers and a datatype; remedy: pass one"
            )
        mine.n_ops += 1

        def on_objects(x: Any, y: Any) -> Any:
            return function(x, y, None)  # type: ignore[arg-type]  # so mpi4py calls it

        return cls._of(Operation("", on_objects, None, (), function=function, commutes=bool(commute)))

    def Free(self) -> None:
        """Make the handle null."""
        found: Operation = self._object()
        if found.function is None:
            raise wrong(ERR_OP, f"Free of {found.name}", "an op that the program has made", "keep it")
        process().n_ops -= 1
        self._o = None

    def __call__(self, x: Any, y: Any, /) -> Any:
        """Return what it makes of two objects."""
        if self._o is None:
            raise wrong(WrongValueError, "OP_NULL", "an op", "check that the op is true before its use")
        return self._o.on_objects(x, y)

    def _reduced(self) -> Any:
        found: Operation = self._object()
        return type(self).Create, (found.function, found.commutes)

    def toint(self) -> int:
        """Return the number of one of MPI's, -1 for one that the program has made."""
        return self.handle if self.Is_predefined() else -1

    py2f = toint

    def Is_commutative(self) -> bool:
        """Return whether the order of its operands does not matter."""
        commutes: bool = self._object().commutes
        return commutes

    def Is_predefined(self) -> bool:
        """Return whether it is one of MPI's."""
        return self._o is None or self._o.function is None

    is_commutative = property(Is_commutative)
    is_predefined = property(Is_predefined)

    def Reduce_local(self, inbuf: Any, inoutbuf: Any) -> None:
        """Write in op inout to inout."""
        left, right = simple(inbuf, writable=False), simple(inoutbuf, writable=True)
        check_alike(left, right)
        function, x = self._on(right)
        item = x.dtype
        if x.size:
            right.place(np.asarray(function(left.packed().view(item), x)))

    def _on(self, blocks: Blocks) -> tuple[Any, Array]:
        """Return the op as a function of arrays, and the elements of some blocks as it takes them."""
        found: Operation = self._object()
        x, datatype = blocks.joined(), blocks.datatype
        if found.function is not None:
            item = blocks.layout.size
            data = x if blocks.layout.is_flat or not item else x.view(f"V{item}")
            function = _user_function(found, datatype, data.dtype)
            return commutative(function) if found.commutes else function, data
        if _kind(datatype) not in found.kinds:
            raise wrong(
                ERR_OP, f"{found.name} of {datatype.name or 'a derived datatype'}", _EXPECTED[found.kinds],
                "choose another op or datatype",
            )  # fmt: skip
        if found.kinds == (_PAIR,):
            pair = PAIR_DTYPES[id(datatype._o)]
            return found.ufunc, x.view(np.uint8).view([(name, pair[name]) for name in pair.names or ()])
        return found.ufunc, x


# Kinds of elements beside those of NumPy's `dtype.kind`, and datatypes whose kind is not that of their dtype.
_PAIR, _BYTE, _NONE = "a pair", "a byte", "no number"
_OTHER_KINDS = {id(DATATYPES[name]._o): _NONE for name in ("PACKED", "CHARACTER", "WCHAR")}
_OTHER_KINDS |= dict.fromkeys(PAIR_DTYPES, _PAIR) | {id(DATATYPES["BYTE"]._o): _BYTE, id(DATATYPES["LOGICAL"]._o): "b"}
_LOGICAL, _BITWISE, _ORDERED, _NUMBERS = tuple("biu"), (*"iu", _BYTE), tuple("iuf"), tuple("iufc")
_EXPECTED = {
    _LOGICAL: "integers or truth values", _BITWISE: "integers or BYTE", _ORDERED: "numbers that are not complex",
    _NUMBERS: "numbers", (_PAIR,): "pairs of a value and an INT, such as DOUBLE_INT", (): "an access of a window",
}  # fmt: skip


def _kind(datatype: Datatype) -> str:
    """Return the kind of a datatype's elements; no op takes elements that are not all alike."""
    kind = _OTHER_KINDS.get(id(datatype._o))
    if kind is not None:
        return kind
    layout = datatype._layout()
    return layout.dtype.kind if all(size == layout.dtype.itemsize for size, _ in layout.runs) else _NONE


def check_alike(sent: Blocks, received: Blocks) -> None:
    """Raise ValueError unless what a rank gives to a reduction and what it gets have one size and datatype."""
    for what, one, other in (
        ("datatype", sent.datatype.name, received.datatype.name), ("count", sum(sent.counts), sum(received.counts)),
    ):  # fmt: skip
        if one != other:
            raise wrong(
                WrongValueError, f"{what} {one} to send and {other} to receive", "the same", "correct one of them"
            )


def _user_function(found: Operation, datatype: Datatype, item: np.dtype[Any]) -> Callable[[Array, Array], Array]:
    """Return the program's function as one of two arrays of packed elements, which returns a new one."""
    layout = datatype._layout()

    def apply(left: Array, right: Array) -> Array:
        if layout.is_flat:
            out = right.copy()
            found.function(_buffer(left.copy()), _buffer(out), datatype)
            return out
        spread, spread_out = (_spread(each, datatype) for each in (left, right))
        found.function(_buffer(spread.memory), _buffer(spread_out.memory), datatype)
        return spread_out.packed().view(item)

    apply.__name__ = getattr(found.function, "__name__", "op")
    return apply


def _spread(packed: Array, datatype: Datatype) -> Blocks:
    """Return packed elements in memory of their own, where the datatype wants them."""
    layout = datatype._layout()
    count = packed.nbytes // layout.size
    memory: Raw = np.zeros(max(layout.true_bounds()[1], layout.extent) + (count - 1) * layout.extent, np.uint8)
    blocks = Blocks(memory, datatype, [count], [0])
    piece = blocks.piece()
    assert isinstance(piece, Scattered)
    piece.scatter(packed.view(np.uint8))
    return blocks


def _buffer(array: Array) -> Any:
    return buffer._of(array.reshape(-1).view(np.uint8), array)


# -- predefined ones -------------------------------------------------------------------------------------------------


def _logical(ufunc: Any) -> Any:
    """Return a logical ufunc whose result has the dtype of its operands."""

    def apply(left: Array, right: Array) -> Array:
        result: Array = ufunc(left, right).astype(left.dtype)
        return result

    apply.__name__ = ufunc.__name__
    return commutative(apply)


def _located(better: Any) -> Any:
    """Return the op that keeps the better value of two pairs, and of equal ones the lower index."""

    def apply(left: Array, right: Array) -> Array:
        wins = better(right["value"], left["value"])
        wins |= (right["value"] == left["value"]) & (right["index"] < left["index"])
        return np.where(wins, right, left)

    apply.__name__ = f"{better.__name__}_located"
    return commutative(apply)


def _located_object(better: Callable[[Any, Any], bool]) -> Callable[[Any, Any], Any]:
    def apply(x: Any, y: Any) -> Any:
        (u, i), (v, j) = x, y
        if better(u, v):
            return u, i
        if better(v, u):
            return v, j
        return (v, j) if j < i else (u, i)

    return apply


def _first(left: Array, right: Array) -> Array:
    return left.copy()


def _second(left: Array, right: Array) -> Array:
    return right.copy()


def _op(name: str, on_objects: Callable[[Any, Any], Any], ufunc: Any, kinds: Kinds, commutes: bool = True) -> Op:
    op: Op = constant(name, Op._of(Operation(f"MPI_{name}", on_objects, ufunc, kinds, commutes=commutes)))
    return op


OP_NULL = constant("OP_NULL", Op())
MAX = _op("MAX", lambda x, y: y if y > x else x, np.maximum, _ORDERED)
MIN = _op("MIN", lambda x, y: y if y < x else x, np.minimum, _ORDERED)
SUM = _op("SUM", operator.add, np.add, _NUMBERS)
PROD = _op("PROD", operator.mul, np.multiply, _NUMBERS)
LAND = _op("LAND", lambda x, y: bool(x) & bool(y), _logical(np.logical_and), _LOGICAL)
BAND = _op("BAND", operator.and_, np.bitwise_and, _BITWISE)
LOR = _op("LOR", lambda x, y: bool(x) | bool(y), _logical(np.logical_or), _LOGICAL)
BOR = _op("BOR", operator.or_, np.bitwise_or, _BITWISE)
LXOR = _op("LXOR", lambda x, y: bool(x) ^ bool(y), _logical(np.logical_xor), _LOGICAL)
BXOR = _op("BXOR", operator.xor, np.bitwise_xor, _BITWISE)
MAXLOC = _op("MAXLOC", _located_object(operator.gt), _located(np.greater), (_PAIR,))
MINLOC = _op("MINLOC", _located_object(operator.lt), _located(np.less), (_PAIR,))
REPLACE = _op("REPLACE", lambda x, y: y, _second, (), commutes=False)
NO_OP = _op("NO_OP", lambda x, y: x, _first, (), commutes=False)
