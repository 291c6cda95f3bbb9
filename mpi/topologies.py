"""Communicators whose ranks are laid out: in a grid, or as the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from mpi.common import KINDS, Shared
from mpi.constants import CART, DIST_GRAPH, GRAPH, PROC_NULL, UNDEFINED, WEIGHTS_EMPTY
from mpi.errors import ERR_ARG, ERR_DIMS, ERR_RANK, ERR_TOPOLOGY, WrongValueError, wrong
from mpi.neighbours import Topocomm
from mpi.object_collectives import allgather_objects
from mpi.simulated import c_int, whole


@dataclass(frozen=True, slots=True)
class Grid:
    """A Cartesian layout: its dimensions, and which of them are periodic."""

    dims: tuple[int, ...]
    periods: tuple[bool, ...]
    kind: int = CART

    def coords(self, rank: int) -> list[int]:
        """Return where a rank lies."""
        return [int(x) for x in np.unravel_index(rank, self.dims)] if self.dims else []

    def rank(self, coords: Sequence[int]) -> int | None:
        """Return the rank that lies somewhere, None outside of the grid."""
        found = 0
        for x, n, is_periodic in zip(coords, self.dims, self.periods, strict=True):
            if not 0 <= x < n and not is_periodic:
                return None
            found = found * n + x % n
        return found

    def shifted(self, rank: int, axis: int, by: int) -> int:
        """Return the rank that lies `by` steps along an axis, PROC_NULL outside of the grid."""
        coords = self.coords(rank)
        coords[axis] += by
        found = self.rank(coords)
        return PROC_NULL if found is None else found

    def edges(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the ranks that a rank receives from and sends to: down and up along each axis."""
        found = [self.shifted(rank, axis, by) for axis in range(len(self.dims)) for by in (-1, 1)]
        return found, list(found)

    def tags(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the tags of the edges: what goes up along an axis comes in from below."""
        n = 2 * len(self.dims)
        return list(range(n)), [edge ^ 1 for edge in range(n)]


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph that all ranks know: `index[r]` is where the neighbours of rank r end in `nodes`."""

    index: tuple[int, ...]
    nodes: tuple[int, ...]
    kind: int = GRAPH

    def neighbours(self, rank: int) -> list[int]:
        """Return the neighbours of a rank."""
        return list(self.nodes[self.index[rank - 1] if rank else 0 : self.index[rank]])

    def edges(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the ranks that a rank receives from and sends to."""
        return self.neighbours(rank), self.neighbours(rank)

    def tags(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the tags of the edges: several to one rank are told apart by their order."""
        n = len(self.neighbours(rank))
        return [0] * n, [0] * n


@dataclass(frozen=True, slots=True)
class Edges:
    """A rank's own edges in a graph: where they come from and go to, and their weights if they have some."""

    sources: tuple[int, ...]
    destinations: tuple[int, ...]
    weights: tuple[tuple[int, ...], tuple[int, ...]] | None
    kind: int = DIST_GRAPH

    def edges(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the ranks that a rank receives from and sends to."""
        return list(self.sources), list(self.destinations)

    def tags(self, rank: int) -> tuple[list[int], list[int]]:
        """Return the tags of the edges: several to one rank are told apart by their order."""
        return [0] * len(self.sources), [0] * len(self.destinations)


class Cartcomm(Topocomm):
    """A communicator whose ranks lie in a grid."""

    __slots__ = ()
    layout = CART

    @property
    def _grid(self) -> Grid:
        grid: Grid = self._object().topology
        return grid

    def Get_dim(self) -> int:
        """Return the number of dimensions."""
        return len(self._grid.dims)

    def Get_topo(self) -> tuple[list[int], list[int], list[int]]:
        """Return the dimensions, which of them are periodic, and where the calling rank lies."""
        grid = self._grid
        return list(grid.dims), [int(each) for each in grid.periods], grid.coords(self.Get_rank())

    dim = ndim = property(Get_dim)
    topo = property(Get_topo)
    dims = property(lambda self: self.Get_topo()[0])
    periods = property(lambda self: self.Get_topo()[1])
    coords = property(lambda self: self.Get_topo()[2])

    def Get_cart_rank(self, coords: Sequence[int]) -> int:
        """Return the rank that lies somewhere."""
        where, dims = [whole(x) for x in coords], self._grid.dims
        if len(where) != len(dims):
            raise wrong(WrongValueError, f"{len(where)} coordinates", f"{len(dims)}", "give one for each dimension")
        found = self._grid.rank(where)
        if found is None:
            raise wrong(ERR_ARG, f"coordinates {where}", f"a place in a grid of {list(self._grid.dims)}",
                        "skip it at the edge, or make the axis periodic")  # fmt: skip
        return found

    def Get_coords(self, rank: int) -> list[int]:
        """Return where a rank lies."""
        _check_rank(self, rank)
        return self._grid.coords(whole(rank))

    def Shift(self, direction: int, disp: int) -> tuple[int, int]:
        """Return the ranks from which and to which data is shifted along an axis; PROC_NULL at an edge."""
        axis, by = whole(direction), whole(disp)
        if not 0 <= axis < len(self._grid.dims):
            raise wrong(ERR_ARG, f"direction={axis}", f"0 to {len(self._grid.dims) - 1}", "choose an axis of the grid")
        me = self.Get_rank()
        return self._grid.shifted(me, axis, -by), self._grid.shifted(me, axis, by)

    def Sub(self, remain_dims: Sequence[bool]) -> Any:
        """Return the communicator of the ranks that differ in some of the dimensions only."""
        grid, keep = self._grid, [bool(each) for each in remain_dims]
        if len(keep) != len(grid.dims):
            raise wrong(
                WrongValueError, f"{len(keep)} dimensions", f"{len(grid.dims)}", "say of each whether it remains"
            )
        color = 0
        for x, n, kept in zip(grid.coords(self.Get_rank()), grid.dims, keep, strict=True):
            color = color if kept else color * n + x
        dims = tuple(n for n, kept in zip(grid.dims, keep, strict=True) if kept)
        periods = tuple(each for each, kept in zip(grid.periods, keep, strict=True) if kept)
        made = self._o.split("Sub", color, self.Get_rank())
        made.topology = Grid(dims, periods)
        return Cartcomm._of(made)


class Graphcomm(Topocomm):
    """A communicator whose ranks are the nodes of a graph that all know."""

    __slots__ = ()
    layout = GRAPH

    @property
    def _graph(self) -> Graph:
        graph: Graph = self._object().topology
        return graph

    def Get_dims(self) -> tuple[int, int]:
        """Return the numbers of nodes and of edges."""
        return len(self._graph.index), len(self._graph.nodes)

    def Get_topo(self) -> tuple[list[int], list[int]]:
        """Return where the neighbours of each rank end, and the neighbours of all ranks."""
        return list(self._graph.index), list(self._graph.nodes)

    dims = property(Get_dims)
    nnodes = property(lambda self: self.Get_dims()[0])
    nedges = property(lambda self: self.Get_dims()[1])
    topo = property(Get_topo)
    index = property(lambda self: self.Get_topo()[0])
    edges = property(lambda self: self.Get_topo()[1])

    def Get_neighbors_count(self, rank: int) -> int:
        """Return how many neighbours a rank has."""
        return len(self.Get_neighbors(rank))

    def Get_neighbors(self, rank: int) -> list[int]:
        """Return the neighbours of a rank."""
        _check_rank(self, rank)
        return self._graph.neighbours(whole(rank))

    nneighbors = property(lambda self: self.Get_neighbors_count(self.Get_rank()))
    neighbors = property(lambda self: self.Get_neighbors(self.Get_rank()))


class Distgraphcomm(Topocomm):
    """A communicator whose ranks are the nodes of a graph; each knows its own edges."""

    __slots__ = ()
    layout = DIST_GRAPH

    def Get_dist_neighbors_count(self) -> tuple[int, int, bool]:
        """Return how many edges come in and go out, and whether they have weights."""
        edges: Edges = self._object().topology
        return len(edges.sources), len(edges.destinations), edges.weights is not None

    def Get_dist_neighbors(self) -> tuple[list[int], list[int], tuple[list[int], list[int]] | None]:
        """Return where edges come from and go to, and their weights if they have some."""
        edges: Edges = self._object().topology
        weights = None if edges.weights is None else (list(edges.weights[0]), list(edges.weights[1]))
        return list(edges.sources), list(edges.destinations), weights


KINDS |= {CART: Cartcomm, GRAPH: Graphcomm, DIST_GRAPH: Distgraphcomm}


def _check_rank(comm: Any, rank: Any) -> None:
    if not 0 <= c_int(rank) < comm.Get_size():
        raise wrong(ERR_RANK, f"rank {rank}", f"0 to {comm.Get_size() - 1}", "take a rank of the communicator")


# -- making them -------------------------------------------------------------------------------------------------------


def create_cart(comm: Any, dims: Any, periods: Any) -> Any:
    """Return a communicator whose ranks lie in a grid, COMM_NULL for those that are too many."""
    sizes = tuple(whole(n) for n in dims)
    if periods is None or isinstance(periods, (bool, int)):
        periods = [bool(periods)] * len(sizes)
    flags = tuple(bool(each) for each in periods)
    if len(flags) != len(sizes):
        raise wrong(WrongValueError, f"{len(flags)} periods", f"{len(sizes)}", "say of each dimension")
    if any(n < 1 for n in sizes):
        raise wrong(ERR_DIMS, f"dims={list(sizes)}", "each 1 or more", "let Compute_dims choose them")
    if prod(sizes) > comm.Get_size():
        raise wrong(ERR_ARG, f"a grid of {prod(sizes)} ranks", f"at most {comm.Get_size()}", "let Compute_dims choose")
    return _laid_out(comm, Cartcomm, Grid(sizes, flags), "Create_cart", prod(sizes))


def create_graph(comm: Any, index: Any, edges: Any) -> Any:
    """Return a communicator whose ranks are the nodes of a graph that all know."""
    ends, nodes = tuple(whole(end) for end in index), tuple(whole(node) for node in edges)
    ends = ends[1:] if ends[:1] == (0,) and len(ends) > 1 else ends  # mpi4py takes the 0 of an adjacency array too
    n = len(ends)
    if n > comm.Get_size():
        raise wrong(ERR_ARG, f"a graph of {n} nodes", f"at most {comm.Get_size()}", "leave some out")
    if list(ends) != sorted(ends) or (n and ends[-1] > len(nodes)) or any(not 0 <= node < n for node in nodes):
        raise wrong(ERR_TOPOLOGY, f"index {list(ends)} and edges {list(nodes)}", "ends that grow, and nodes of it",
                    "correct them")  # fmt: skip
    return _laid_out(comm, Graphcomm, Graph(ends, nodes), "Create_graph", n)


def _laid_out(comm: Any, kind: Any, topology: Any, call: str, n: int) -> Any:
    made = comm._object().split(call, 0 if comm.Get_rank() < n else UNDEFINED, comm.Get_rank())
    if made is None:
        return kind()
    made.topology = topology
    return kind._of(made)


def create_dist_graph_adjacent(comm: Any, sources: Any, destinations: Any, into: Any, out_of: Any) -> Any:
    """Return a communicator whose ranks are the nodes of a graph; each gives its own edges."""
    come, go = _ranks(comm, sources), _ranks(comm, destinations)
    first, second = _weights(into, len(come)), _weights(out_of, len(go))
    weights = None if first is None or second is None else (first, second)
    return _dist_graph(comm, Edges(come, go, weights))


def create_dist_graph(comm: Any, sources: Any, degrees: Any, destinations: Any, weights: Any) -> Any:
    """Return a communicator whose ranks are the nodes of a graph; each gives any of its edges."""
    starts, ends = _ranks(comm, sources), _ranks(comm, destinations)
    counts = [whole(degrees)] * len(starts) if np.ndim(degrees) == 0 else [whole(degree) for degree in degrees]
    if len(counts) != len(starts) or sum(counts) != len(ends):
        raise wrong(WrongValueError, f"degrees {counts} of {len(starts)} sources and {len(ends)} destinations",
                    "a degree for each source, which add up", "correct them")  # fmt: skip
    heavy = _weights(weights, len(ends))
    bounds = [0, *accumulate(counts)]
    mine = [
        (start, ends[edge], heavy[edge] if heavy is not None else 1)
        for start, low, high in zip(starts, bounds, bounds[1:], strict=False)
        for edge in range(low, high)
    ]
    found = allgather_objects(comm._object().hidden, (mine, heavy is not None))
    known = [edge for edges, _ in found for edge in edges]
    me = comm.Get_rank()
    come, go = [edge for edge in known if edge[1] == me], [edge for edge in known if edge[0] == me]
    both = tuple(edge[2] for edge in come), tuple(edge[2] for edge in go)
    own = Edges(tuple(edge[0] for edge in come), tuple(edge[1] for edge in go), both if heavy is not None else None)
    return _dist_graph(comm, own)


def _dist_graph(comm: Any, edges: Edges) -> Any:
    made: Shared = comm._object().duplicate("Create_dist_graph")
    made.topology = edges
    return Distgraphcomm._of(made)


def _ranks(comm: Any, ranks: Any) -> tuple[int, ...]:
    found = tuple(whole(rank) for rank in (ranks if ranks is not None else ()))
    for rank in found:
        _check_rank(comm, rank)
    return found


def _weights(weights: Any, n: int) -> tuple[int, ...] | None:
    """Return the weights of n edges, None if they have none."""
    if weights is None or (isinstance(weights, int) and weights != WEIGHTS_EMPTY):
        return None
    found = () if isinstance(weights, int) else tuple(whole(weight) for weight in weights)
    if len(found) != n:
        raise wrong(WrongValueError, f"{len(found)} weights", f"{n}, one for each edge", "correct them")
    return found
