"""How a run ended: what is raised for it, and what ranks have left undone."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from ranks.both.background import unfinished
from ranks.draw.look import in_us
from ranks.hangs.diagnosis import deadlock
from ranks.words.callsite import program_part, site_of
from ranks.words.datatypes import typed_name
from ranks.words.errors import (
    CollectiveMismatchError,
    ProgramWarning,
    RanksError,
    SharedStateError,
    UnfinishedRequestError,
    UnreceivedMessageError,
)
from ranks.world import World

__tracebackhide__ = True  # pytest shows the frames of the program, not of this module


def raise_if_ended_badly(
    world: World, program: str, passes: Callable[[str], bool] | None, *, lenient: bool = False
) -> None:
    """Raise what has ended a run before all ranks had returned, or what they have left undone.

    program, passes: as `deadlock` takes them. lenient: whether to warn of what they have left undone.
    """
    scheduler, transport = world.scheduler, world.transport
    if scheduler.failure is not None:
        _raise_failure(world)
    if transport.disagreement is not None:
        raise transport.disagreement.mismatch()
    if any(state.greenlet for state in world.ranks) or (world.faults is not None and world.faults.crashed):
        raise deadlock(world.scene(), program, passes)
    if world.faults is not None:
        world.faults.check_end()
    for undone in (_undone_request(world), _unreceived_message(world)):
        if undone is not None and not lenient:
            raise undone
        if undone is not None:
            warnings.warn(str(undone), ProgramWarning, stacklevel=2)


def restore_process(world: World, *, quietly: bool) -> None:
    """Set back what the ranks have changed of what they share; raise for it unless the run fails anyway."""
    changed = world.scheduler.shared.restore()
    if changed and not quietly:
        raise SharedStateError(
            None, "the end of the run", got=f"another state of the {', '.join(changed)} than at its beginning",
            expected="the same, since all ranks live in one process",
            remedy="let each rank put back what it changes, or change it around ranks.run",
        )  # fmt: skip


def let_go(world: World) -> None:
    """Let go of what ranks have kept and of operations in the background: both refer to the world, and may be large."""
    for state in world.ranks:
        for started in unfinished(state.greenlet):
            started.close()
    world.transport.kept.clear()


def _raise_failure(world: World) -> None:
    """Raise what ended the run: a disagreement on collectives explains any other error, so it goes first."""
    assert world.scheduler.failure is not None
    state, problem = world.scheduler.failure
    disagreement = world.transport.disagreement
    if disagreement is not None and isinstance(problem, Exception):
        raise disagreement.mismatch() from None if isinstance(problem, CollectiveMismatchError) else problem
    problem.add_note(f"raised on rank {state.rank} of {world.size} at t={in_us(state.now)} of virtual time")
    if isinstance(problem, RanksError):  # its text says it all
        problem.__traceback__ = program_part(problem.__traceback__)
    raise problem


def _undone_request(world: World) -> UnfinishedRequestError | None:
    for state in world.ranks:
        background = unfinished(state.greenlet)
        if not (background or state.open):
            continue
        undone = [(f"start({started._name})", started._where) for started in background]
        for operation in state.open or ():
            undone.append((operation.name(), site_of(operation.site)))
        for call, site in undone:
            return UnfinishedRequestError(
                state.rank, call, site=site, got="a request that was never completed when all ranks had returned",
                expected="a Wait or a successful Test", remedy="keep the request and Wait for it",
            )  # fmt: skip
    return None


def _unreceived_message(world: World) -> UnreceivedMessageError | None:
    twins = world.faults.twins if world.faults is not None else {}
    for context in world.transport.all_contexts():
        for box in context.boxes:
            for _, lane in sorted(box.lanes.items()):
                for message in lane.queue:
                    if message not in twins:
                        text = typed_name(message.kind.dtype, message.n_bytes)
                        return UnreceivedMessageError(
                            lane.sender.rank, f"send to rank {box.owner.rank}, tag {message.tag}",
                            got=f"{text} that nobody had received when all ranks had returned",
                            expected="one receive for each send", remedy="receive it, or do not send it",
                        )  # fmt: skip
    return None
