"""Claims about `experiments/lab/knowledge.py` and its picture: who knows of whom in a barrier."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

import ranks
from collectives import CATALOGUE, butterfly_barrier, dissemination_barrier
from experiments.dissemination_barrier import entered_late
from experiments.lab.knowledge import half_butterfly, known_after_receives, wait_after_the_last_ps
from experiments.pictures.knowledge import spreading

BARRIERS = [row.function for row in CATALOGUE["barrier"].values() if not row.one_node]
INFINIBAND = ranks.presets["infiniband"]


@pytest.mark.parametrize("p", [1, 2, 3, 6, 8, 13])
def test_in_a_dissemination_each_receive_doubles_what_is_known(p):
    for receives, known in enumerate(known_after_receives(dissemination_barrier, p)):
        for rank in range(p):
            others = {(rank - back) % p for back in range(2**receives)}
            assert set(np.flatnonzero(known[rank])) == others


@pytest.mark.parametrize("p", [1, 2, 3, 6, 8, 13])
@pytest.mark.parametrize("barrier", BARRIERS, ids=lambda barrier: barrier.__name__)
def test_at_the_end_of_a_barrier_everybody_knows_of_everybody(barrier, p):
    assert known_after_receives(barrier, p)[-1].all()


@pytest.mark.parametrize("p", range(1, 17))
def test_half_a_butterfly_lacks_what_vector_clocks_say_it_lacks(p):
    known = known_after_receives(half_butterfly, p)[-1]
    early = entered_late(half_butterfly, p, INFINIBAND).left_before_entered("barrier")
    assert {(int(other), int(rank)) for rank, other in np.argwhere(~known)} == set(early)
    assert bool(early) == (p & (p - 1) != 0)
    assert ranks.explore(half_butterfly, p).verdict == "holds"


def test_the_wait_after_the_last_is_the_rounds_wherever_the_late_rank_is():
    for p in (2, 5, 8):
        rounds = (p - 1).bit_length()
        waits = {wait_after_the_last_ps(dissemination_barrier, p, late, INFINIBAND) for late in range(p)}
        assert waits == {rounds * 2_700_000}


def test_the_picture_shows_each_pair_once_it_is_known():
    known = known_after_receives(butterfly_barrier, 4)
    figure = spreading({"four": known})
    assert len(figure.axes) == len(known)
    shown = Counter(text.get_text() for text in figure.axes[1].texts)
    assert sum(shown.values()) == 4 + known[1].sum()  # a number for each line too
