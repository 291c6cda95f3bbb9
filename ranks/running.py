"""`ranks.run`: a program on many simulated ranks."""

from __future__ import annotations

import inspect
import operator
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from ranks.comm.communicator import Comm
from ranks.endings import let_go, raise_if_ended_badly, restore_process
from ranks.engine.generators import own_generators, variables_of
from ranks.messages.observer import Observer
from ranks.messages.rank import RankState
from ranks.network.model import PS_PER_S, Network
from ranks.network.presets import network_named
from ranks.observers.buffers import BufferChecks
from ranks.observers.faults import Fault
from ranks.observers.trace import Trace
from ranks.schedules.search import MODES, read_replay, repeat
from ranks.schedules.world import ChoosingWorld
from ranks.words.errors import NondeterminismError, RanksError, ReceiveBufferError
from ranks.world import World

__tracebackhide__ = True  # pytest shows the frames of the program, not of this module

BUFFERINGS = ("none", "eager", "infinite")


class InvalidProgramError(TypeError):
    """A program that has not done its work when it returns, because it is a coroutine or a generator."""


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a run; lists are by rank.

    results:  The values that the program returned.
    time_ps:  The time at which the last rank returned, in picoseconds of virtual time; times_ps has each rank's.
    sends, receives: The numbers of messages sent and received; bytes_sent, bytes_received: their bytes.
    trace:    The events of the run, if it was traced.
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
    faults: Sequence[Fault] | Fault = (),
    comm_type: type[Comm] = Comm,
    watch: Callable[[], Sequence[Observer]] = tuple,
) -> Run:
    """Run `program(comm, *args)` on `size` simulated ranks and return the results, times and messages of all ranks.

        run(lambda comm: comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size), 3).results  # [2, 0, 1]

    network:   A `Network`, or the name of one in `presets`.
    buffering: Whether a standard send is buffered: "none", "eager" (up to the network's eager_limit) or
               "infinite".
    seed:      Draws the network's jitter, if it has any, and seeds the ranks' own `random` and `np.random`.
    trace:     Keep the events.
    check:     Raise an error if a buffer of a nonblocking call is used too early or overlaps another, and warn if -1
               is given as a rank. The program and its side effects run twice or more, to compare.
    replay:    Make the choices of a run that `explore` found, in its buffering mode and with its bound on polls,
               whatever the clock says; `seed` then draws nothing.
    faults:    Faults that strike the run: Crash, Delay, Drop, Duplicate, Straggler, SlowLink, Partition. Their chances
               are drawn from the seed.
    comm_type: The class of the communicator that a rank gets, and of communicators that are made from it.
    watch:     A function that makes other observers of the run; it is called each time that the program is run.
    Raises:    The exception of a rank, with a note that names the rank; DeadlockError if no rank can move, whose
               report says if the program was run again to explain it; errors for messages that nobody received and
               requests that nobody completed. No other rank is left hanging.
    """
    chosen = network_named(network)
    mode, polls, choices = (buffering, 0, None) if replay is None else read_replay(replay)
    size, seed = check_arguments(program, size, mode, BUFFERINGS if replay is None else MODES), _seed(seed)
    broken = [faults] if isinstance(faults, Fault) or not isinstance(faults, Iterable) else list(faults)
    if choices is not None and (broken or buffering not in ("eager", mode)):
        raise ValueError(
            f"ranks.run: got replay={replay!r} with buffering={buffering!r} and {len(broken)} faults, expected the "
            "replay's buffering and no faults; remedy: leave them out"
        )

    def new_world(checks: BufferChecks | None) -> World:
        if choices is not None:
            return ChoosingWorld(size, chosen, mode, repeat(choices), polls=polls, trace=trace, checks=checks)
        return World(size, chosen, mode, seed, trace=trace, checks=checks, faults=broken, watch=watch())

    passes = None if broken or choices is not None else _passes(program, size, args, chosen, seed, comm_type)

    def run_once(checks: BufferChecks | None) -> Run:
        world = new_world(checks)
        result = carry_out(world, program, args, passes, comm_type)
        if isinstance(world, ChoosingWorld):
            world.check_made(choices or [])
        return result

    with own_generators(variables_of(program)):
        return _checked(run_once) if check else run_once(None)


def check_arguments(program: Any, size: Any, buffering: Any, known: Sequence[str] = BUFFERINGS) -> int:
    """Raise unless these are a program, a number of ranks and a known buffering mode; return the number."""
    if not callable(program):
        raise TypeError(f"ranks.run: got program={program!r}, expected a function of comm; remedy: pass the function")
    for is_one, name, remedy in (
        (
            inspect.iscoroutinefunction,
            "a coroutine function",
            "write it without async: a rank that waits lets others run",
        ),
        (inspect.isasyncgenfunction, "an async generator", "write it without async and yield, and return a result"),
        (inspect.isgeneratorfunction, "a generator function", "return a list instead of yielding"),
    ):
        if is_one(program) or is_one(getattr(program, "__call__", None)):  # noqa: B004  # what a call of it runs
            raise TypeError(f"ranks.run: got {name} as program, expected a plain function of comm; remedy: {remedy}")
    try:
        number = operator.index(size) if not isinstance(size, bool) else 0
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"ranks.run: got size={size!r}, expected a number of ranks from 1 up; remedy: pass one")
    if buffering not in known:
        raise ValueError(f"ranks.run: got buffering={buffering!r}, expected {', '.join(known)}; remedy: choose one")
    return number


