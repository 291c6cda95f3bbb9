"""The ring in segments: a block goes on in parts, so that ranks reduce one part while others are on their way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from collectives.arrays import Array, block_bounds, block_sizes
from collectives.broadcast import SEGMENT_BYTES, segment_bounds
from collectives.kit import Op, Out, algorithm, cost_of, new_tag, scratch
from collectives.ring import ring_allreduce_cost, ring_bytes_sent
from loggp import Cost, Machine, Step, can_be_played, extended_cost, scheduled_cost

_TAG = new_tag()


@algorithm("allreduce", commutative=True, overlaps=True)
def segmented_ring_allreduce(
    comm: Any, x: Array, op: Op = np.add, *, out: Out = None, segment_bytes: int = SEGMENT_BYTES
) -> Array:
    """Return the elementwise `op` of `x` over all ranks of `comm`, by a ring whose blocks travel in segments.

    Cost:    each rank sends 2(p-1) messages for each of s = ceil(n/p / segment_bytes) segments, and as many bytes as
             in the ring. With many segments, a step takes the longer of sending a block and reducing it, not the sum.
    Order:   as ring_allreduce: block b in rank order b+1, b+2, ..., b, so op must be commutative.
    Source:  Patarasuk & Yuan, JPDC 69(2), 2009, in the segments of gloo's chunked ring.
    """
    p, rank = comm.size, comm.rank
    left, right = (rank - 1) % p, (rank + 1) % p
    blocks = segments_of_blocks(x.size, x.itemsize, p, segment_bytes)
    (spare,) = scratch(comm, 1, max(end - first for first, end in blocks[0]), x.dtype)
    sent = {}
    for number, (first, end) in enumerate(blocks[left]):
        sent[left, number] = comm.Isend(x[first:end], right, _TAG)
    for step in range(2 * p - 2):
        # In steps 0 ... p-2 block rank-2-s comes, reduced over s+1 ranks; after that it is complete.
        block = (rank - 2 - step) % p
        for number, (first, end) in enumerate(blocks[block]):
            part = out[first:end]
            if step < p - 1:
                came = spare[: end - first]
                comm.Recv(came, left, _TAG)
                op(came, x[first:end], out=part)
            else:
                sent.pop((block, number)).Wait()  # no wait: what comes contains it
                comm.Recv(part, left, _TAG)
            if step < 2 * p - 3:
                sent[block, number] = comm.Isend(part, right, _TAG)
    for request in sent.values():
        request.Wait()
    return out


def segments_of_blocks(n: int, itemsize: int, p: int, segment_bytes: int) -> list[list[tuple[int, int]]]:
    """Return (first, end) of the segments of each of p blocks of n elements, as many in each."""
    bounds = block_bounds(n, p)
    n_segments = len(segment_bounds(bounds[1], itemsize, segment_bytes))
    blocks = []
    for block in range(p):
        inner = block_bounds(bounds[block + 1] - bounds[block], n_segments)
        blocks.append([(bounds[block] + inner[s], bounds[block] + inner[s + 1]) for s in range(n_segments)])
    return blocks


def segmented_ring_at_best_ps(machine: Machine, n_items: int, itemsize: int) -> int:
    """Return the time that a segment of a block takes twice round the ring, or all segments through a port."""
    segments = segments_of_blocks(n_items // machine.p, itemsize, 1, SEGMENT_BYTES)[0]
    smallest, n_messages = itemsize * (n_items // machine.p // len(segments)), 2 * (machine.p - 1) * len(segments)
    return max(2 * machine.round_ps(smallest), machine.ring_port_ps(n_messages, smallest))


@cost_of(segmented_ring_allreduce, at_best_ps=segmented_ring_at_best_ps)
def segmented_ring_allreduce_cost(
    machine: Machine, n_items: int, itemsize: int, segment_bytes: int = SEGMENT_BYTES
) -> Cost:
    """Return the cost of `segmented_ring_allreduce` of n_items on each rank; of many ranks, by what a few take."""
    p = machine.p
    if p == 1:
        return Cost(0, [0], [0], 0, 0)
    largest = [itemsize * (end - first) for first, end in segment_bounds(-(-n_items // p), itemsize, segment_bytes)]
    if can_be_played(n_messages=2 * p * (p - 1) * len(largest)):
        blocks = segments_of_blocks(n_items, itemsize, p, segment_bytes)
        return _played(machine, [[(end - first) * itemsize for first, end in block] for block in blocks], None)
    alike, sends = machine.ranks_alike, [2 * (p - 1) * len(largest)] * p
    if 4 * alike > p:
        ring = ring_allreduce_cost(machine, n_items, itemsize)
        return Cost(ring.rounds, sends, ring.bytes_sent, None, None, ring.expected_ps)
    # Treat all blocks as if they were as large as the largest; then all ranks do the same.
    about = extended_cost(2 * alike, p, lambda few: _played(machine.first(few), [largest] * few, alike))
    bytes_sent = ring_bytes_sent(itemsize * np.array(block_sizes(n_items, p)), reduces=True, gathers=True)
    return replace(about, sends=sends, bytes_sent=bytes_sent)


def _played(machine: Machine, sizes: list[list[int]], alike: int | None) -> Cost:
    """Return the cost of a ring of blocks whose segments have these bytes."""
    p = machine.p

    def steps(rank: int) -> Iterator[Step]:
        left, right = (rank - 1) % p, (rank + 1) % p
        for size in sizes[left]:
            yield Step(right, size, None, waits=False)
        for step in range(2 * p - 2):
            for size in sizes[(rank - 2 - step) % p]:
                yield Step(None, 0, left, size if step < p - 1 else 0)
                if step < 2 * p - 3:
                    yield Step(right, size, None, waits=False)

    return scheduled_cost(machine, steps, alike)
