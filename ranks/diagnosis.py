"""Why no rank can move: who waits for whom, which of them are the cause, and what would have helped."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ranks.agreement import Ledger, ranks_text
from ranks.asking import AnyOf
from ranks.calls import Call, call_of
from ranks.constants import ANY_SOURCE, ANY_TAG
from ranks.core import deadlock_cores
from ranks.errors import DeadlockError, LivelockError, RankFailedError
from ranks.matching import Mailbox
from ranks.messages import Message, Operation
from ranks.network import Network, presets

if TYPE_CHECKING:
    from ranks.world import RankState, World

# Reports show so many ranks of a core in full, only the first ones of a larger core, and so many groups of others.
_SHOWN = 16
# Near misses shown for one operation.
_NEAR = 2


@dataclass(frozen=True, slots=True)
class Blocked:
    """A rank that cannot move. It needs one rank out of each set in `needs`; `near`: what nearly matched."""

    rank: int
    call: Call
    reason: str
    needs: list[frozenset[int]] = field(repr=False)
    near: list[str]

    def line(self, widths: tuple[int, int, int]) -> str:
        """Return the report's line of this rank, its columns padded to `widths`."""
        who, call, site = f"rank {self.rank}", self.call.text, self.call.site
        caller = f" (called at {self.call.caller})" if self.call.caller else ""
        return f"  {who:<{widths[0]}}  {call:<{widths[1]}}  {site:<{widths[2]}}  {self.reason}{caller}"


def deadlock(world: World, program: str, passes: Callable[[str], bool] | None) -> DeadlockError:
    """Return the error for a world in which nothing can move.

    program: the text of the first arguments of `ranks.run`. passes: tries another buffering mode.
    """
    waiting = [state for state in world.ranks if state.greenlet]
    blocked = [_blocked(state) for state in waiting]
    needs = {each.rank: each.needs for each in blocked}
    cores = [[b.rank for b in blocked]] if world.livelock else deadlock_cores(needs)
    time_ps = max(state.now for state in (waiting or world.ranks))
    other = _passing_mode(world.buffering, passes)
    faults = world.faults
    failed, lost = (faults.crashed, faults.lines()) if faults is not None else ({}, [])
    broken = f", faults={faults.text()}" if faults is not None else ""
    replay = f"ranks.run({program}, network={_network_text(world.network)}, {world.replay()}{broken})"
    kind = RankFailedError if failed else LivelockError if world.livelock else DeadlockError
    headline = _crashes(failed, blocked) if failed else _headline(cores[0], blocked, world)
    head = f"{kind.__name__} at t={time_ps / 1e6:g} us: {headline}"
    lines = [f"{head} (buffering={world.buffering}, seed={world.seed})"]
    lines += [f"  rank {rank} {how}" for rank, how in failed.items()]
    lines += _body(cores, blocked) if blocked else []
    lines += lost
    if other is not None:
        lines.append(f'  passes with buffering="{other}": {_ADVICE[other]}')
    lines.append(f"  replay: {replay}")
    return kind(
        "\n".join(lines), core=cores[0] if cores else [], blocked=blocked, time_ps=time_ps,
        buffering=world.buffering, seed=world.seed, passes_with=other, replay=replay, lost=[t.strip() for t in lost],
        trace=world.trace, **({"failed": failed} if failed else {}),
    )  # fmt: skip


def _crashes(failed: dict[int, str], blocked: list[Blocked]) -> str:
    verb = "has" if len(failed) == 1 else "have"
    if not blocked:
        return f"{ranks_text(failed)} {verb} crashed, all others have returned"
    plural = "wait" if len(blocked) > 1 else "waits"
    return f"{ranks_text(failed)} {verb} crashed, and {ranks_text(each.rank for each in blocked)} {plural} for ever"


_ADVICE = {
    "infinite": "the program relies on buffered sends",
    "eager": "the program relies on sends of this size being buffered, or not being buffered",
    "none": "the program relies on sends not being buffered: a wildcard takes another message here",
}


def _network_text(network: Network) -> str:
    """Return the Python expression for a network: its name if that is enough."""
    if presets.get(network.name) == network:
        return repr(network.name)
    return repr(network).replace("Network(", "ranks.Network(").replace("Link(", "ranks.Link(")


def _passing_mode(buffering: str, passes: Callable[[str], bool] | None) -> str | None:
    """Return another buffering mode in which the program ends well; what it prints meanwhile is dropped."""
    if passes is None:
        return None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return next((mode for mode in _ADVICE if mode != buffering and passes(mode)), None)


def _headline(core: list[int], blocked: list[Blocked], world: World) -> str:
    if world.livelock:
        polling = [each.rank for each in blocked if not each.needs]
        verb = "polls" if len(polling) == 1 else "poll"
        return f"{ranks_text(polling)} {verb} for something that can no longer come"
    if len(core) > 1:
        text = f"ranks {core[0]} and {core[1]}" if len(core) == 2 else ranks_text(core)
        return f"{text} wait for each other"
    alone = next(each for each in blocked if each.rank == core[0])
    gone = next(need for need in alone.needs if all(not world.ranks[r].greenlet for r in need - {alone.rank}))
    if gone <= {alone.rank}:
        return f"rank {alone.rank} waits for itself"
    verb = "has" if len(gone) == 1 else "have"
    return f"rank {alone.rank} waits for {ranks_text(gone)}, which {verb} returned"


