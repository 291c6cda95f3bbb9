"""Every outcome of a small program of MPI calls, found by trying all interleavings: no clock, no cleverness.

The model knows three kinds of steps, any of which may happen next: a rank starts or finishes its next call, or a
message is matched with a receive. A call that polls may always say no, except about what the rank was already told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any, NamedTuple

from programs_of_calls import ANY, EAGER_LIMIT, OLD, RECEIVES, SENDS, Op, Program

ALL_OF = ("Wait", "Waitall", "Test", "Testall", "Get_status")


class State(NamedTuple):
    """Where everybody is. All fields are by rank.

    place, inside: the next call, and whether it was started. sends: the messages to this rank that are unmatched, as
    (source, place of the call, tag), in order of each source; receives: unmatched, as (place, source, tag). mates: for
    each call its partner (rank, place). done: places of requests that were waited for. log: what the rank saw.
    buffered: places of its sends that are buffered. known: what polls have told it: messages, as (source, place), and
    places of requests that are complete.
    """

    place: tuple[int, ...]
    inside: tuple[bool, ...]
    sends: tuple[tuple[tuple[int, int, int], ...], ...]
    receives: tuple[tuple[tuple[int, int, int], ...], ...]
    mates: tuple[tuple[Any, ...], ...]
    done: tuple[frozenset[int], ...]
    log: tuple[tuple[Any, ...], ...]
    buffered: tuple[frozenset[int], ...]
    known: tuple[frozenset[Any], ...]

    def but(self, rank: int, **fields: Any) -> State:
        """Return this state with other values for one rank."""
        for name, value in fields.items():
            old = getattr(self, name)
            fields[name] = (*old[:rank], value, *old[rank + 1 :])
        return self._replace(**fields)

    def after(self, rank: int, saw: Any, done: tuple[int, ...] = ()) -> State:
        """Return the state after a rank has returned from its call."""
        log = (*self.log[rank], saw)
        return self.but(rank, place=self.place[rank] + 1, inside=False, log=log, done=self.done[rank] | set(done))

    def told(self, rank: int, what: Any) -> State:
        """Return the state after a poll has told a rank of a message or of a complete request."""
        return self.but(rank, known=self.known[rank] | {what})


def outcomes(program: Program, buffering: str) -> set[Any]:
    """Return all outcomes: (what each rank saw, ranks that are stuck, messages left over, requests left open)."""
    p = len(program)
    first = State(
        (0,) * p, (False,) * p, ((),) * p, ((),) * p, tuple((None,) * len(ops) for ops in program),
        (frozenset(),) * p, ((),) * p, (frozenset(),) * p, (frozenset(),) * p,
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
    if call in SENDS and not state.inside[rank]:
        new = state.but(op.peer, sends=(*state.sends[op.peer], (rank, place, op.tag)))
        new = new.but(rank, inside=True) if blocks else new.after(rank, "posted")
        for is_buffered in ways_to_buffer(op, buffering):
            yield new.but(rank, buffered=new.buffered[rank] | {place}) if is_buffered else new
    elif call in RECEIVES and not state.inside[rank]:
        new = state.but(rank, receives=(*state.receives[rank], (place, op.peer, op.tag)))
        yield new.but(rank, inside=True) if blocks else new.after(rank, "posted")
    elif blocks:
        if is_complete(state, rank, place):
            yield state.after(rank, received(program, state, rank, place))
    elif call in ("Probe", "Iprobe"):
        for sender, sent_at, tag in seen_by(state, rank, op.peer, op.tag, before=place):
            yield state.told(rank, (sender, sent_at)).after(rank, (sender, tag))
        if call == "Iprobe" and not any(
            (sender, sent_at) in state.known[rank] and fits(op.peer, sender) and fits(op.tag, tag)
            for sender, sent_at, tag in state.sends[rank]
        ):
            yield state.after(rank, None)
    elif call == "Look":
        looked_at = requests(program[rank])[op.which[0]]
        is_there = looked_at in state.done[rank]
        yield state.after(rank, received(program, state, rank, looked_at) if is_there else OLD)
    else:
        yield from completions(program, state, rank, op)


def ways_to_buffer(op: Op, buffering: str) -> tuple[bool, ...]:
    """Return whether a send is buffered: one way, or both if that is open."""
    if op.call not in ("Send", "Isend"):
        return (False,)
    ways = {"none": (False,), "infinite": (True,), "each": (True, False)}
    return ways.get(buffering, (op.size <= EAGER_LIMIT,))


def completions(program: Program, state: State, rank: int, op: Op) -> Iterator[State]:
    """Yield the ways in which a call for requests may return."""
    made = requests(program[rank])
    active = [made[k] for k in op.which if made[k] not in state.done[rank]]
    complete = [place for place in active if is_complete(state, rank, place)]
    known = {place for place in active if place in state.known[rank]}
    if not active:
        yield state.after(rank, "nothing")
        return
    if op.call in ALL_OF:
        sets: Any = [active] if complete == active else []
        must_say_yes = len(known) == len(active)
    elif op.call in ("Waitany", "Testany"):
        sets = [[place] for place in complete]
        must_say_yes = bool(known)
    else:
        sets = chain.from_iterable(combinations(complete, n) for n in range(1, len(complete) + 1))
        sets = [places for places in sets if known <= set(places)]
        must_say_yes = bool(known)
    for places in sets:
        if op.call == "Get_status":
            yield state.told(rank, places[0]).after(rank, "complete")
        else:
            saw = tuple((made.index(place), received(program, state, rank, place)) for place in places)
            yield state.after(rank, saw, tuple(places))
    if op.call.startswith(("Test", "Get")) and not must_say_yes:
        yield state.after(rank, "not yet")


def is_complete(state: State, rank: int, place: int) -> bool:
    return place in state.buffered[rank] or state.mates[rank][place] is not None


def received(program: Program, state: State, rank: int, place: int) -> Any:
    return state.mates[rank][place] if program[rank][place].call in RECEIVES else "sent"


def most_noes(ops: list[Op], log: tuple[Any, ...]) -> int:
    """Return how often a rank was told no by the same poll, at most, while it neither did nor learnt anything else."""
    most, noes, told = 0, Counter[Any](), set[Any]()
    for op, saw in zip(ops, log, strict=False):
        if saw in (None, "not yet"):
            noes[op.call, op.peer, op.tag, op.which] += 1
            most = max(most, *noes.values())
        elif saw != "nothing" and op.call != "Look":
            news = saw if op.call in ("Probe", "Iprobe") else op.which if op.call == "Get_status" else None
            if news is None or news not in told:
                noes.clear()
                told.add(news)
    return most
