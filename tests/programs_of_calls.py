"""Small programs of MPI calls as data: made at random, and played on a communicator.

A program is for each rank a list of `Op`. `play` notes what each call says in the words of `interleaver.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

import ranks

ANY = -2  # a source or tag that matches all, in programs
EAGER_LIMIT = 64
SIZES = (2, EAGER_LIMIT - 1, EAGER_LIMIT, EAGER_LIMIT + 1, 100)  # of messages, in bytes
NETWORK = ranks.Network(name="limit 64", inter=ranks.Link(1000, 10), eager_limit=EAGER_LIMIT)
POLLS = (
    "Probe", "Iprobe", "Iprobe", "Iprobe", "Test", "Test", "Get_status", "Get_status", "Testall", "Testany",
    "Testsome", "Waitany", "Waitsome",
)  # fmt: skip
SENDS, RECEIVES = ("Send", "Ssend", "Isend", "Issend"), ("Recv", "Irecv")
OLD = (-1, -1)  # what the buffer of a receive holds before


@dataclass(frozen=True)
class Op:
    """One call. which: places in its rank's list of requests (nonblocking calls, in order), of Wait and its like.

    "Look" is no call: it reads the buffer of a receive.
    """

    call: str
    peer: int = ANY
    tag: int = ANY
    size: int = 2
    which: tuple[int, ...] = ()


Program = list[list[Op]]


# -- on a communicator -----------------------------------------------------------------------------------------


def play(comm: Any, program: Program, log: list[list[Any]]) -> None:
    """Make one rank's calls; note in log[rank] what it sees, as the model does."""
    mine, made, buffers = log[comm.rank], [], []
    for place, op in enumerate(program[comm.rank]):
        source = ranks.ANY_SOURCE if op.peer == ANY else op.peer
        tag = ranks.ANY_TAG if op.tag == ANY else op.tag
        if op.call in SENDS:
            data = np.full(op.size, place, np.int8)
            data[0] = comm.rank
            request = getattr(comm, op.call)(data, op.peer, op.tag)
            buffer = None
        elif op.call in RECEIVES:
            buffer = np.full(SIZES[-1], OLD[0], np.int8)
            request = getattr(comm, op.call)(buffer, source, tag)
        elif op.call in ("Probe", "Iprobe"):
            status = ranks.Status()
            seen = getattr(comm, op.call)(source, tag, status)
            mine.append((status.source, status.tag) if seen else None)
            continue
        elif op.call == "Look":
            mine.append(content(buffers[op.which[0]]))
            continue
        else:
            mine.append(completed(op, made, buffers))
            continue
        if op.call in ("Isend", "Issend", "Irecv"):
            made.append(request)
            buffers.append(buffer)
            mine.append("posted")
        else:
            mine.append(content(buffer))


def completed(op: Op, made: list[Any], buffers: list[Any]) -> Any:
    """Make a call for requests and return what it said."""
    if not any(made[k] for k in op.which):
        return "nothing"
    those = [made[k] for k in op.which]
    if op.call == "Get_status":
        return "complete" if those[0].Get_status() else "not yet"
    was_active = [bool(request) for request in those]
    single = op.call in ("Wait", "Test")
    answer = getattr(those[0], op.call)() if single else getattr(ranks.Request, op.call)(those)
    if op.call == "Waitany":
        places = [answer]
    elif op.call == "Testany":
        places = [answer[0]] if answer[1] else []
    elif op.call in ("Waitsome", "Testsome"):
        places = sorted(answer)  # MPI leaves their order open
    else:
        places = [k for k, active in enumerate(was_active) if active] if answer else []
    assert all(was_active[k] != bool(those[k]) for k in places)
    saw = tuple((op.which[k], content(buffers[op.which[k]])) for k in places)
    return saw or "not yet"


def content(buffer: Any) -> Any:
    return "sent" if buffer is None else (int(buffer[0]), int(buffer[1]))


# -- random programs -------------------------------------------------------------------------------------------


def random_program(seed: int, n_ranks: int, n_messages: int, n_polls: int, n_looks: int = 0) -> Program:
    """Return a program made of messages whose two sides are moved about a little, with wildcards, probes and polls.

    n_looks: so often the buffer of a nonblocking receive is read, wherever that is.
    """
    draw = Random(seed)
    keyed: list[list[tuple[float, int, Op]]] = [[] for _ in range(n_ranks)]
    number = 0

    def put(rank: int, when: float, op: Op) -> None:
        nonlocal number
        number += 1
        keyed[rank].append((when + 3 * draw.random(), number, op))

    for turn in range(n_messages):
        dest = draw.randrange(n_ranks)
        source = (dest + draw.randrange(1, n_ranks)) % n_ranks
        tag = draw.choice([0, 0, 1])
        send = Op(draw.choice(["Send", "Send", "Ssend", "Isend", "Issend"]), dest, tag, draw.choice(SIZES))
        wanted = draw.choice([source, source, ANY, ANY, ANY]), draw.choice([tag, tag, ANY, ANY, 1 - tag])
        put(source, 2 * turn, send)
        put(dest, 2 * turn, Op(draw.choice(["Recv", "Irecv"]), *wanted))
    for _ in range(n_polls):
        call = draw.choice(POLLS)
        put(draw.randrange(n_ranks), 2 * n_messages * draw.random(), Op(call, draw.choice([ANY, ANY, 0, 1]), ANY))
    for _ in range(n_looks):
        put(draw.randrange(n_ranks), 2 * n_messages * draw.random(), Op("Look"))
    return [finished([op for *_, op in sorted(entries, key=lambda e: e[:2])], draw) for entries in keyed]


def finished(ops: list[Op], draw: Random) -> list[Op]:
    """Give the calls for requests their requests, and let the end wait for what may still be open."""
    made = 0
    receives: list[int] = []
    result = []
    for op in ops:
        if op.call == "Look":
            if not receives:
                continue
            op = Op("Look", which=(draw.choice(receives),))
        elif op.call.startswith(("Test", "Wait", "Get")):
            if not made:
                continue
            wanted = 1 if op.call in ("Test", "Get_status") else draw.randint(1, made)
            op = Op(op.call, which=tuple(sorted(draw.sample(range(made), wanted))))
        receives += [made] if op.call == "Irecv" else []
        made += op.call in ("Isend", "Issend", "Irecv")
        result.append(op)
    ends = draw.choice([[*range(made)], [*range(made)], draw.sample(range(made), made), [*range(made - 1)]])
    if draw.random() < 0.5:
        return result + [Op("Wait", which=(k,)) for k in ends]
    return [*result, Op(draw.choice(["Waitall", "Waitany"]), which=tuple(sorted(ends)))] if ends else result
