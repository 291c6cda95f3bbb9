"""`ranks.run`: a program on many simulated ranks."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranks.background import unfinished
from ranks.calls import site_of
from ranks.choosing import ChoosingWorld
from ranks.communicator import Comm
from ranks.datatypes import typed_name
from ranks.diagnosis import deadlock
from ranks.errors import NondeterminismError, UnfinishedRequestError, UnreceivedMessageError
from ranks.faults import Fault, Faults
from ranks.network import PS_PER_S, Network, network_named
from ranks.schedules import repeat
from ranks.trace import Trace
from ranks.world import RankState, World

BUFFERINGS = ("none", "eager", "infinite")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to; lists are by rank.

    results: what the program returned. time_ps: when the last rank returned, in picoseconds of virtual time.
    sends, receives: messages; bytes_sent, bytes_received: their bytes. trace: the events, if asked for.
    """

    results: list[Any]
    time_ps: int
    times_ps: list[int] = field(repr=False)
    sends: list[int]
    receives: list[int]
    bytes_sent: list[int]
    bytes_received: list[int]
    network: Network = field(repr=False)
    _trace: Trace | None = field(repr=False)

    @property
    def time_s(self) -> float:
        """When the last rank returned, in seconds of virtual time."""
        return self.time_ps / PS_PER_S

    @property
    def trace(self) -> Trace:
        """The events of the run; ValueError if it was not traced."""
        if self._trace is None:
            raise ValueError("Run.trace: got a run without trace, expected trace=True; remedy: run it with trace=True")
        return self._trace


def run(
    program: Callable[..., Any],
    size: int,
    *args: Any,
    network: Network | str | None = None,
    buffering: str = "eager",
    seed: int = 0,
    trace: bool = False,
    check: bool = False,
    replay: str | None = None,
    faults: Sequence[Fault] = (),
) -> Run:
    """Run `program(comm, *args)` on `size` simulated ranks and return what came of it.

        run(lambda comm: comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size), 3).results  # [2, 0, 1]

    network:   a `Network` or the name of one in `presets`.
    buffering: whether a standard send is buffered: "none", "eager" (up to the network's eager_limit) or
               "infinite".
    seed:      draws the network's jitter, if it has any.
    trace:     keep the events.
    check:     find send buffers that are written too early, and run twice to compare.
    replay:    make the choices of a run that `explore` found, in its buffering mode, whatever the clock says;
               `seed` draws nothing then.
    faults:    what breaks: Crash, Delay, Drop, Duplicate, Straggler, SlowLink, Partition; drawn from the seed.
    Raises:    what a rank raised, with a note that names the rank; DeadlockError if none can move; errors for
               messages nobody received and requests nobody completed. No other rank is left hanging.
    """
    chosen = network_named(network)
    mode, choices = (buffering, None) if replay is None else read_replay(replay)
    check_arguments(program, size, mode)
    if choices is not None and (faults or buffering not in ("eager", mode)):
        raise ValueError(
            f"ranks.run: got replay={replay!r} with buffering={buffering!r} and {len(faults)} faults, expected the "
            "replay's buffering and no faults; remedy: leave them out"
        )
    runs = []
    for _ in range(2 if check else 1):
        recorded = Trace(size) if trace else None
        if choices is None:
            world = World(size, chosen, mode, seed, trace=recorded, check=check)
        else:
            world = ChoosingWorld(size, chosen, mode, repeat(choices), trace=recorded, check=check)
        if faults:
            world.break_things(Faults(faults, world))
        others = _passes(program, size, args, chosen, seed) if choices is None and not faults else None
        runs.append(carry_out(world, program, args, others))
    if check:
        _compare(*runs)
    return runs[0]


def read_replay(replay: str) -> tuple[str, list[int]]:
    """Return the buffering mode and the choices in a replay text such as "none:0,2,1"."""
    mode, colon, choices = replay.partition(":") if isinstance(replay, str) else ("", "", "")
    numbers = choices.split(",") if choices else []
    if mode not in BUFFERINGS or not colon or not all(number.isdecimal() for number in numbers):
        raise ValueError(
            f'ranks.run: got replay={replay!r}, expected a text such as "none:0,2,1"; remedy: take it from an outcome '
            "of ranks.explore"
        )
    return mode, [int(number) for number in numbers]


def check_arguments(program: Any, size: Any, buffering: Any) -> None:
    """Raise unless this is a program, a number of ranks and a buffering mode."""
    if not callable(program):
        raise TypeError(f"ranks.run: got program={program!r}, expected a function of comm; remedy: pass the function")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"ranks.run: got size={size!r}, expected a number of ranks from 1 up; remedy: pass one")
    if buffering not in BUFFERINGS:
        raise ValueError(
            f"ranks.run: got buffering={buffering!r}, expected {', '.join(BUFFERINGS)}; remedy: choose one"
        )


