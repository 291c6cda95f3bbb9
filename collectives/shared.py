"""All-reduce and barrier for ranks of one node, through shared memory instead of messages.

One of two processes, or both, must copy a message between them; shared memory needs no copy. All ranks reduce in rank
order, so these functions take any op, and every rank gets the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from collectives.arguments import finish, flat_input, in_order, output
from collectives.arrays import Array, block_bounds, block_sizes
from collectives.catalogue import algorithm, cost_of
from collectives.reduction import Op, op_name, reducer
from collectives.staging_buffer import StagingBuffer, items_in, slot_size, whole_size
from loggp import Cost, Machine, NodeClocks
from ranks import SharedArray, announce, is_plain, kept, region

PreparedCall = Callable[[Array, Array | None], Array]

_IN_CACHE = 2 << 20  # bytes, of all ranks' arrays together, that are reduced and then written back at once
_PREPARED = 1000  # calls, for so many kinds of arrays
_NOTHING = (object(), None)  # equal to no op


def shared_allreduce(shared: SharedArray, op: Op = np.add) -> Array:
    """Reduce the arrays of all ranks elementwise by `op` into each of them; return this rank's.

        def program(comm):
            shared = ranks.shared_array(comm, 2, int)
            shared.local[...] = [comm.rank, 1]
            return shared_allreduce(shared)

        ranks.run(program, 3, network="nvlink").results  # [array([3, 3]), array([3, 3]), array([3, 3])]

    Shape:   shared.arrays, each (...,) -> the same array, changed in place.
    Cost:    the ranks synchronise twice. Reading and reducing takes each rank (p-1)/p n (2G + gamma), where n G is the
             time to read n bytes. No algorithm that leaves every rank with a copy reads or writes fewer bytes.
    Order:   rank order 0, 1, ..., p-1, whatever the op, so floats are bit-identical on all ranks.
    Raises:  TypeError if op does not fit; CollectiveMismatchError if simulated ranks differ.
    """
    prepared_for, call = shared.plans.get("allreduce", _NOTHING)
    if prepared_for is not op:
        call = _in_place(shared, op)
        shared.plans["allreduce"] = op, call
    call()
    result: Array = shared.local
    return result


def _in_place(shared: SharedArray, op: Op) -> Callable[[], None]:
    """Return what reduces the arrays of all ranks into each, with all that can be prepared prepared."""
    comm, charge, sync = shared.comm, shared.charge, shared.sync
    reduce = reducer("shared_allreduce", comm, op, shared.local.dtype)
    alike = {"op": op_name(op), "shape": shared.local.shape, "dtype": shared.local.dtype}
    pieces = list(_own_pieces(shared))

    def call() -> None:
        sync()
        for total, others, all_others in pieces:
            for other in others:
                reduce(total, other, out=total)
            np.copyto(all_others, total)
            if charge:
                for rank in range(comm.size):
                    charge(rank, 2 * total.nbytes)
        sync()

    def announced_call() -> None:
        announce(comm, "shared_allreduce", **alike)
        with region(comm, "shared_allreduce"):
            call()

    return call if is_plain(comm) else announced_call


def _own_pieces(shared: SharedArray) -> Any:
    """Yield this rank's block of rank 0's array, and of those of the others, in pieces that fit into a cache.

    The others twice: one by one, and as one array, to which a result is written in one go.
    """
    p, rank = shared.comm.size, shared.comm.rank
    flats = shared.together.reshape(p, shared.local.size)
    bounds = block_bounds(shared.local.size, p)
    step = items_in(_IN_CACHE // p, flats.itemsize)
    for begin in range(bounds[rank], bounds[rank + 1], step):
        end = min(begin + step, bounds[rank + 1])
        others = flats[1:, begin:end]
        yield flats[0, begin:end], [*others], others


@algorithm("allreduce", checks=False, one_node=True)
def staged_allreduce(comm: Any, x: Array, op: Op = np.add, *, out: Array | None = None) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, which are on one node and copy x to shared memory.

        ranks.run(lambda comm: staged_allreduce(comm, np.array([comm.rank + 1])), 3, network="nvlink").results
        # [array([6]), array([6]), array([6])]

    Piece by piece, each rank copies its x into shared memory and reduces the pieces of all ranks. It reduces all of a
    small piece. With more than two ranks and a large piece, it reduces only its own block, and copies the blocks of the
    others.

    Cost:    the ranks synchronise once for each piece, and twice if each rank reduces a block of it. Reducing whole
             pieces takes (p-1) n (G + gamma), reducing blocks (p-1)/p n (2G + gamma). No bytes are sent.
    Order:   rank order 0, 1, ..., p-1, whatever the op, so floats are bit-identical on all ranks.
    Needs:   ranks on one node; ValueError if they share no memory.
    """
    call = prepared(comm, staged_allreduce, x, op)
    if call is not None:
        return call(x, out)
    flat = flat_input("staged_allreduce", x)
    reduce = reducer("staged_allreduce", comm, op, flat.dtype)
    result, whole = output("staged_allreduce", out, x.shape, flat.dtype)
    announce(comm, "staged_allreduce", op=op_name(op), shape=x.shape, dtype=x.dtype)
    if comm.size == 1:
        return finish(result, whole, flat)
    stage = kept(comm, StagingBuffer, lambda: StagingBuffer(comm, "staged_allreduce"))
    with region(comm, "staged_allreduce"):
        _in_pieces(stage, flat, whole, reduce)
    # On real MPI every microsecond counts, so arguments are checked only once.
    if flat.nbytes and type(op) is np.ufunc and is_plain(comm):
        make = _prepared_call if flat.nbytes <= stage.whole else _prepared_pieces
        prepare(comm, staged_allreduce, x, op, make(stage, x, op))
    return finish(result, whole, whole)


