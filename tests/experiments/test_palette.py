"""Claims about colours: an algorithm has one in all pictures, and no two of one operation share it."""

import pytest

from collectives.catalogue import CATALOGUE
from experiments.bitonic_sort import BLOCK_SORTS
from experiments.pictures.curves import curves, tick
from experiments.pictures.palette import styles
from experiments.ulysses import NAMES

OPERATIONS = {**CATALOGUE, "sort": BLOCK_SORTS, "attention": NAMES}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_two_algorithms_of_an_operation_look_alike_and_each_looks_the_same_everywhere(operation):
    names = list(OPERATIONS[operation])
    made = styles(names)
    assert list(made) == names
    for part in (0, 1):
        assert len({style[part] for style in made.values()}) == len(names)
    for name in names:
        assert styles([name])[name] == styles(["another", name])[name] == made[name]
        assert styles([f"{name}_{operation}"])[f"{name}_{operation}"] == made[name]


def test_what_is_no_algorithm_gets_the_colours_that_are_left():
    made = styles(["ring", "np.sort", "pairs"])
    assert len({colour for colour, _ in made.values()}) == 3
    assert len(styles(map(str, range(30)))) == 30


@pytest.mark.parametrize(
    ("text", "short"),
    [("1.000 µs", "1 µs"), ("1.500 ms", "1.5 ms"), ("20.00 s", "20 s"), ("10 GiB", "10 GiB"), ("0", "0")],
)
def test_ticks_are_short(text, short):
    assert tick(text) == short


@pytest.mark.parametrize("high", [1.4, 3, 30, 3000])
def test_a_scale_of_any_length_can_be_read(high):
    points = {"ring": [(1, 1.0), (2, high)]}
    axes = curves("", "", {}, points, "{:g}".format, "{:g}".format).axes[0]
    low, high = axes.get_ylim()
    assert len([y for y in axes.get_yticks() if low <= y <= high]) >= 3
