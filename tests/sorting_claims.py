"""What every distributed sort must do, as programs: the same claims run on simulated ranks and on real MPI."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

import sorting
from collectives import ring_allgather
from covering import covering

DTYPES = ["?", "i1", "u1", "u2", "i4", "u8", "i8", "f2", "f4", "f8", "g", ">f8", ">i4", "M8[s]", "m8[ns]"]
KINDS = ["random", "few values", "sorted", "reversed", "constant", "special"]
LAYOUTS = ["plain", "strided", "reversed", "read-only"]
SPREADS = ["equal", "empty", "all on the last", "all on the first", "uneven", "fewer than ranks"]
KEEP_SIZES: dict[str, Callable[..., Any]] = {
    "bitonic": sorting.bitonic_block_sort,
    "odd_even": sorting.odd_even_block_sort,
    "partition": sorting.partition_sort,
}
SORTS = {**KEEP_SIZES, "sample": sorting.sample_sort}


@dataclass(frozen=True)
class Case:
    """One call: how the blocks' sizes are spread around n, what is in them, and how they lie in memory."""

    n: int
    spread: str
    dtype: str
    kind: str
    layout: str = "plain"
    seed: int = 0


def block_sizes(case: Case, p: int) -> list[int]:
    """Return the ranks' numbers of elements."""
    rng = np.random.default_rng(case.seed)
    return {
        "equal": [case.n] * p,
        "empty": [0] * p,
        "all on the last": [0] * (p - 1) + [case.n],
        "all on the first": [case.n] + [0] * (p - 1),
        "uneven": rng.integers(0, case.n + 1, p).tolist(),
        "fewer than ranks": [int(rank % 3 == 1) for rank in range(p)],
    }[case.spread]


def values(case: Case, n: int) -> np.ndarray:
    """Return all ranks' elements, one after the other."""
    rng, dtype = np.random.default_rng([case.seed, 1]), np.dtype(case.dtype)
    most = 1 if dtype.kind == "b" else 3 if case.kind == "few values" else 100
    made = rng.integers(0, most + 1, n).astype("i8" if dtype.kind in "mM" else dtype).astype(dtype)
    if dtype.kind == "f" and case.kind != "few values":
        made = rng.standard_normal(n).astype(dtype)
    if case.kind == "special" and dtype.kind != "b":
        special: list[Any] = [np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0] if dtype.kind == "f" else ["NaT"]
        if dtype.kind in "iu":
            special = [np.iinfo(dtype).min, np.iinfo(dtype).max]
        made = np.where(rng.random(n) < 0.5, rng.choice(np.array(special, dtype), n), made).astype(dtype)
    if case.kind == "constant":
        made[...] = made[:1]
    if case.kind in ("sorted", "reversed"):
        made = np.sort(made)[:: 1 if case.kind == "sorted" else -1].copy()
    return made


@lru_cache(maxsize=4)  # one for all simulated ranks
def reference(case: Case, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return all ranks' elements, np.sort of them, and which are then negative; none if that is not claimed."""
    every = values(case, n)
    signs = np.signbit(sorting.bitonic_sort(every)) if every.dtype.kind == "f" and every.itemsize <= 8 else None
    return every, np.sort(every), signs


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """Return an array equal to x that lies in memory as `layout` says."""
    if layout == "strided":
        return np.repeat(x, 3)[::3]
    if layout == "reversed":
        return x[::-1].copy()[::-1]
    made = x.copy()
    made.flags.writeable = layout != "read-only"
    return made


def claim_sorted(comm: Any, case: Case, sort: Callable[..., Any], *, keeps_sizes: bool) -> None:
    """The results are np.sort of all blocks, in rank order, every bit there; sizes are as documented; x is kept."""
    sizes, rank = block_sizes(case, comm.size), comm.rank
    every, in_order, signs = reference(case, sum(sizes))
    first = sum(sizes[:rank])
    mine = every[first : first + sizes[rank]]
    x = laid_out(mine, case.layout)
    got = sort(comm, x)
    counts = ring_allgather(comm, np.array([got.size])).ravel().tolist()
    if keeps_sizes:
        assert counts == sizes, f"got sizes {counts}, expected {sizes}"
    else:
        assert max(counts) <= sorting.sample_bound(sizes), f"got sizes {counts}, expected {sorting.sample_bound(sizes)}"
    assert sum(counts) == sum(sizes)
    assert type(got) is np.ndarray
    assert got.dtype == every.dtype
    place = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    expected = in_order[place]
    assert np.array_equal(got, expected, equal_nan=got.dtype.kind in "fmM"), f"got {got}, expected {expected}"
    assert signs is None or np.array_equal(np.signbit(got), signs[place])
    assert x.tobytes() == mine.tobytes(), "the argument was changed"
    assert not np.shares_memory(got, x)
    assert got.flags.writeable


def claim_refused(comm: Any, sort: Callable[..., Any]) -> None:
    """Bad input on any rank is an error on every rank, with one text that says where; afterwards all still works."""
    who, odd, good = sort.__name__, comm.size - 1, np.arange(3.0)
    bad: dict[str, Any] = {
        "dtype object": np.array([None]),
        "dtype <U1": np.array(["a"]),
        "dtype complex128": np.array([1j]),
        "list": [1.0],
        "MaskedArray": np.ma.array([1.0], mask=[True]),
        "shape ()": np.array(1.0),
        "shape (2, 2)": np.zeros((2, 2)),
    }
    if comm.size > 1:
        bad |= {"float32": np.zeros(3, np.float32), ">f8": np.zeros(3, ">f8"), "int64": np.zeros(0, np.int64)}
    for text, x in bad.items():
        try:
            sort(comm, x if comm.rank == odd else good)
            raise AssertionError(f"{text} was accepted on rank {comm.rank}")
        except TypeError as error:
            said = str(error)
        others = [f"{rank}" for rank in range(odd)]
        rest = {0: "", 1: "float64 on rank 0; "}.get(odd, f"float64 on ranks {', '.join(others)}; ")
        if odd > 8:
            rest = f"float64 on ranks {', '.join(others[:8])} and {odd - 8} more; "
        assert f"{who}: got as x {rest}{text} on rank {odd}, expected one-dimensional" in said, said
        assert "remedy: x.ravel().astype(...)" in said
    got = sort(comm, np.array([comm.size - comm.rank]))
    assert got.tolist() == [comm.rank + 1] or sort is sorting.sample_sort


CLAIMS: dict[str, Callable[[Any, Case], None]] = {
    name: lambda comm, case, name=name, sort=sort: claim_sorted(comm, case, sort, keeps_sizes=name in KEEP_SIZES)
    for name, sort in SORTS.items()
}


def fixed_cases() -> Iterator[Case]:
    """Yield cases in which every two of spread, dtype, kind, layout and size meet, the same on every rank."""
    sizes = [1, 5, 64, 301]
    options = {"dtype": DTYPES, "kind": KINDS, "spread": SPREADS, "layout": LAYOUTS, "n": sizes}
    for turn, chosen in enumerate(covering(options)):
        yield Case(**chosen, seed=turn)
    yield Case(3000, "uneven", "f4", "special")
    yield Case(150_000, "equal", "f8", "random")  # beyond every eager limit
