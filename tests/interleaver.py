"""Every outcome of a small program of MPI calls, found by trying all interleavings: no clock, no cleverness.

A program is data: for each rank a list of `Op`. The model knows three kinds of steps, any of which may happen next: a
rank starts or finishes its next call, or a message is matched with a receive. A call that polls may always say no.
`play` makes the same calls on a real communicator; both note what they see in the same words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from random import Random
from typing import Any

import numpy as np

import ranks

ANY = -2  # a source or tag that matches all, in programs
EAGER_LIMIT, LARGE = 64, 100  # bytes; elements of a large message: a small one has 2
NETWORK = ranks.Network(name="limit 64", inter=ranks.Link(1000, 10), eager_limit=EAGER_LIMIT)
POLLS = ("Probe", "Iprobe", "Iprobe", "Test", "Test", "Testall", "Testany", "Testsome", "Waitany", "Waitsome")
SENDS, RECEIVES = ("Send", "Ssend", "Isend", "Issend"), ("Recv", "Irecv")


@dataclass(frozen=True)
class Op:
    """One call. which: places in its rank's list of requests (nonblocking calls, in order), of Wait and its like."""

    call: str
    peer: int = ANY
    tag: int = ANY
    large: bool = False
    which: tuple[int, ...] = ()


Program = list[list[Op]]


# -- the model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """Where everybody is. All fields are by rank.

    place, inside: the next call, and whether it was started. sends: the messages to this rank that are unmatched, as
    (source, place of the call, tag), in order of each source; receives: unmatched, as (place, source, tag). mates: for
    each call its partner (rank, place). done: places of requests that were waited for. log: what the rank saw.
    """

    place: tuple[int, ...]
    inside: tuple[bool, ...]
    sends: tuple[tuple[tuple[int, int, int], ...], ...]
    receives: tuple[tuple[tuple[int, int, int], ...], ...]
    mates: tuple[tuple[Any, ...], ...]
    done: tuple[frozenset[int], ...]
    log: tuple[tuple[Any, ...], ...]

    def but(self, rank: int, **fields: Any) -> State:
        """Return this state with other values for one rank."""
        new = dict(vars(self))
        for name, value in fields.items():
            new[name] = (*new[name][:rank], value, *new[name][rank + 1 :])
        return State(**new)

    def after(self, rank: int, saw: Any, done: tuple[int, ...] = ()) -> State:
        """Return the state after a rank has returned from its call."""
        log = (*self.log[rank], saw)
        return self.but(rank, place=self.place[rank] + 1, inside=False, log=log, done=self.done[rank] | set(done))


def outcomes(program: Program, buffering: str) -> set[Any]:
    """Return all outcomes: (what each rank saw, ranks that are stuck, messages left over, requests left open)."""
    p = len(program)
    first = State(
        (0,) * p, (False,) * p, ((),) * p, ((),) * p, tuple((None,) * len(ops) for ops in program),
        (frozenset(),) * p, ((),) * p,
    )  # fmt: skip
    found, seen, todo = set(), {first}, [first]
    while todo:
        state = todo.pop()
        following = list(steps(program, buffering, state))
        if not following:
            found.add(outcome(program, state))
        for new in following:
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return found


def outcome(program: Program, state: State) -> Any:
    stuck = frozenset(rank for rank, ops in enumerate(program) if state.place[rank] < len(ops))
    if stuck:
        return state.log, stuck, frozenset(), frozenset()
    left = frozenset((source, place) for queue in state.sends for source, place, _ in queue)
    still_open = frozenset(
        (rank, place) for rank, ops in enumerate(program) for place in requests(ops) if place not in state.done[rank]
    )
    return state.log, stuck, left, still_open


def requests(ops: list[Op]) -> list[int]:
    """Return the places of the nonblocking calls that make requests."""
    return [place for place, op in enumerate(ops) if op.call in ("Isend", "Issend", "Irecv")]


def steps(program: Program, buffering: str, state: State) -> Iterator[State]:
    for rank, ops in enumerate(program):
        if state.place[rank] < len(ops):
            yield from rank_steps(program, buffering, state, rank, ops[state.place[rank]])
        for place, source, tag in state.receives[rank]:
            for message in seen_by(state, rank, source, tag, before=place):
                sender, sent_at, _ = message
                new = state.but(
                    rank,
                    sends=tuple(m for m in state.sends[rank] if m != message),
                    receives=tuple(r for r in state.receives[rank] if r[0] != place),
                    mates=with_mate(state.mates[rank], place, (sender, sent_at)),
                )
                yield new.but(sender, mates=with_mate(new.mates[sender], sent_at, (rank, place)))


def with_mate(mates: tuple[Any, ...], place: int, mate: Any) -> tuple[Any, ...]:
    return (*mates[:place], mate, *mates[place + 1 :])


def fits(wanted: int, value: int) -> bool:
    return wanted in (ANY, value)


def seen_by(state: State, rank: int, source: int, tag: int, before: int) -> Iterator[tuple[int, int, int]]:
    """Yield what a receive or probe may have: each source's first that fits and no earlier receive is to have."""
    sources = set()
    for message in state.sends[rank]:
        sender, _, its_tag = message
        if fits(source, sender) and fits(tag, its_tag) and sender not in sources:
            sources.add(sender)
            earlier = (r for r in state.receives[rank] if r[0] < before)
            if not any(fits(s, sender) and fits(t, its_tag) for _, s, t in earlier):
                yield message


