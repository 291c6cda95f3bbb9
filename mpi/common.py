"""What stands behind a communicator's handle, and the class from which all kinds of communicators begin."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar, Self

from greenlet import getcurrent

import ranks
from mpi.errors import ERR_COMM, ERR_ROOT, wrong
from mpi.group import Members
from mpi.handles import Handle, Named
from mpi.process import process
from mpi.simulated import c_int, whole
from mpi.universe import Worker, universe, workers


class Shared(Named):
    """What all handles of one communicator share, on one rank.

    c:          The communicator of the ranks, which sends and receives.
    name:       Its name.
    topology:   How its ranks are laid out; None if they are not.
    attributes: What the program has attached to it, by key.
    info:       Its hints.
    errhandler: What it does with errors.
    remote:     The other group of an intercommunicator; None if it is none.
    attached:   The buffer for buffered sends that was attached to it.
    locks:      What mpi4py's packages lock it by.
    n_begun, n_made: How many nonblocking collectives were begun on it, and communicators made of it.
    """

    def __init__(self, c: Any, name: str = "", topology: Any = None, remote: Any = None) -> None:
        super().__init__()
        self.c, self.name, self.topology, self.remote = c, name, topology, remote
        self.attributes: dict[int, Any] = {}
        self.info: dict[str, str] = {}
        self.errhandler: Any = None
        self.attached: Any = None
        self.locks: dict[Any, Any] = {}
        self._hidden: Any = None
        self.n_begun = self.n_made = 0

    @property
    def hidden(self) -> Any:
        """The communicator of the same ranks for collectives: no wildcard or tag of the program meets it."""
        if self._hidden is None:
            self._hidden = self.c._hidden()
        return self._hidden

    def worker(self, number: int) -> tuple[Any, Any]:
        """Return the state of what works beside this rank, and what makes its communicator."""
        c = self.hidden
        context = workers(c, number)
        state = context.boxes[c.rank].owner

        def communicator() -> Worker:
            made = Worker(c._transport, state, context, c.rank)
            made._keep(c)
            return made

        return state, communicator

    def group(self) -> Members:
        """Return the ranks of the local group."""
        return Members(box.owner.rank for box in self.c._members())

    def remote_group(self) -> Members:
        """Return the ranks of the other group of an intercommunicator."""
        return Members(box.owner.rank for box in self.c._context.boxes)

    def duplicate(self, call: str) -> Shared:
        """Return what stands behind a duplicate; all ranks call it, and leave it together."""
        return Shared(self.c._divided(call, 0, self.c.rank, {}), topology=self.topology)

    def twin(self) -> Shared:
        """Return what stands behind a duplicate; all ranks call it, and nobody waits."""
        self.n_made += 1
        name = self.c._context, "twin", self.n_made
        made = universe(self.c).communicator(self.c._state, name, self.group().ranks)
        return Shared(made, topology=self.topology)

    def split(self, call: str, color: int, key: int) -> Shared | None:
        """Return what stands behind the communicator of the ranks with the same color, None for UNDEFINED."""
        made = self.c._divided(call, color, key, {})
        return Shared(made) if made else None


class PerRank(Named):
    """Stands behind COMM_WORLD and COMM_SELF: what it has is that of the rank that asks."""

    remote = topology = None  # also known outside of a run, where modules make handles from them

    def __init__(self, which: str) -> None:
        super().__init__()
        object.__setattr__(self, "which", which)

    @property
    def c(self) -> Any:
        """The communicator of the ranks."""
        return getattr(process(), self.which).c

    def __getattr__(self, name: str) -> Any:
        return getattr(getattr(process(), self.which), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "number":
            object.__setattr__(self, name, value)
        else:
            setattr(getattr(process(), self.which), name, value)


class World(PerRank):
    """Stands behind COMM_WORLD, which programs use most."""

    @property
    def c(self) -> Any:
        """The communicator of the ranks."""
        try:
            return getcurrent().state.local.world.c  # type: ignore[attr-defined]
        except AttributeError:
            return process().world.c


class CommBase(Handle):
    """A handle of a communicator: its rank, its size, and what its calls need of it.

    layout:  The topology that a handle of this class has, "intra" or "inter"; None if it may have any.
    """

    __slots__ = ()
    layout: ClassVar[Any] = None
    error_class = ERR_COMM
    null = "COMM_NULL"
    _o: Any

    def __new__(cls, comm: Any = None) -> Self:
        """Return a handle of the same communicator, which has to be of the class's kind."""
        self = super().__new__(cls, comm)
        if self._o is not None and cls.layout is not None and not _fits(cls.layout, self._o):
            raise TypeError(f"{cls.__name__}: got another kind of communicator, expected one; remedy: pass one")
        return self

    @classmethod
    def fromhandle(cls, handle: int) -> Self:
        """Return a handle, of the class that fits, for the communicator of this number."""
        self = super().fromhandle(handle)
        if cls.layout is not None or self._o is None:
            return self
        topology = self._o.topology
        layout = ("intra" if self._o.remote is None else "inter") if topology is None else topology.kind
        found: Self = KINDS[layout]._of(self._o)
        return found

    fromint = f2py = fromhandle

    @property
    def _c(self) -> Any:
        """The communicator of the ranks, of the local group."""
        shared = self._o
        if shared is None:
            raise self._null_error()
        return shared.c

    @property
    def _simulated(self) -> Any:
        """What the functions of this project work on, such as `ranks.spend` and the collectives."""
        return self._c

    @property
    def _mpi(self) -> Any:
        """What `ranks.mpi_of` returns: the module whose names fit."""
        return import_module("mpi.MPI")

    def Get_rank(self) -> int:
        """Return the calling rank's number in the communicator."""
        rank: int = self._c.rank
        return rank

    def Get_size(self) -> int:
        """Return the number of ranks in the communicator, in the local group of an intercommunicator."""
        size: int = self._c.size
        return size

    rank = property(Get_rank)
    size = property(Get_size)

    def _checked_root(self, root: Any) -> int:
        """Return the root of a collective, or raise if it is no rank."""
        number = root if type(root) is int else int(whole(root))
        if not 0 <= number < self._c.size:
            c_int(number)
            raise wrong(ERR_ROOT, f"root={root!r}", f"0 to {self._c.size - 1}", "choose a rank of the communicator")
        return number


# The class of communicators of each layout.
KINDS: dict[Any, Any] = {}


def _fits(layout: Any, shared: Shared) -> bool:
    """Return whether a communicator has what a class of handles is for."""
    if layout in ("intra", "inter"):
        return bool((shared.remote is not None) == (layout == "inter"))
    kind = None if shared.topology is None else shared.topology.kind
    return bool(kind == layout or (layout == "any" and kind is not None))


def shared_of(c: ranks.Comm, name: str = "") -> Shared:
    """Return what stands behind a new communicator."""
    return Shared(c, name)
