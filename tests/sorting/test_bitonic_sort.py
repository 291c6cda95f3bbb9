"""bitonic_sort and its kin: the kernel is the network, comparator by comparator; the results are np.sort's."""

from __future__ import annotations

import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broken import sorting_wrong as wrong
from sorting import bitonic, bitonic_argsort, bitonic_sort, bitonic_sort_by_key, kernel

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", ">f8", ">i2", "M8[s]", "m8[ns]"]
LAYOUTS = ["plain", "strided", "fortran", "reversed", "read-only"]
OUTS = ["none", "fresh", "strided", "itself"]
KINDS = ["random", "few values", "sorted", "reversed", "constant", "organ pipe", "extremes"]


def values(dtype: str, n: int, kind: str, seed: int) -> np.ndarray:
    """Return n elements of any bit pattern: NaN of both signs and all payloads, NaT, zeros of both signs."""
    rng, kept = np.random.default_rng(seed), np.dtype(dtype)
    if kept.kind == "b":
        made = rng.integers(0, 2, n).astype(bool)
    elif kept.itemsize > 8:
        made = np.ldexp(rng.integers(-(2**63), 2**63, n).astype(kept), rng.integers(-16_500, 16_300, n))
        made[rng.random(n) < 0.3] = rng.choice(np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], kept))
        made += np.finfo(kept).eps * rng.integers(0, 2, n)
    else:
        made = rng.integers(0, 256, n * kept.itemsize, np.uint8).view(kept)
    if kind == "few values":
        made = rng.choice(made[:3], n) if n else made
    elif kind == "constant":
        made = np.repeat(made[:1], n)
    elif kind == "extremes":
        special = [0, 1] if kept.kind == "b" else [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0]
        if kept.kind in "iu":
            least, most = np.iinfo(kept).min, np.iinfo(kept).max
            special = [least, least + 1, most - 1, most, 0, 1]
        if kept.kind in "mM":
            special = [np.iinfo("i8").min, np.iinfo("i8").min + 1, np.iinfo("i8").max, 0, 1]
        made = rng.choice(np.array(special, "i8" if kept.kind in "mM" else kept), n).astype(kept)
    elif kind != "random":
        made = np.sort(made)
        turned = {"sorted": made, "reversed": made[::-1], "organ pipe": np.concatenate([made[::2], made[1::2][::-1]])}
        made = turned[kind].copy()
    return made


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """Return an array equal to x that lies in memory as `layout` says."""
    if layout == "strided":
        wide = np.zeros((*x.shape[:-1], 3 * x.shape[-1]), x.dtype)
        wide[..., ::3] = x
        return wide[..., ::3]
    if layout == "fortran":
        return np.array(x, order="F")
    if layout == "reversed":
        return x[::-1].copy()[::-1]
    made = x.copy()
    made.flags.writeable = layout != "read-only"
    return made


def same(got: Any, expected: np.ndarray) -> None:
    """Compare type, shape, dtype and values; NaN equals NaN."""
    assert type(got) is np.ndarray
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert np.array_equal(got, expected, equal_nan=got.dtype.kind in "fmM"), f"got {got}, expected {expected}"