def _body(cores: list[list[int]], blocked: list[Blocked]) -> list[str]:
    by_rank = {each.rank: each for each in blocked}
    in_core = [by_rank[rank] for core in cores for rank in core]
    others = [each for each in blocked if each not in in_core]
    shown = in_core[: _SHOWN if len(in_core) <= _SHOWN else 2]
    widths = (
        max(len(f"rank {each.rank}") for each in shown),
        max(len(each.call.text) for each in shown),
        max(len(each.call.site) for each in shown),
    )
    lines = []
    for each in shown:
        lines.append(each.line(widths))
        lines += [f"  {'':<{widths[0]}}  nearly: {text}" for text in each.near]
    for site, source in dict.fromkeys((each.call.site, each.call.source) for each in shown):
        lines += [f"  {site} is: {source}"] if source else []
    lines += _grouped("of the same core", in_core[len(shown) :])
    return lines + _grouped("behind them", others)


def _grouped(what: str, blocked: list[Blocked]) -> list[str]:
    """Return a line for each place in the program at which some of these ranks are."""
    groups: dict[str, list[int]] = {}
    for each in blocked:
        call, name = each.call, each.call.text.partition("(")[0]
        within = f" of {call.within}" if call.within not in ("", name) else ""
        called = f", called at {call.caller}" if call.caller else ""
        groups.setdefault(f"{name}{within} at {call.site}{called}", []).append(each.rank)
    lines = [f"  {what}: {ranks_text(ranks)} in {text}" for text, ranks in groups.items()]
    more = [f"  {what}: ranks in {len(lines) - _SHOWN} other places"] if len(lines) > _SHOWN else []
    return lines[:_SHOWN] + more


def _blocked(state: RankState) -> Blocked:
    awaits = state.awaits
    call = call_of(state.greenlet.gr_frame if state.greenlet is not None else None)
    if isinstance(awaits, Ledger):
        absent = awaits.awaited()
        reason = f"waits for {ranks_text(absent)} to call it too"
        return Blocked(state.rank, call, reason, [frozenset([rank]) for rank in absent], [])
    if awaits is None:
        return Blocked(state.rank, call, "polls, and nothing is on its way", [], [])
    if isinstance(awaits, tuple):
        awaits = Operation("receive", state, *awaits)
    some = isinstance(awaits, AnyOf)
    operations = awaits.operations if some else awaits if isinstance(awaits, list) else [awaits]
    pending = [operation for operation in operations if operation.ready_ps is None]
    needs = [frozenset(_peers(operation)) for operation in pending]
    reasons = [_reason(operation) for operation in pending]
    near = [text for operation in pending[:3] for text in _near(operation)]
    if some:
        needs = [frozenset().union(*needs)]
    joint = " or for " if some else " and for "
    reason = joint.join(reasons[:3]).replace(joint + "waits for ", joint)
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Blocked(state.rank, call, reason + more, needs, near)


def _peers(operation: Operation) -> list[int]:
    """Return the world ranks one of which must act for the operation to complete."""
    boxes = operation.box.context.boxes
    if operation.peer == ANY_SOURCE:
        return [box.owner.rank for box in boxes if box.owner is not operation.state]
    return [boxes[operation.peer].owner.rank]


def _reason(operation: Operation) -> str:
    boxes, state = operation.box.context.boxes, operation.state
    me = next(rank for rank, box in enumerate(boxes) if box.owner is state)
    tag, where = _tag(operation), _context_text(operation)
    if operation.peer == ANY_SOURCE:
        return f"waits for any rank to send (dest={me}, tag={tag}{where})"
    peer = boxes[operation.peer].owner
    faults = state.world.faults
    end = "crashed" if faults is not None and peer.rank in faults.crashed else "returned"
    gone = "" if peer.greenlet else f", which has {end},"
    if operation.what == "send":
        return f"waits for rank {peer.rank}{gone} to receive (source={me}, tag={tag}{where})"
    return f"waits for rank {peer.rank}{gone} to send (dest={me}, tag={tag}{where})"


def _tag(operation: Operation) -> str:
    return "ANY_TAG" if operation.tag == ANY_TAG else str(operation.tag)


def _context_text(side: Operation | Message) -> str:
    number = side.box.context.number
    return f", communicator {number}" if number else ""


def _near(operation: Operation) -> list[str]:
    """Return what is there that another source, tag or communicator would have matched."""
    box, world = operation.box, operation.state.world
    boxes = [box, *(other for other in world.mailboxes_of(box.owner) if other is not box)]
    if operation.what == "send":
        return [_wish(r) for other in boxes for r in _receives(other)][:_NEAR]
    wanted = set(_peers(operation))
    return [
        _offer(m)
        for other in boxes
        for _, lane in sorted(other.lanes.items())
        for m in lane.queue
        if other is box or m.origin.rank in wanted
    ][:_NEAR]


def _receives(box: Mailbox) -> list[Operation]:
    """Return the receives of a mailbox that wait, also one that is not posted."""
    awaits = box.owner.awaits
    is_parked = isinstance(awaits, tuple) and awaits[0] is box
    return [*box.receives, *([Operation("receive", box.owner, *awaits)] if is_parked else [])]


def _wish(receive: Operation) -> str:
    source = "ANY_SOURCE" if receive.peer == ANY_SOURCE else receive.peer
    asked = f"source={source}, tag={_tag(receive)}{_context_text(receive)}"
    return f"rank {receive.state.rank} would receive ({asked})"


def _offer(message: Message) -> str:
    kind = "an object" if message.pickled else f"{message.n_bytes} B of {message.flat.dtype.name}"
    return f"rank {message.origin.rank} has sent {kind} (tag={message.tag}{_context_text(message)})"