def _in_pieces(stage: StagingBuffer, flat: Array, whole: Array, op: Op) -> None:
    """Put the reduction of all ranks' `flat` into `whole`, piece by piece."""
    if flat.nbytes > stage.size and np.may_share_memory(flat, whole):
        flat = flat.copy()  # an earlier piece of the result might lie on a later one of x
    step = items_in(stage.size, flat.itemsize)
    for begin in range(0, flat.size, step):
        piece, target = flat[begin : begin + step], whole[begin : begin + step]
        if piece.nbytes <= stage.whole:
            stage.reduce_whole(piece, target, op)
        else:
            stage.reduce_blocks(piece, target, op)


def prepared(comm: Any, door: Any, x: Any, op: Any) -> PreparedCall | None:
    """Return call(x, out), which does the same as door(comm, x, op, out=out), if that was prepared for such an x.

    Its arguments were checked when it was prepared, except for `out`.
    """
    if type(x) is not np.ndarray or type(op) is not np.ufunc:
        return None
    calls: dict[Any, PreparedCall] = kept(comm, door, dict)
    return calls.get((type(comm), x.shape, x.dtype, op))


def prepare(comm: Any, door: Any, x: Array, op: Op, call: PreparedCall) -> None:
    """Let `prepared` find a call."""
    calls: dict[Any, PreparedCall] = kept(comm, door, dict)
    if len(calls) == _PREPARED:
        calls.clear()
    calls[type(comm), x.shape, x.dtype, op] = call