def _passes(
    program: Callable[..., Any], size: int, args: tuple[Any, ...], network: Network, seed: int
) -> Callable[[str], bool]:
    """Return a function that says whether the program ends well in another buffering mode."""

    def passes(other: str) -> bool:
        try:
            carry_out(World(size, network, other, seed, trace=None, check=False), program, args, None)
        except Exception:
            return False
        return True

    return passes


def carry_out(
    world: World, program: Callable[..., Any], args: tuple[Any, ...], passes: Callable[[str], bool] | None
) -> Run:
    """Let all ranks of a new world run the program; return what came of it, or raise what went wrong.

    passes: tells whether another buffering mode would have helped; None if nobody wants to know.
    """
    context = world.new_context(world.ranks)
    results: list[Any] = [None] * world.size

    def body(state: RankState) -> None:
        results[state.rank] = program(Comm(state, context, state.rank), *args)
        if world.faults is not None:
            world.faults.before_call(state)

    try:
        world.drive(body)
        if world.failure is not None:
            _raise_failure(world)
        if world.disagreement is not None:
            raise world.disagreement.mismatch()
        if any(state.greenlet for state in world.ranks) or (world.faults is not None and world.faults.crashed):
            text = f"{getattr(program, '__name__', 'program')}, {world.size}{', *args' if args else ''}"
            raise deadlock(world, text, passes)
        if world.faults is not None:
            world.faults.check_end()
        _check_leaks(world)
        world.tally()
    finally:
        world.close()
    ranks = world.ranks
    times_ps = [state.now for state in ranks]
    return Run(
        results, max(times_ps), times_ps, [s.sends for s in ranks], [s.receives for s in ranks],
        [s.bytes_sent for s in ranks], [s.bytes_received for s in ranks], world.network, world.trace,
    )  # fmt: skip


def _raise_failure(world: World) -> None:
    """Raise what ended the run: a disagreement on collectives explains any other error, so it goes first."""
    assert world.failure is not None
    rank, problem = world.failure
    if world.disagreement is not None and isinstance(problem, Exception):
        raise world.disagreement.mismatch() from problem
    time_us = world.ranks[rank].now / 1e6
    problem.add_note(f"raised on rank {rank} of {world.size} at t={time_us:g} us of virtual time")
    raise problem


def _check_leaks(world: World) -> None:
    for state in world.ranks:
        for started in unfinished(state.greenlet):
            raise UnfinishedRequestError(
                state.rank, f"start({started._name})", site=started._where,
                got="an operation that was never completed when all ranks had returned",
                expected="a Wait or a successful Test", remedy="keep the request and Wait for it",
            )  # fmt: skip
        for operation in state.open or ():
            verb = "send to" if operation.what == "send" else "receive from"
            raise UnfinishedRequestError(
                state.rank, f"nonblocking {verb} rank {operation.peer}, tag {operation.tag}",
                site=site_of(operation.site),
                got="a request that was never completed when all ranks had returned",
                expected="a Wait or a successful Test", remedy="keep the request and Wait for it",
            )  # fmt: skip
    for box in (box for context in world.contexts for box in context.boxes):
        for source, lane in sorted(box.lanes.items()):
            for message in lane.queue:
                if world.faults is not None and message in world.faults.copies:
                    continue
                text = typed_name(message.flat.dtype, message.n_bytes)
                raise UnreceivedMessageError(
                    box.context.boxes[source].owner.rank, f"send to rank {box.owner.rank}, tag {message.tag}",
                    got=f"{text} that nobody had received when all ranks had returned",
                    expected="one receive for each send", remedy="receive it, or do not send it",
                )  # fmt: skip


def _compare(first: Run, second: Run) -> None:
    """Raise unless two runs of the same program came to the same."""
    for what in ("times_ps", "sends", "bytes_sent", "results"):
        one, two = getattr(first, what), getattr(second, what)
        for rank, (a, b) in enumerate(zip(one, two, strict=True)):
            if not _same(a, b):
                raise NondeterminismError(
                    rank, f"the second run of the program, {what}", got=f"{b!r:.200}", expected=f"{a!r:.200}",
                    remedy="look for what it takes from outside: random numbers, time, globals, set order",
                )  # fmt: skip


def _same(a: Any, b: Any) -> bool:
    """Return whether two results are the same; those that do not pickle, such as functions, count as the same."""
    try:
        if pickle.dumps(a) == pickle.dumps(b):
            return True
    except Exception:
        return True
    try:
        return bool(a == b)  # equal objects may pickle differently: one that occurs twice is written once
    except ValueError:
        return False
