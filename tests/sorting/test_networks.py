"""Sorting networks as data: proved for every n by all inputs of zeros and ones, and as large as the papers say."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broken import sorting_wrong as wrong
from sorting import (
    NETWORKS,
    ComparatorNetwork,
    bitonic,
    odd_even_merge,
    odd_even_transposition,
    pairwise,
    smallest_unsorted,
    sorts,
)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", range(1, 21))
def test_every_network_sorts_every_input(name: str, n: int) -> None:
    assert smallest_unsorted(NETWORKS[name](n)) is None


@pytest.mark.parametrize("k", range(1, 8))
def test_larger_bitonic_networks_sort_since_their_last_stages_merge_all_sorted_halves(k: int) -> None:
    """With the network for half the wires, which is the start of both halves, this is a proof by induction."""
    n, half = 2**k, 2 ** (k - 1)
    network, smaller = bitonic(n), bitonic(half)
    for stage, part in zip(network.stages, smaller.stages, strict=False):
        assert sorted(stage) == sorted([*part, *((i + half, j + half) for i, j in part)])
    runs = np.arange(half)[:, None] >= np.arange(half + 1)  # column c: c zeros, then ones
    first, second = (np.array(runs)[:, column] for column in np.indices((half + 1, half + 1)).reshape(2, -1))
    merged = ComparatorNetwork(n, network.stages[smaller.depth :]).apply(np.concatenate([first, second]))
    assert (merged[:-1] <= merged[1:]).all()


@pytest.mark.parametrize("k", range(1, 12))
def test_depth_and_comparators_are_the_papers(k: int) -> None:
    n, merge = 2**k, (k * k - k + 4) * 2**k // 4 - 1
    assert (bitonic(n).depth, bitonic(n).size) == (k * (k + 1) // 2, n * k * (k + 1) // 4)
    assert (odd_even_merge(n).depth, odd_even_merge(n).size) == (k * (k + 1) // 2, merge)
    assert (pairwise(n).depth, pairwise(n).size) == (k * (k + 1) // 2, merge)


def test_the_counts_of_the_readme_and_of_odd_even_transposition() -> None:
    assert (bitonic(16).size, odd_even_merge(16).size) == (80, 63)
    assert (bitonic(1024).size, odd_even_merge(1024).size) == (28_160, 24_063)
    for n in range(1, 40):
        network = odd_even_transposition(n)
        assert (network.depth, network.size) == ({1: 0, 2: 1}.get(n, n), n * (n - 1) // 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_other_sizes_take_no_more_than_the_next_power_of_two(name: str) -> None:
    for n in range(1, 70):
        network, larger = NETWORKS[name](n), NETWORKS[name](1 << (n - 1).bit_length())
        assert network.size <= larger.size
        assert network.depth <= larger.depth
        assert all(network.stages), "an empty stage is no stage"


# -- the proof ---------------------------------------------------------------------------------------------------


def by_trying_all(network: ComparatorNetwork) -> tuple[int, ...] | None:
    """Return the first input of zeros and ones that comes out unsorted, found one by one in plain Python."""
    for bits in product((0, 1), repeat=network.n):
        x = list(bits)
        for stage in network.stages:
            for i, j in stage:
                x[i], x[j] = min(x[i], x[j]), max(x[i], x[j])
        if x != sorted(x):
            return bits
    return None


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 11])
def test_without_any_one_comparator_no_network_sorts_or_the_smallest_failure_is_found(name: str, n: int) -> None:
    whole = NETWORKS[name](n)
    for number, stage in enumerate(whole.stages):
        for comparator in stage:
            less = [*whole.stages]
            less[number] = tuple(c for c in stage if c != comparator)
            broken = ComparatorNetwork(n, less)
            found = smallest_unsorted(broken)
            if n < 8:
                assert found == by_trying_all(broken)
            if found is not None:
                assert list(broken.apply(np.array(found))) != sorted(found)


@pytest.mark.parametrize("make", wrong.NETWORKS, ids=lambda f: f.__name__)
def test_a_wrong_network_is_rejected_with_the_smallest_input_that_it_fails_on(make) -> None:
    failures = [(n, smallest_unsorted(make(n))) for n in range(1, 10)]
    assert failures == [(n, by_trying_all(make(n))) for n in range(1, 10)]
    assert any(found for _, found in failures)


@given(st.data())
def test_the_proof_agrees_with_trying_all_inputs_on_random_networks(data) -> None:
    n = data.draw(st.integers(1, 8))
    pairs = [(i, j) for j in range(n) for i in range(j)]
    stages = data.draw(st.lists(st.sampled_from(pairs).map(lambda pair: [pair]), max_size=30)) if pairs else []
    network = ComparatorNetwork(n, stages)
    assert smallest_unsorted(network) == by_trying_all(network)
    assert sorts(network) == (by_trying_all(network) is None)


def test_the_proof_refuses_what_would_not_end() -> None:
    with pytest.raises(ValueError, match=r"got a network of 27 wires, expected at most 26.*remedy: prove"):
        smallest_unsorted(bitonic(27))


# -- data through a network ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", ["?", "i8", "u1", "f2", "f8", "g", "M8[s]", "D", "U3"])
def test_a_network_sorts_columns_of_any_dtype_and_keeps_its_argument(name: str, dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 50, (21, 6)).astype(dtype)
    if x.dtype.kind in "fM":
        x[[3, 5, 6, 18], [0, 0, 1, 2]] = "NaT" if x.dtype.kind == "M" else np.nan
        x[7, 0] = x[8, 0]
    kept = x.copy()
    assert np.array_equal(NETWORKS[name](21).apply(x), np.sort(x, axis=0), equal_nan=x.dtype.kind in "fMD")
    assert np.array_equal(x, kept, equal_nan=x.dtype.kind in "fMD")


def test_a_network_keeps_the_sign_of_each_zero() -> None:
    x = np.array([0.0, -0.0, 1.0, -0.0])
    assert np.signbit(bitonic(4).apply(x)).sum() == 2


@pytest.mark.parametrize("stages", [[[(1, 0)]], [[(0, 0)]], [[(0, 3)]], [[(-1, 2)]], [[(0, 1), (1, 2)]]])
def test_what_is_no_network_is_refused(stages) -> None:
    with pytest.raises(ValueError, match=r"ComparatorNetwork: got .* in stage 0, expected pairs .*; remedy: "):
        ComparatorNetwork(3, stages)


@pytest.mark.parametrize("make", [*NETWORKS.values(), lambda n: ComparatorNetwork(n, [])])
@pytest.mark.parametrize("n", [0, -1, 2.0, True, "4", None])
def test_a_number_of_wires_is_checked(make, n) -> None:
    with pytest.raises(ValueError, match=r"got n=.*, expected a whole number of wires from 1 up; remedy: pass len"):
        make(n)


def test_data_of_another_length_is_refused() -> None:
    for x in (np.zeros(3), np.zeros((3, 4)), np.float64(1)):
        with pytest.raises(ValueError, match=r"expected a first axis of 4 wires; remedy: build the network for"):
            bitonic(4).apply(x)