def _prepared_call(stage: StagingBuffer, x: Array, op: np.ufunc) -> PreparedCall:
    """Return what does for arrays like x what `stage.reduce_whole` does, with all that can be prepared prepared."""
    shape, dtype, rank, sync = x.shape, x.dtype, stage.rank, stage.shared.sync
    slots = [[slot.reshape(shape) for slot in stage.slots(x.size, dtype, turn)] for turn in (0, 1)]
    by_turn = [(turn[rank], turn[0], turn[1], turn[2:]) for turn in slots]

    def call(x: Array, out: Array | None) -> Array:
        if out is None:
            out = np.empty(shape, dtype)
        elif type(out) is not np.ndarray or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
            output("staged_allreduce", out, shape, dtype)  # says what is wrong
        elif not in_order(out):
            out[...] = call(x, None)
            return out
        stage.turn = turn = 1 - stage.turn
        own, first, second, more = by_turn[turn]
        own[...] = x
        sync()
        # As in `reduce_whole`: x itself, if it gives the same bits as its copy.
        if rank < 2 and in_order(x):
            first, second = (first, x) if rank else (x, second)
        op(first, second, out)
        for part in more:
            op(out, part, out)
        return out

    return call


def _prepared_pieces(stage: StagingBuffer, x: Array, op: np.ufunc) -> PreparedCall:
    """Return what does the same for arrays that every rank reduces in part, or that take more than a piece."""
    shape, dtype = x.shape, x.dtype

    def call(x: Array, out: Array | None) -> Array:
        result, whole = output("staged_allreduce", out, shape, dtype)
        _in_pieces(stage, flat_input("staged_allreduce", x), whole, op)
        return finish(result, whole, whole)

    return call


def _sync(comm: Any) -> Callable[[], None]:
    return kept(comm, StagingBuffer, lambda: StagingBuffer(comm, "flag_barrier")).shared.sync


@algorithm("barrier", prepare=_sync, one_node=True)
def flag_barrier(comm: Any) -> None:
    """Wait until all ranks of `comm`, which are on one node, have entered: each raises a flag and reads all others.

        ranks.run(flag_barrier, 3, network="nvlink").sends  # [2, 2, 2]

    Cost:    the ranks set p-1 flags, which takes max(2(p-1) o, L + p o). On real MPI a flag is a word of shared memory.
    Raises:  ValueError if ranks share no memory; CollectiveMismatchError if simulated ranks differ.
    """
    _sync(comm)()


# -- costs -----------------------------------------------------------------------------------------------------


@cost_of(flag_barrier)
def flag_barrier_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """One sync."""
    clocks = NodeClocks(machine)
    clocks.sync()
    return clocks.cost()


@cost_of(staged_allreduce)
def staged_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """A rank reads p-1 slots and reduces each, or reads its block of them and then all other blocks."""
    clocks, p, network = NodeClocks(machine), machine.p, machine.network
    read, step = clocks.link.transfer_ps, items_in(slot_size(p), itemsize)
    for begin in range(0, n_items if p > 1 else 0, step):
        n = min(step, n_items - begin)
        clocks.sync()
        if n * itemsize <= whole_size(p):
            clocks.now += (p - 1) * (read(n * itemsize) + network.reduce_ps(n * itemsize))
        else:
            sizes = itemsize * np.array(block_sizes(n, p))
            # No more than two sizes differ.
            reads, reductions = np.empty((2, p), np.int64)
            for size in {int(sizes[0]), int(sizes[-1])}:
                reads[sizes == size], reductions[sizes == size] = read(size), network.reduce_ps(size)
            clocks.now += (p - 1) * (reads + reductions)
            clocks.sync()
            clocks.now += reads.sum() - reads
    return clocks.cost()


def shared_allreduce_cost(machine: Machine, n_items: int, itemsize: int) -> Cost:
    """Return the cost of shared_allreduce: a rank reads its block of p-1 arrays, reduces it, and writes it back."""
    clocks, p, network = NodeClocks(machine), machine.p, machine.network
    step, passed = items_in(_IN_CACHE // p, itemsize), np.zeros(p, np.int64)
    for rank, block in enumerate(np.diff(block_bounds(n_items, p)).tolist()):
        for begin in range(0, block, step):
            n_bytes = min(step, block - begin) * itemsize
            passed[rank] += (p - 1) * (clocks.link.transfer_ps(2 * n_bytes) + network.reduce_ps(n_bytes))
    clocks.sync()
    clocks.now += passed
    clocks.sync()
    return clocks.cost()
