"""Why no rank can move: who waits for whom, which of them are the cause, and what would have helped."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field

from ranks.draw.look import in_us
from ranks.engine.rank import FIRST
from ranks.engine.scheduler import Scheduler
from ranks.hangs.cores import deadlock_cores
from ranks.hangs.errors import DeadlockError, LivelockError, RankFailedError
from ranks.messages.ledger import Ledger, ranks_text
from ranks.messages.mailbox import Mailbox
from ranks.messages.message import Message
from ranks.messages.operation import Operation, Work
from ranks.messages.rank import RankState
from ranks.messages.transfer import Transport
from ranks.network.model import Network
from ranks.network.presets import presets
from ranks.observers.breaking import Faults
from ranks.observers.trace import Trace
from ranks.words.callsite import Call, call_of
from ranks.words.constants import ANY_SOURCE, ANY_TAG

# Reports show at most so many ranks of a core, and so many groups of other ranks.
_SHOWN = 16
# Near misses shown for one operation.
_NEAR = 2


@dataclass(frozen=True, slots=True)
class Blocked:
    """A rank that cannot move.

    call:    The call that it is in, and where its program made it.
    reason:  What it waits for, in words.
    needs:   It needs one rank out of each of these sets.
    near:    What was there that nearly matched, in words.
    """

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


@dataclass(frozen=True, slots=True)
class Scene:
    """A run in which nothing can move.

    scheduler, transport: Who ran, and what carried the messages.
    trace:    The events so far; None if they were not kept.
    faults:   What was to break; None if nothing was.
    choices:  The arguments of `ranks.run` that lead here again, as text.
    """

    scheduler: Scheduler
    transport: Transport
    trace: Trace | None
    faults: Faults | None
    choices: str

    def has_ended(self, rank: int) -> bool:
        """Return whether the program of a rank has ended."""
        return not self.scheduler.ranks[rank].greenlet

    def crashed(self) -> dict[int, str]:
        """Return the ranks that have crashed, and how."""
        return self.faults.crashed if self.faults is not None else {}


def deadlock(scene: Scene, program: str, passes: Callable[[str], bool] | None) -> DeadlockError:
    """Return the error for a run in which nothing can move.

    program: the text of the first arguments of `ranks.run`. passes: runs the program in another buffering mode.
    """
    scheduler, transport, failed = scene.scheduler, scene.transport, scene.crashed()
    waiting = [state for state in scheduler.ranks if state.greenlet]
    blocked = [_blocked(scene, state) for state in waiting]
    needs = {each.rank: each.needs for each in blocked}
    cores = [[b.rank for b in blocked]] if scheduler.livelock else deadlock_cores(needs)
    time_ps = max(state.now for state in (waiting or scheduler.ranks))
    other, tried = _passing_mode(transport.buffering, passes)
    lost = scene.faults.lines() if scene.faults is not None else []
    broken = f", faults={scene.faults.text()}" if scene.faults is not None else ""
    replay = f"ranks.run({program}, network={_network_text(transport.network)}, {scene.choices}{broken})"
    kind = RankFailedError if failed else LivelockError if scheduler.livelock else DeadlockError
    headline = _crashes(failed, blocked) if failed else _headline(cores[0], blocked, scene)
    head = f"{kind.__name__} at t={in_us(time_ps)}: {headline}"
    lines = [f"{head} (buffering={transport.buffering}, seed={transport.seed})"]
    lines += [f"  rank {rank} {how}" for rank, how in failed.items()]
    lines += _body(cores, blocked) if blocked else []
    lines += lost
    if other is not None:
        lines.append(f'  passes with buffering="{other}": {_ADVICE[other]}')
    lines.append(f"  replay: {replay}")
    error = kind(
        "\n".join(lines), core=cores[0] if cores else [], blocked=blocked, time_ps=time_ps,
        buffering=transport.buffering, seed=transport.seed, passes_with=other, replay=replay,
        lost=[t.strip() for t in lost], trace=scene.trace, **({"failed": failed} if failed else {}),
    )  # fmt: skip
    if tried:
        times = "once" if len(tried) == 1 else f"{len(tried)} times"
        error.add_note(
            f"to explain it, the program was run again {times}, with buffering {' and '.join(tried)}; its output "
            "was dropped, its other effects happened again"
        )
    return error


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


def _passing_mode(buffering: str, passes: Callable[[str], bool] | None) -> tuple[str | None, list[str]]:
    """Return a buffering mode in which the program ends well, and all modes in which it was run to find one."""
    tried: list[str] = []
    if passes is not None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            for mode in _ADVICE:
                if mode != buffering:
                    tried.append(mode)
                    if passes(mode):
                        return mode, tried
    return None, tried


def _headline(core: list[int], blocked: list[Blocked], scene: Scene) -> str:
    if scene.scheduler.livelock:
        polling = [each.rank for each in blocked if not each.needs]
        verb = "polls" if len(polling) == 1 else "poll"
        return f"{ranks_text(polling)} {verb} for something that can no longer come"
    if len(core) > 1:
        text = f"ranks {core[0]} and {core[1]}" if len(core) == 2 else ranks_text(core)
        return f"{text} wait for each other"
    alone = next(each for each in blocked if each.rank == core[0])
    gone = next(need for need in alone.needs if all(scene.has_ended(r) for r in need - {alone.rank}))
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


def _blocked(scene: Scene, state: RankState) -> Blocked:
    call = call_of(state.greenlet.gr_frame if state.greenlet is not None else None)
    awaited = state.awaited()
    if not awaited:
        return Blocked(state.rank, call, "polls, and nothing is on its way", [], [])
    pending = [part for each in awaited for part in each.awaited()]
    if not pending:
        held = [each for each in awaited if isinstance(each, Work)]
        holders = sorted(holder.rank for each in held for holder in each.holders)
        reason = f"waits for {ranks_text(holders)} to unlock it" if holders else "waits for work that cannot go on"
        return Blocked(state.rank, call, reason, [frozenset(holders)] if holders else [], [])
    needs = [frozenset(each.missing() if isinstance(each, Ledger) else _peers(each)) for each in pending]
    reasons = [_reason(scene, each) for each in pending]
    near = [text for each in pending[:3] if not isinstance(each, Ledger) for text in _near(each)]
    if isinstance(pending[0], Ledger):
        needs = [frozenset([rank]) for rank in pending[0].missing()]
    elif state.enough == FIRST:
        needs = [frozenset().union(*needs)]
    joint = " or for " if state.enough == FIRST else " and for "
    reason = joint.join(reasons[:3]).replace(joint + "waits for ", joint)
    more = f" and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    return Blocked(state.rank, call, reason + more, needs, near)


def _peers(operation: Operation) -> list[int]:
    """Return the world ranks that could complete the operation; one of them is enough."""
    boxes = operation.box.context.boxes
    if operation.peer == ANY_SOURCE:
        return [box.owner.rank for box in boxes if box.owner is not operation.state]
    return [boxes[operation.peer].owner.rank]


def _reason(scene: Scene, awaited: Operation | Ledger) -> str:
    if isinstance(awaited, Ledger):
        return f"waits for {ranks_text(awaited.missing())} to call it too"
    boxes, message = awaited.box.context.boxes, awaited.message
    # A send waits at the mailbox of its receiver; `boxes` are those of the other group of an intercommunicator.
    me = boxes[0].context.boxes.index(awaited.box) if message is None else message.source
    tag, where = _tag(awaited), _context_text(awaited.box)
    if awaited.peer == ANY_SOURCE:
        return f"waits for any rank to send (dest={me}, tag={tag}{where})"
    peer = boxes[awaited.peer].owner.rank
    end = "crashed" if peer in scene.crashed() else "returned"
    gone = f", which has {end}," if scene.has_ended(peer) else ""
    verb = "to receive (source" if awaited.what == "send" else "to send (dest"
    return f"waits for rank {peer}{gone} {verb}={me}, tag={tag}{where})"


def _tag(operation: Operation) -> str:
    return "ANY_TAG" if operation.tag == ANY_TAG else str(operation.tag)


def _context_text(box: Mailbox) -> str:
    number = box.context.number
    return f", communicator {number}" if number else ""


def _near(operation: Operation) -> list[str]:
    """Return, in words, what would match the operation but for its source, tag or communicator."""
    box = operation.box
    boxes = [box, *(other for other in box.owner.boxes if other is not box)]
    if operation.what == "send":
        return [_wish(receive) for other in boxes for receive in other.receives()][:_NEAR]
    wanted = set(_peers(operation))
    return [
        _offer(m)
        for other in boxes
        for _, lane in sorted(other.lanes.items())
        for m in lane.queue
        if other is box or m.origin.rank in wanted
    ][:_NEAR]


def _wish(receive: Operation) -> str:
    source = "ANY_SOURCE" if receive.peer == ANY_SOURCE else receive.peer
    asked = f"source={source}, tag={_tag(receive)}{_context_text(receive.box)}"
    return f"rank {receive.state.rank} would receive ({asked})"


def _offer(message: Message) -> str:
    kind = "an object" if message.kind.is_object else f"{message.n_bytes} B of {message.kind.dtype.name}"
    return f"rank {message.origin.rank} has sent {kind} (tag={message.tag}{_context_text(message.lane.box)})"
