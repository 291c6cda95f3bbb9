"""Claims about what the experiment on bitonic sorting finds out about networks, and about its pictures of them."""

from __future__ import annotations

import io
from itertools import pairwise, product

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from experiments.lab.networks import failing_inputs, halves_left_unsorted, lone_failures, needed_by, without
from experiments.pictures import gif
from experiments.pictures.networks import flow, need_picture, split_picture
from ranks import look
from sorting import NETWORKS, ComparatorNetwork, bitonic, smallest_unsorted


def unsorted_inputs(network: ComparatorNetwork) -> list[tuple[int, ...]]:
    """Return the inputs of zeros and ones that come out unsorted, found one by one."""
    outputs = {bits: network.apply(np.array(bits)).tolist() for bits in product((0, 1), repeat=network.n)}
    return [bits for bits, out in outputs.items() if out != sorted(out)]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_comparator_is_needed_by_the_inputs_that_fail_without_it(name):
    network = NETWORKS[name](6)
    needed = needed_by(network)
    assert [pair for stage in network.stages for pair in stage] == [pair for _, pair in needed]
    for (stage, pair), count in needed.items():
        less = without(network, stage, pair)
        assert less.size == network.size - 1
        assert pair not in less.stages[stage]
        assert count == failing_inputs(less) == len(unsorted_inputs(less))


def test_no_comparator_of_a_power_of_two_is_idle_but_some_of_our_bitonic_networks_for_other_n_have_idle_ones():
    idle = {n: sum(count == 0 for count in needed_by(bitonic(n)).values()) for n in range(2, 11)}
    assert idle == {2: 0, 3: 0, 4: 0, 5: 1, 6: 2, 7: 0, 8: 0, 9: 5, 10: 5}


@pytest.mark.parametrize("k", range(1, 5))
def test_the_outermost_comparator_of_the_last_mirror_is_needed_by_one_input(k):
    n = 2**k
    stage = bitonic(n).depth - k
    assert failing_inputs(without(bitonic(n), stage, (0, n - 1))) == 1
    assert halves_left_unsorted(without(bitonic(n), stage, (0, n - 1))) == [(n // 2, 0)]


@pytest.mark.parametrize("n", [2, 4, 8])
def test_halves_left_unsorted_are_those_that_the_last_stages_do_not_merge(n):
    network, half = bitonic(n), n // 2
    stages = range(network.depth - half.bit_length(), network.depth)
    assert halves_left_unsorted(network) == []
    for stage in stages:
        for pair in network.stages[stage]:
            less = without(network, stage, pair)
            last = ComparatorNetwork(n, less.stages[stages.start :])
            wrong = set(unsorted_inputs(last))
            runs = product(range(half + 1), repeat=2)
            halves = {(a, b): (0,) * (half - a) + (1,) * a + (0,) * (half - b) + (1,) * b for a, b in runs}
            assert halves_left_unsorted(less) == [ones for ones, bits in halves.items() if bits in wrong]


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_each_unsorted_input_is_the_only_failure_of_some_network(n):
    found = lone_failures(n)
    assert set(found) == {bits for bits in product((0, 1), repeat=n) if list(bits) != sorted(bits)}
    assert len(found) == 2**n - n - 1
    for bits, pairs in found.items():
        network = ComparatorNetwork(n, [[pair] for pair in pairs])
        assert unsorted_inputs(network) == [bits]
        assert smallest_unsorted(network) == bits


# -- the pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_values_travel_from_their_wires_to_their_places(n):
    x = np.random.default_rng(n).permutation(n) + 1
    made = gif.gif(*flow(bitonic(n), x))
    assert len(made) < 400 * 1024
    picture = Image.open(io.BytesIO(made))
    first, last = (frame(picture, at) for at in (0, picture.n_frames - 1))
    assert picture.n_frames >= 1 + 7 * bitonic(n).depth
    assert (first == last).all() == (n == 1)


def test_a_film_has_the_colours_of_the_drawing():
    """Orange is rare in it, and means a lot."""
    picture = Image.open(io.BytesIO(gif.gif(*flow(bitonic(8), np.array([5, 2, 7, 1, 8, 3, 6, 4])))))
    seen = np.array(sorted(set().union(*(colours(picture, at) for at in range(picture.n_frames)))))
    for colour in (look.ACCENT, look.COLOURS[0], gif.GROUND):
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        assert np.abs(seen - wanted).max(axis=1).min() <= 3


def colours(picture: Image.Image, at: int) -> set[tuple[int, int, int]]:
    picture.seek(at)
    return {colour for _, colour in picture.convert("RGB").getcolors(2**16)}


def frame(picture: Image.Image, at: int) -> np.ndarray:
    picture.seek(at)
    return np.asarray(picture.convert("RGB")).astype(int)


def test_a_split_sequence_is_coloured_by_the_half_in_which_it_ends():
    before = np.array([1, 4, 7, 8, 6, 5, 3, 2])
    after = ComparatorNetwork(8, [[(i, i + 4) for i in range(4)]]).apply(before)
    for axes, values in zip(split_picture(before, after).axes, (before, after), strict=True):
        assert [bar.get_height() for bar in axes.patches] == list(values)
        colours = [look.COLOURS[0] if value in after[:4] else look.COLOURS[1] for value in values]
        assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == colours


def test_every_comparator_shows_how_many_inputs_need_it():
    network = bitonic(8)
    axes = need_picture(network, needed_by(network)).axes[0]
    assert sorted(int(text.get_text()) for text in axes.texts) == sorted(needed_by(network).values())
    joins = [tuple(line.get_ydata()) for line in axes.lines]
    assert sorted(joins) == sorted(pair for stage in network.stages for pair in stage)
    places = [line.get_xdata()[0] for line in axes.lines]
    assert all(a <= b for a, b in pairwise(places))
