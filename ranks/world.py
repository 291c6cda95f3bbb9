"""World: puts the parts of one run together. Nothing below imports it."""

from __future__ import annotations

from collections.abc import Sequence

from ranks.engine.scheduler import Scheduler
from ranks.hangs.diagnosis import Scene
from ranks.messages.observer import Observer
from ranks.messages.rank import RankState
from ranks.messages.transfer import Transport
from ranks.network.model import Network
from ranks.observers.breaking import Faults
from ranks.observers.buffers import BufferChecks
from ranks.observers.faults import Fault
from ranks.observers.trace import Trace


class World:
    """All ranks of one run, their scheduler, their transport, and what watches or breaks them.

    trace:   The events of the run; None if they are not kept.
    checks:  What looks after buffers; None if nothing does.
    faults:  What breaks; None if nothing does.
    observers: Those of the three that are there, and whoever else watches.
    """

    def __init__(
        self, size: int, network: Network, buffering: str, seed: int = 0, *, trace: bool = False,
        checks: BufferChecks | None = None, faults: Sequence[Fault] = (), watch: Sequence[Observer] = (),
    ) -> None:  # fmt: skip
        self.size, self.network, self.buffering, self.seed = size, network, buffering, seed
        self.trace = Trace(size, network.overhead_ps) if trace else None
        self.checks = checks
        self.faults = Faults(faults, size, seed, lambda: self.transport.all_contexts()) if faults else None
        self.ranks = [RankState(rank, rank // network.ranks_per_node, seed) for rank in range(size)]
        self.scheduler = self._new_scheduler()
        for state in self.ranks:
            state.scheduler = self.scheduler
        own = (self.faults, self.checks, self.trace)
        self.observers: list[Observer] = [*(each for each in own if each is not None), *watch]
        self.transport = self._new_transport()

    def _new_scheduler(self) -> Scheduler:
        return Scheduler(self.ranks)

    def _new_transport(self) -> Transport:
        return Transport(self.scheduler, self.ranks, self.network, self.buffering, self.seed, self.observers)

    def choices(self) -> str:
        """Return the arguments of `ranks.run` that make this world's choices again."""
        return f"buffering={self.buffering!r}, seed={self.seed}"

    def scene(self) -> Scene:
        """Return the run as it stands, for a diagnosis."""
        return Scene(self.scheduler, self.transport, self.trace, self.faults, self.choices())
