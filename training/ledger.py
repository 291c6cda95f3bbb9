"""The bytes that one rank holds during a step, kind by kind and operation by operation.

    ledger = Ledger()
    trainer.listen(ledger)
    trainer.step()
    ledger.peak

The peak is where the sum of all kinds is largest, and has the bytes of each:

    parameters   of this rank's units, or its shards of them
    gradients    their sums so far
    optimiser    moments
    batch        token numbers and labels of all microbatches
    activations  what the input half of a backward needs, from the forward on; during one call what it makes again
    waiting      what the weight half needs, from the input half on
    passing      what came from another stage, until a layer has taken it; what goes to one, until it has arrived
    gathered     under ZeRO-3 the parameters of a unit, during one call; under ZeRO-2 and 3 its gradient on the way

Between calls of layers this is all that a rank holds of the model. What a layer makes and drops within one call is
not in it. Nobody tells a ledger that an array is dropped: it has weak references and sees arrays go.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple
from weakref import ref

from parallel.layers import pieces
from training.pipeline import Op

# The first four are there all the time.
LASTING = ("parameters", "gradients", "optimiser", "batch")
KINDS = (*LASTING, "activations", "waiting", "passing", "gathered")


class Moment(NamedTuple):
    """The bytes of each kind after an operation."""

    operation: Op
    held: dict[str, int]


class Account:
    """Bytes by kind: now, where their sum was largest, and after each operation of the step."""

    def __init__(self) -> None:
        self.held = dict.fromkeys(KINDS, 0)
        self.peak = dict(self.held)
        self.moments: list[Moment] = []

    def change(self, kind: str, n_bytes: int) -> None:
        """Add bytes to a kind."""
        self.held[kind] += n_bytes
        if sum(self.held.values()) > sum(self.peak.values()):
            self.peak = dict(self.held)

    def mark(self, operation: Op) -> None:
        """Remember what is held after an operation."""
        self.moments.append(Moment(operation, dict(self.held)))

    @property
    def peak_bytes(self) -> int:
        """The largest sum."""
        return sum(self.peak.values())


class Ledger(Account):
    """An account of the arrays that exist at the moment."""

    def __init__(self) -> None:
        super().__init__()
        self._arrays: dict[int, tuple[Any, str, int]] = {}  # by address: a weak reference, kind and bytes

    def note(self, kind: str, thing: Any) -> None:
        """Enter all arrays in `thing`; an array that is known changes its kind, unless it is there all the time."""
        for array in pieces(thing):
            address, n_bytes = array.ctypes.data, array.nbytes
            reference, before, _ = self._arrays.get(address, (None, kind, 0))
            if reference is None:
                reference = ref(array, partial(self._gone, address))
            elif before in LASTING:
                continue
            else:
                self.change(before, -n_bytes)
            self._arrays[address] = reference, kind, n_bytes
            self.change(kind, n_bytes)

    def _gone(self, address: int, _: Any) -> None:
        kind, n_bytes = self._arrays.pop(address)[1:]
        self.change(kind, -n_bytes)