def rank_steps(program: Program, buffering: str, state: State, rank: int, op: Op) -> Iterator[State]:
    place, call = state.place[rank], op.call
    blocks = call in ("Send", "Ssend", "Recv")
    if call in SENDS + RECEIVES and not state.inside[rank]:
        if call in SENDS:
            new = state.but(op.peer, sends=(*state.sends[op.peer], (rank, place, op.tag)))
        else:
            new = state.but(rank, receives=(*state.receives[rank], (place, op.peer, op.tag)))
        yield new.but(rank, inside=True) if blocks else new.after(rank, "posted")
    elif blocks:
        if is_complete(program, buffering, state, rank, place):
            yield state.after(rank, received(program, state, rank, place))
    elif call in ("Probe", "Iprobe"):
        for sender, _, tag in seen_by(state, rank, op.peer, op.tag, before=place):
            yield state.after(rank, (sender, tag))
        if call == "Iprobe":
            yield state.after(rank, None)
    else:
        yield from completions(program, buffering, state, rank, op)


def completions(program: Program, buffering: str, state: State, rank: int, op: Op) -> Iterator[State]:
    """Yield the ways in which a call for requests may return."""
    made = requests(program[rank])
    active = [made[k] for k in op.which if made[k] not in state.done[rank]]
    complete = [place for place in active if is_complete(program, buffering, state, rank, place)]
    polls = op.call.startswith("Test")
    if not active:
        yield state.after(rank, "nothing")
        return
    if op.call in ("Wait", "Waitall", "Test", "Testall"):
        sets: Any = [active] if complete == active else []
    elif op.call in ("Waitany", "Testany"):
        sets = [[place] for place in complete]
    else:
        sets = chain.from_iterable(combinations(complete, n) for n in range(1, len(complete) + 1))
    for places in sets:
        saw = tuple((made.index(place), received(program, state, rank, place)) for place in places)
        yield state.after(rank, saw, tuple(places))
    if polls:
        yield state.after(rank, "not yet")


def is_complete(program: Program, buffering: str, state: State, rank: int, place: int) -> bool:
    op = program[rank][place]
    buffered = op.call in ("Send", "Isend") and is_buffered(op, buffering)
    return buffered or state.mates[rank][place] is not None


def is_buffered(op: Op, buffering: str) -> bool:
    return buffering == "infinite" or (buffering == "eager" and not op.large)


