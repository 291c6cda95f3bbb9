"""Ring all-reduce on SimPy: generators, one Store per rank as its mailbox, a clock that charges α + nβ."""

from collections.abc import Generator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from peers import ALPHA_PS, BETA_PS_PER_BYTE, Array, timed

if TYPE_CHECKING:
    import simpy

NAME = "SimPy"


def missing() -> str:
    """Return "" if SimPy can be imported, else how to install it."""
    return "" if find_spec("simpy") else "pip install simpy"


def ring_allreduce(data: Array, calls: int) -> tuple[float, Array]:
    """Return the seconds of `calls` simulated all-reduces of the rows of `data`, and the last results."""
    return timed(NAME, _simulate, data, calls)


def _simulate(data: Array) -> tuple[Array, int]:
    import simpy

    env = simpy.Environment()
    p = len(data)
    mailboxes = [simpy.Store(env) for _ in range(p)]
    results = data.copy()
    for rank in range(p):
        right = mailboxes[(rank + 1) % p]
        env.process(_rank(env, rank, p, results[rank].reshape(p, -1), mailboxes[rank], right))
    env.run()
    return results, int(env.now)


def _rank(
    env: "simpy.Environment", rank: int, p: int, chunks: Array, mailbox: "simpy.Store", right: "simpy.Store"
) -> Generator[Any, Any, None]:
    def deliver(arrival: Any) -> None:
        right.put(arrival.value)

    def send(chunk: Array) -> None:
        # A callback on the time-out is the cheapest delayed put: a process per message costs twice as much.
        env.timeout(ALPHA_PS + BETA_PS_PER_BYTE * chunk.nbytes, chunk.copy()).callbacks.append(deliver)

    for step in range(p - 1):
        send(chunks[(rank - step) % p])
        chunk = chunks[(rank - step - 1) % p]
        np.add(chunk, (yield mailbox.get()), out=chunk)
    for step in range(p - 1):
        send(chunks[(rank + 1 - step) % p])
        chunks[(rank - step) % p] = yield mailbox.get()