def _seed(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise TypeError(f"ranks.run: got seed={seed!r}, expected an integer; remedy: pass one") from None


def _passes(
    program: Callable[..., Any], size: int, args: tuple[Any, ...], network: Network, seed: int, comm_type: type[Comm]
) -> Callable[[str], bool]:
    """Return a function that says whether the program ends well in another buffering mode."""

    def passes(other: str) -> bool:
        try:
            carry_out(World(size, network, other, seed), program, args, None, comm_type)
        except KeyboardInterrupt:
            raise
        except BaseException:  # whatever it is, it must not hide the hang that is being explained
            return False
        return True

    return passes


def carry_out(
    world: World, program: Callable[..., Any], args: tuple[Any, ...], passes: Callable[[str], bool] | None,
    comm_type: type[Comm] = Comm,
) -> Run:  # fmt: skip
    """Let all ranks of a new world run the program; return what came of it, or raise what went wrong.

    Its arguments are those of `results_of`.
    """
    results = results_of(world, program, args, passes, comm_type)
    ranks = world.ranks
    times_ps = [state.now for state in ranks]
    return Run(
        results, max(times_ps), times_ps, [s.sends for s in ranks], [s.receives for s in ranks],
        [s.bytes_sent for s in ranks], [s.bytes_received for s in ranks], world.network, world.trace,
    )  # fmt: skip


def results_of(
    world: World, program: Callable[..., Any], args: tuple[Any, ...], passes: Callable[[str], bool] | None,
    comm_type: type[Comm] = Comm,
) -> list[Any]:  # fmt: skip
    """Let all ranks of a new world run the program; return what they return, by rank, or raise what went wrong.

    passes: tells whether another buffering mode would have helped; None if nobody wants to know.
    comm_type: the class of the communicators that ranks get, and of those that they make out of them.
    """
    transport = world.transport
    context = transport.new_context(world.ranks)
    results: list[Any] = [None] * world.size

    def body(state: RankState) -> None:
        comm = comm_type(transport, state, context, state.rank)
        # A call without * needs no C stack, which would add a twentieth to the memory of a parked rank.
        result = program(comm, *args) if args else program(comm)
        if isinstance(result, (GeneratorType, CoroutineType, AsyncGeneratorType)):
            raise _unfinished_program(result)
        results[state.rank] = result
        for observer in transport.observers:
            observer.before_call(state, sends=False)
            observer.returned(state)

    fails = True
    try:
        world.scheduler.drive(body)
        name = f"{getattr(program, '__name__', 'program')}, {world.size}{', *args' if args else ''}"
        raise_if_ended_badly(world, name, passes, lenient=comm_type.is_lenient and world.checks is None)
        fails = False
    except RanksError as problem:
        problem.trace = world.trace
        raise
    finally:
        world.scheduler.close()
        restore_process(world, quietly=fails)
        let_go(world)
    return results


def _unfinished_program(result: Any) -> InvalidProgramError:
    """Return the error for a program that returns something that has yet to run, such as a coroutine."""
    kind = type(result).__name__
    if isinstance(result, CoroutineType):
        result.close()  # or Python warns that nobody awaited it
    return InvalidProgramError(
        f"ranks.run: got a program that returns an object of type {kind}, expected one that does its work before it "
        "returns; remedy: return a list or a number, and use no async"
    )


# -- checks ------------------------------------------------------------------------------------------------------


def _checked(carry_out_with: Callable[[BufferChecks], Run]) -> Run:
    """Return the run of a program, once it came to the same again although its receive buffers were scrambled."""
    checks = BufferChecks()
    first = carry_out_with(checks)
    n_receives = len(checks.receives)
    if not n_receives:
        _compare(first, carry_out_with(BufferChecks()))
    elif _differs(first, carry_out_with, n_receives):
        _compare(first, carry_out_with(BufferChecks()))
        low, high = 0, n_receives  # scrambling so many receives changes nothing, and something
        while low < high - 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _differs(first, carry_out_with, middle) else (middle, high)
        rank, site = checks.receives[high - 1]
        raise ReceiveBufferError(
            rank, "nonblocking receive", site=site, got="a buffer that was read before the Wait: the program's "
            "outcome changes if the buffer holds other bytes until then",
            expected="the buffer untouched until the request is complete", remedy="read it after the Wait",
        )  # fmt: skip
    return first


def _differs(first: Run, carry_out_with: Callable[[BufferChecks], Run], n_scrambled: int) -> bool:
    """Return whether the program's outcome changes if the buffers of its first receives are scrambled."""
    try:
        _compare(first, carry_out_with(BufferChecks(n_scrambled)))
    except Exception as problem:
        if isinstance(problem, ReceiveBufferError):
            raise
        return True
    return False


def _compare(first: Run, second: Run) -> None:
    """Raise unless two runs of the same program came to the same."""
    for what in ("times_ps", "sends", "bytes_sent", "results"):
        one, two = getattr(first, what), getattr(second, what)
        for rank, (a, b) in enumerate(zip(one, two, strict=True)):
            if not same(a, b):
                raise NondeterminismError(
                    rank, f"the second run of the program, {what}", got=f"{b!r:.200}", expected=f"{a!r:.200}",
                    remedy="look for what it takes from outside: random numbers, time, globals, set order",
                )  # fmt: skip


def same(a: Any, b: Any) -> bool:
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