def received(program: Program, state: State, rank: int, place: int) -> Any:
    return state.mates[rank][place] if program[rank][place].call in RECEIVES else "sent"


# -- the same on a communicator --------------------------------------------------------------------------------


def play(comm: Any, program: Program, log: list[list[Any]]) -> None:
    """Make one rank's calls; note in log[rank] what it sees, as the model does."""
    mine, made, buffers = log[comm.rank], [], []
    for place, op in enumerate(program[comm.rank]):
        source = ranks.ANY_SOURCE if op.peer == ANY else op.peer
        tag = ranks.ANY_TAG if op.tag == ANY else op.tag
        if op.call in SENDS:
            data = np.full(LARGE if op.large else 2, place)
            data[0] = comm.rank
            request = getattr(comm, op.call)(data, op.peer, op.tag)
            buffer = None
        elif op.call in RECEIVES:
            buffer = np.full(LARGE, -1)
            request = getattr(comm, op.call)(buffer, source, tag)
        elif op.call in ("Probe", "Iprobe"):
            status = ranks.Status()
            seen = getattr(comm, op.call)(source, tag, status)
            mine.append((status.source, status.tag) if seen else None)
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
    was_active = [bool(request) for request in those]
    single = op.call in ("Wait", "Test")
    answer = getattr(those[0], op.call)() if single else getattr(ranks.Request, op.call)(those)
    if op.call == "Waitany":
        places = [answer]
    elif op.call == "Testany":
        places = [answer[0]] if answer[1] else []
    elif op.call in ("Waitsome", "Testsome"):
        places = answer
    else:
        places = [k for k, active in enumerate(was_active) if active] if answer else []
    assert all(was_active[k] != bool(those[k]) for k in places)
    saw = tuple((op.which[k], content(buffers[op.which[k]])) for k in places)
    return saw or "not yet"


def content(buffer: Any) -> Any:
    return "sent" if buffer is None else (int(buffer[0]), int(buffer[1]))


# -- random programs -------------------------------------------------------------------------------------------


def random_program(seed: int, n_ranks: int, n_messages: int, n_polls: int) -> Program:
    """Return a program made of messages whose two sides are moved about a little, with wildcards, probes and polls."""
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
        send = Op(draw.choice(["Send", "Send", "Ssend", "Isend", "Issend"]), dest, tag, draw.random() < 0.4)
        wanted = draw.choice([source, source, ANY, ANY, ANY]), draw.choice([tag, tag, ANY, ANY, 1 - tag])
        put(source, 2 * turn, send)
        put(dest, 2 * turn, Op(draw.choice(["Recv", "Irecv"]), *wanted))
    for _ in range(n_polls):
        call = draw.choice(POLLS)
        put(draw.randrange(n_ranks), 2 * n_messages * draw.random(), Op(call, draw.choice([ANY, ANY, 0, 1]), ANY))
    return [finished([op for *_, op in sorted(entries, key=lambda e: e[:2])], draw) for entries in keyed]


def finished(ops: list[Op], draw: Random) -> list[Op]:
    """Give the calls for requests their requests, and let the end wait for what may still be open."""
    made = 0
    result = []
    for op in ops:
        if op.call.startswith(("Test", "Wait")):
            if not made:
                continue
            wanted = 1 if op.call == "Test" else draw.randint(1, made)
            op = Op(op.call, which=tuple(sorted(draw.sample(range(made), wanted))))
        made += op.call in ("Isend", "Issend", "Irecv")
        result.append(op)
    ends = draw.choice([[*range(made)], [*range(made)], draw.sample(range(made), made), [*range(made - 1)]])
    if draw.random() < 0.5:
        return result + [Op("Wait", which=(k,)) for k in ends]
    return [*result, Op(draw.choice(["Waitall", "Waitany"]), which=tuple(sorted(ends)))] if ends else result