def bits(x: np.ndarray) -> list[bytes]:
    """Return the elements' bytes, sorted: the same before and after if nothing was lost. Padding bytes aside."""
    used = 10 if x.itemsize == 16 else x.itemsize
    return sorted(bytes(item)[:used] for item in np.ascontiguousarray(x).reshape(-1, 1).view(np.uint8))


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles of 64 bytes to 1 KiB, so that small arrays take every path."""

    def shrink(tile_bytes: int, small: int = 4, least_columns: int = 8) -> None:
        monkeypatch.setattr(kernel, "TILE_BYTES", tile_bytes)
        monkeypatch.setattr(kernel, "SMALL", small)
        monkeypatch.setattr(kernel, "LEAST_COLUMNS", least_columns)

    return shrink


# -- proofs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 17))
def test_all_inputs_of_zeros_and_ones_are_sorted(n: int) -> None:
    """The rows lie side by side in one grid; with the next test this proves that path for these n."""
    inputs = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
    same(bitonic_sort(inputs), np.sort(inputs, axis=1))


def recorded(monkeypatch, rows: int, n: int) -> list[list[tuple[int, int]]]:
    """Return the comparators (where the smaller goes, where the larger goes) that the kernel works off, by row.

    Tokens that stand for the wires go through it, and its comparators leave them where they are. A complemented
    token says that its comparator points the other way.
    """
    filler = 2**60  # never data: what pads the rows of a grid
    comparators: list[list[tuple[int, int]]] = [[] for _ in range(rows)]
    merge = kernel._Grid.merge

    def record(low: Any, high: Any, out_low: Any, out_high: Any) -> None:
        for a, b in zip(low.ravel().tolist(), high.ravel().tolist(), strict=True):
            if filler in (a, b, ~a, ~b):
                assert {a, b} <= {filler, ~filler}, "padding is compared with data"
                continue
            assert (a < 0) == (b < 0), "one of the two is complemented"
            first, second = (a, b) if a >= 0 else (~b, ~a)
            assert first // n == second // n, "two rows are compared"
            comparators[first // n].append((first % n, second % n))
        out_low[...], out_high[...] = low, high

    def clean_merge(grid: Any, level: int) -> None:
        grid.whole(grid.here)[:, grid.columns :] = filler
        merge(grid, level)

    monkeypatch.setattr(kernel, "exchange", record)
    monkeypatch.setattr(kernel._Grid, "merge", clean_merge)
    tokens = np.arange(rows * n).reshape(rows, n)
    kernel.sort_rows(tokens)
    return [untangled(found, (tokens[row] % n).tolist()) for row, found in enumerate(comparators)]


def untangled(comparators: list[tuple[int, int]], ends: list[int]) -> list[tuple[int, int]]:
    """Return the same network with all comparators pointing downwards: wires are renamed behind those that do not.

    A wire is named after where it ends; ends[i] is the token there. The renamed wires must end in order too.
    Source: Knuth, The Art of Computer Programming 3, 5.3.4, exercise 16.
    """
    name = {token: place for place, token in enumerate(ends)}
    found = []
    for smaller, larger in comparators:
        if name[smaller] > name[larger]:
            name[smaller], name[larger] = name[larger], name[smaller]
        found.append((name[smaller], name[larger]))
    assert [name[token] for token in ends] == list(range(len(ends)))
    return found


def by_wire(comparators: list[tuple[int, int]], n: int) -> list[list[tuple[int, int]]]:
    """Return for each wire the comparators that touch it, in order: what makes two networks the same."""
    touching: list[list[tuple[int, int]]] = [[] for _ in range(n)]
    for i, j in comparators:
        touching[i].append((i, j))
        touching[j].append((i, j))
    return touching


@cache
def network_by_wire(n: int) -> list[list[tuple[int, int]]]:
    return by_wire([comparator for stage in bitonic(n).stages for comparator in stage], n)


@pytest.mark.parametrize("k", range(1, 10))
@pytest.mark.parametrize("tile_bytes", [2**7, 2**8, 2**9, 2**11, 2**22])
@pytest.mark.parametrize("rows", [1, 9])
def test_the_kernel_is_the_bitonic_network_comparator_by_comparator(k, tile_bytes, rows, small_tiles, monkeypatch):
    small_tiles(tile_bytes)
    n = 2**k
    for found in recorded(monkeypatch, rows, n):
        assert by_wire(found, n) == network_by_wire(n)


def test_the_kernel_at_its_true_sizes_does_as_many_comparators_as_the_formula_says(monkeypatch):
    """One row of 2^20, which is a tile, and of 2^21, which is two; padded rows of a grid are counted apart."""
    work = []

    def count(low: Any, high: Any, out_low: Any, out_high: Any) -> None:
        work.append(low.size)
        np.minimum(low, high, out=out_low)
        np.maximum(low, high, out=out_high)

    monkeypatch.setattr(kernel, "exchange", count)
    for k in (20, 21):
        work.clear()
        x = np.random.default_rng(k).integers(0, 2**31, 2**k, np.int32)
        same(bitonic_sort(x), np.sort(x))
        exact = 2**k * k * (k + 1) // 4
        assert exact <= sum(work) <= exact * 1.02
        assert len(work) >= k * (k + 1) // 2


# -- the same as NumPy -------------------------------------------------------------------------------------------

shapes = st.one_of(
    st.tuples(st.integers(0, 70)),
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 9)),
)


@given(
    shape=shapes, dtype=st.sampled_from(DTYPES), kind=st.sampled_from(KINDS), layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**32), axis=st.integers(-3, 2), descending=st.booleans(), tile=st.sampled_from([7, 9, 22]),
    out=st.sampled_from(OUTS),
)  # fmt: skip
def test_equals_numpy_for_every_dtype_shape_layout_and_axis(**drawn):
    claim_equals_numpy(**drawn)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_numpy_for_every_dtype_with_every_kind_of_values(dtype: str, kind: str) -> None:
    """Rows of a power of two and of others, in one tile and in several; all else takes turns."""
    for turn, n in enumerate((2, 3, 4, 7, 8, 13, 64, 65)):
        shape, axis = [((n,), 0), ((3, n), -1), ((n, 2), -2)][turn % 3]
        descending = bool((turn + KINDS.index(kind)) % 2)
        claim_equals_numpy(
            shape, dtype, kind, LAYOUTS[turn % 5], turn, axis, descending, [7, 9, 22][turn % 3], OUTS[turn % 4]
        )


def claim_equals_numpy(shape, dtype, kind, layout, seed, axis, descending, tile, out) -> None:
    """Sorting and sorting indirectly give what NumPy gives, every bit there; x is kept, and out is used."""
    axis = axis % len(shape) - (axis < 0) * len(shape)
    source = values(dtype, int(np.prod(shape)), kind, seed).reshape(shape)
    x = laid_out(source, layout)
    itself = out == "itself" and x.flags.writeable
    target = {"fresh": np.empty_like(source), "strided": laid_out(source, "strided")}.get(out)
    ascending = np.sort(source, axis=axis)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "TILE_BYTES", 2**tile)
        patch.setattr(kernel, "SMALL", 4)
        order = bitonic_argsort(x, axis=axis, descending=descending)
        got = bitonic_sort(x, axis=axis, descending=descending, out=x if itself else target)
    same(got, np.flip(ascending, axis) if descending else ascending)
    assert bits(got) == bits(source), "a value was lost or made up"
    if target is not None or itself:
        assert got is (x if itself else target)
    if not itself:
        assert bits(x) == bits(source)
        assert got is not x
    stable = np.argsort(source, axis=axis, kind="stable")
    if descending:  # stable too: reverse, sort, count from the other end
        back = np.argsort(np.flip(source, axis), axis=axis, kind="stable")
        stable = np.flip(source.shape[axis] - 1 - back, axis)
    same(order, stable)


@pytest.mark.parametrize("dtype", ["i4", "f4", "f8", "u8", "g"])
@pytest.mark.parametrize("n", [1000, 1024, 1025, 5000, 70_000])
def test_equals_numpy_at_true_sizes(dtype: str, n: int) -> None:
    x = values(dtype, n, "random", n)
    same(bitonic_sort(x), np.sort(x))
    same(bitonic_argsort(x), np.argsort(x, kind="stable"))
    many = values(dtype, 50 * 33, "few values", n).reshape(50, 33)
    same(bitonic_sort(many, axis=0), np.sort(many, axis=0))


def test_several_tiles_are_sorted_and_merged_at_true_size() -> None:
    x = values("f8", 2**20 + 1, "random", 0)  # tiles of 2^19, four of them
    same(bitonic_sort(x), np.sort(x))


def test_every_value_of_16_bits_sorts_into_its_place() -> None:
    for dtype in ("f2", "i2", "u2"):
        x = np.random.default_rng(0).permutation(2**16).astype(np.uint16).view(dtype)
        same(bitonic_sort(x), np.sort(x))
        assert bits(bitonic_sort(x)) == bits(x)


def test_zeros_keep_their_signs_and_negative_ones_come_first() -> None:
    for dtype in ("f2", "f4", "f8"):
        got = bitonic_sort(np.array([0.0, -0.0, 1.0, -0.0, 0.0, -1.0], dtype))
        assert np.signbit(got).tolist() == [True, True, True, False, False, False]


def test_values_follow_their_keys_and_equal_keys_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    keys, items = rng.integers(0, 9, (5, 300)), rng.permutation(1500).reshape(5, 300)
    for axis in (0, 1):
        order = np.argsort(keys, axis=axis, kind="stable")
        got_keys, got_items = bitonic_sort_by_key(keys, items, axis=axis)
        same(got_keys, np.take_along_axis(keys, order, axis))
        same(got_items, np.take_along_axis(items, order, axis))
    got_keys, names = bitonic_sort_by_key(np.array([2.0, np.nan, 1.0]), np.array(["b", "?", "a"]), descending=True)
    same(names, np.array(["?", "b", "a"]))


def test_the_ufunc_buffer_and_error_state_of_the_caller_stay() -> None:
    before = np.getbufsize(), np.geterr()
    bitonic_sort(np.arange(5000))
    assert (np.getbufsize(), np.geterr()) == before


@pytest.mark.parametrize(
    ("shape", "axis", "copies"),
    [((2**20,), 0, 0), ((2**21,), 0, 0), ((2**19 + 1,), 0, 2), ((2**10, 2**10), 1, 0), ((2**10, 2**10), 0, 2)],
)
def test_memory_is_the_result_the_tiles_and_the_copies_that_are_documented(shape, axis, copies) -> None:
    """copies: as many as x for another axis; one of the padded length, 2x here, for what is no power of two."""
    x = values("f4", int(np.prod(shape)), "random", 0).reshape(shape)
    bitonic_sort(x[:3], axis=axis)  # what is imported and cached on first use
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    bitonic_sort(x, axis=axis)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    tiles = 2 if x.shape[axis] * x.itemsize <= kernel.TILE_BYTES else 4
    assert peak <= x.nbytes * (1 + copies) + 1.05 * tiles * kernel.TILE_BYTES


def test_no_sort_of_numpys_is_used(monkeypatch) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise AssertionError("not the network")

    x = values("f8", 3000, "random", 1)
    expected, stable = np.sort(x), np.argsort(x, kind="stable")
    for name in ("sort", "argsort", "partition", "argpartition", "lexsort", "unique", "searchsorted", "median"):
        monkeypatch.setattr(np, name, refuse)
    got, order = bitonic_sort(x), bitonic_argsort(x)
    monkeypatch.undo()
    same(got, expected)
    same(order, stable)


# -- wrong calls -------------------------------------------------------------------------------------------------

WRONG = [
    ([3, 1], TypeError, "got x of type list, expected a numpy.ndarray; remedy: pass np.asarray(x)"),
    (np.ma.array([1.0], mask=[True]), TypeError, "MaskedArray, expected a numpy.ndarray; remedy: pass x.filled"),
    (np.array(["b", "a"]), TypeError, "got x with dtype <U1, expected booleans, integers, floats, dates or time spans"),
    (np.array([None]), TypeError, "got x with dtype object"),
    (np.array([1j]), TypeError, "got x with dtype complex128"),
    (np.zeros(2, "i4,i4"), TypeError, "got x with dtype [("),
    (np.array(1.0), ValueError, "got x of shape (), expected at least one axis to sort along; remedy: pass x.reshape"),
]


@pytest.mark.parametrize("call", [bitonic_sort, bitonic_argsort, lambda x: bitonic_sort_by_key(x, np.asarray(x))])
@pytest.mark.parametrize(("x", "kind", "text"), WRONG)
def test_what_cannot_be_sorted_is_refused(call, x, kind, text) -> None:
    with pytest.raises(kind) as caught:
        call(x)
    assert text in str(caught.value)


def test_wrong_arguments_say_who_got_what_expected_what_and_what_to_do() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for axis in (2, -3):
        with pytest.raises(np.exceptions.AxisError, match=f"bitonic_sort: got axis {axis}, expected -2 to 1; remedy"):
            bitonic_sort(x, axis=axis)
    for out, text in [
        (np.empty((3, 2)), "got out with shape (3, 2), dtype float64, writable, expected shape (2, 3), dtype float64"),
        (np.empty((2, 3), "f4"), "remedy: pass np.empty((2, 3), 'float64'), or x itself"),
        (np.broadcast_to(0.0, (2, 3)), "float64, read-only, expected"),
    ]:
        with pytest.raises(ValueError, match="bitonic_sort: got out with") as caught:
            bitonic_sort(x, out=out)
        assert text in str(caught.value)
    for out in ([0], np.ma.zeros((2, 3))):
        with pytest.raises(TypeError, match="bitonic_sort: got out of type"):
            bitonic_sort(x, out=out)
    with pytest.raises(TypeError, match="bitonic_sort_by_key: got values of type list"):
        bitonic_sort_by_key(x, [1])
    with pytest.raises(ValueError, match=r"got values of shape \(3,\), expected \(2, 3\).*remedy: np.broadcast_to"):
        bitonic_sort_by_key(x, np.zeros(3))
    for call in (bitonic_sort, bitonic_argsort, lambda x, axis: bitonic_sort_by_key(x, x, axis=axis)):
        for axis in (1.5, None, "0", (0, 1)):
            with pytest.raises(
                TypeError, match=r"bitonic_\w+: got axis .*, expected an integer from -2 to 1; remedy: .* "
            ):
                call(x, axis=axis)
    huge = np.broadcast_to(np.int8(0), 2**32 + 1)
    with pytest.raises(ValueError, match=r"got 4294967297 elements along axis 0, expected at most 2\^32"):
        bitonic_argsort(huge)


# -- a suite that cannot fail proves nothing -----------------------------------------------------------------------


@pytest.mark.parametrize("variant", wrong.SORTS, ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_wrong_sort_is_rejected(variant) -> None:
    def claims() -> None:
        for dtype in ("i8", "u8", "f8"):
            for n in (1, 5, 8, 12):
                for kind in KINDS:
                    for descending in (False, True):
                        source = values(dtype, n, kind, n)
                        x = source.copy()
                        expected = np.sort(source)
                        same(variant(x, descending=descending), expected[::-1] if descending else expected)
                        assert x.tobytes() == source.tobytes()

    with pytest.raises(AssertionError):
        claims()
