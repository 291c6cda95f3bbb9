"""Claims about `experiments/lab/provenance.py` and the pictures made of it: what is shown is what the ring does."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import ranks
from collectives import naive_allreduce, ring_allreduce
from experiments.lab import provenance
from experiments.lab.provenance import Passed, fewest_messages, held_in_ring, passed_in_ring, sent_shares
from experiments.pictures import gif
from experiments.pictures.loads import loads
from experiments.pictures.ring import MOVES, SIZE, _corner, _moved, _slot, animation, strip


@pytest.mark.parametrize("p", [1, 2, 3, 5, 8, 32])
def test_a_ring_passes_blocks_to_the_right_and_each_step_completes_one_more(p):
    steps = passed_in_ring(p)
    assert len(steps) == 2 * (p - 1)
    for number, step in enumerate(steps):
        assert [(message.source, message.dest) for message in step] == [((r - 1) % p, r) for r in range(p)]
        assert {len(message.contributors) for message in step} == {min(number + 1, p)}
        assert len({message.block for message in step}) == p
    whole = frozenset(range(p))
    complete = [[sum(block == whole for block in blocks) for blocks in held] for held in held_in_ring(p)]
    assert [set(counts) for counts in complete] == [
        {max(0, moment - (p - 2)) if p > 1 else 1} for moment in range(2 * p - 1)
    ]


def test_the_order_of_contributions_is_the_documented_one():
    for message in passed_in_ring(5)[3]:  # the last step of the reduce-scatter: block b lacks only rank b
        assert message.contributors == {0, 1, 2, 3, 4} - {message.block}
        assert message.dest == message.block


def test_a_contribution_that_is_counted_twice_or_missing_is_noticed(monkeypatch):
    def twice(comm, x, op):
        return op(ring_allreduce(comm, x, op), x)

    def missing(comm, x, op):
        return ring_allreduce(comm, x, op) & ~1 if comm.rank == 0 else ring_allreduce(comm, x, op)

    for wrong, text in ((twice, "counted twice"), (missing, "somebody is missing")):
        monkeypatch.setattr(provenance, "ring_allreduce", wrong)
        with pytest.raises(AssertionError, match=text):
            passed_in_ring(3)


def test_no_all_reduce_of_one_element_needs_fewer_messages_than_found_by_trying_all():
    assert [fewest_messages(p) for p in range(1, 5)] == [2 * (p - 1) for p in range(1, 5)]
    for p in (2, 3, 4):
        assert sum(ranks.run(lambda comm: naive_allreduce(comm, np.ones(1)), p).sends) == fewest_messages(p)


def test_shares_sent_are_those_of_the_formulas():
    assert sent_shares(ring_allreduce, 4, 8) == [1.5] * 4
    assert sent_shares(naive_allreduce, 4, 8) == [3, 1, 1, 1]


def test_in_motion_each_block_goes_from_its_sender_to_its_receiver():
    made = [animation(held_in_ring(3), passed_in_ring(3), encode) for encode in (gif.gif, gif.apng)]
    for data, kind in zip(made, ("GIF", "PNG"), strict=True):
        with Image.open(io.BytesIO(data)) as moving:
            assert (moving.format, moving.size, moving.n_frames) == (kind, SIZE, 4 * MOVES + 1)
    still = Image.new("RGB", SIZE)
    corner, sent = _corner(1, 2, 3), Image.new("RGB", _slot(3), "#123456")
    still.paste(sent, corner)
    arrived = _moved(still, [Passed(1, 2, 2, frozenset({1}))], 1, 3)
    assert arrived.getpixel(_corner(2, 2, 3)) == (0x12, 0x34, 0x56)


@pytest.mark.parametrize("p", [2, 3])
def test_loads_are_bars_by_rank(p):
    axes = loads({"ring": sent_shares(ring_allreduce, p, 6), "naive": sent_shares(naive_allreduce, p, 6)}, 1, "n").axes[
        0
    ]
    assert [bar.get_height() for bar in axes.patches] == [2 * (p - 1) / p] * p + [p - 1] + [1] * (p - 1)


@pytest.mark.parametrize("p", [2, 3])
def test_the_strip_shows_every_contribution_and_every_message(p):
    axes = strip(held_in_ring(p), passed_in_ring(p)).axes[0]
    words = [text.get_text() for text in axes.texts]
    shown = sum(len(block) for held in held_in_ring(p) for blocks in held for block in blocks)
    assert sum(word.isdecimal() for word in words) == shown
    assert sum(word.startswith("b") for word in words) == p * p + 2 * p * (p - 1)
