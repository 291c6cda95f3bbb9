"""What each algorithm costs for any prices, as the page "Which collective when?" works it out: exported from the model.

The time of a schedule is that of the slowest chain of messages in it. A chain of given messages takes so many times the
latency L and the overhead o, and beta and gamma times so many bytes; the time is the largest of some such sums. Which
sums there are, the catalogue's own cost functions tell: by how much a time grows when one price does. Algorithms that
cut arrays into segments have `segments` of their own.
"""

import json
import random
from collections.abc import Collection
from pathlib import Path
from typing import Any

from segments import FEW, Link, Links, Trees, chain_ps, double_tree_ps, ring_ps

import ranks
from collectives import CATALOGUE, Machine
from collectives.broadcast import SEGMENT_BYTES
from collectives.catalogue import Algorithm
from collectives.double_tree import families

OPERATIONS = ("allreduce", "broadcast", "reduce_scatter", "allgather", "alltoall")
BY_FORMULA = {"chain", "segmented_ring", "double_tree"}
RANKS = (2, 3, 4, 5, 6, 8, 12, 16, 24, 32)
PER_NODE = (1, 4, 8)
ITEMS, ITEM_BYTES = 960, 4  # all numbers of ranks, and all powers of two in the algorithms, divide this many items
UNIT_BYTES = ITEMS * ITEM_BYTES
# Inside of a node a message has half the latency, and its bytes take an eighth of the time.
LATENCY_PARTS, BETA_PARTS = 2, 8
FIRST = (  # L, o, beta and gamma to begin with
    (10**8 + 7, 10**7 + 9, 1009, 1013),
    (10**8 + 7, 10_007, 1_000_003, 100_003),
    (100_003, 10_009, 1_000_037, 10_007),
)
ENOUGH, MOST = 15, 60  # prices in succession whose time is known already, and prices in all
SIZES = 15  # of an array: powers of two of the unit
FOLDER = Path(__file__).parents[2] / "build" / "site-data"

Prices = tuple[int, int, int, int]
Sums = set[tuple[int, ...]]
Known = list[tuple[int, ...]] | None  # of an algorithm: its sums, or nothing where there is a formula


def machine(p: int, per_node: int, prices: Prices) -> Machine:
    """Return p ranks on a network with these prices, in picoseconds: a half of L, o, an eighth of beta, and gamma."""
    latency, overhead, beta, gamma = prices
    network = ranks.Network(
        name="page",
        inter=ranks.Link(LATENCY_PARTS * latency, 1000 * BETA_PARTS * beta),
        intra=ranks.Link(latency, 1000 * beta),
        overhead_ps=overhead,
        ranks_per_node=per_node,
        reduce_fs_per_byte=1000 * gamma,
    )
    return Machine.of(network, p, "infinite")


def time_ps(row: Algorithm, p: int, per_node: int, prices: Prices, units: int = 1) -> int:
    """Return the time by the catalogue's formula."""
    found = row.cost(machine(p, per_node, prices), units * ITEMS, ITEM_BYTES).expected_ps
    assert found is not None
    return found


def links(prices: Prices) -> tuple[Link, Link]:
    """Return latency and time of a byte between nodes, and inside of a node."""
    latency, _, beta, _ = prices
    return (LATENCY_PARTS * latency, BETA_PARTS * beta), (latency, beta)


def links_into(p: int, per_node: int, prices: Prices) -> Links:
    """Return latency and time of a byte on the way into each rank of a node, from the rank before."""
    far, near = links(prices)
    if per_node == 1:
        return [far]
    return [near] if p <= per_node else [far] + [near] * (per_node - 1)


def slowest_chain(row: Algorithm, p: int, per_node: int, prices: Prices, base_ps: int) -> tuple[int, ...]:
    """Return by how much the time grows when a price does, for each price: what is in the slowest chain."""
    raised = ((*prices[:place], prices[place] + 1, *prices[place + 1 :]) for place in range(len(prices)))
    return tuple(time_ps(row, p, per_node, more) - base_ps for more in raised)


def largest(sums: Collection[tuple[int, ...]], prices: Prices) -> int:
    """Return the time of the slowest of the chains."""
    return max((sum(map(int.__mul__, each, prices)) for each in sums), default=0)


def drawn(rng: random.Random) -> Prices:
    """Return prices as networks have them, for arrays of any size: bytes that count for nothing, or for everything."""
    overhead, beta = 10**8 * 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(3, 7)
    return 10**8, int(overhead), int(beta), int(beta * 10 ** rng.uniform(-2, 1.5))


def sums_of(row: Algorithm, p: int, per_node: int, rng: random.Random) -> Sums:
    """Return the chains that can be the slowest: those of given prices, and of prices drawn until nothing new comes."""
    found: Sums = set()
    known = 0
    waiting = list(reversed(FIRST))
    for _ in range(MOST):
        prices = waiting.pop() if waiting else drawn(rng)
        base_ps = time_ps(row, p, per_node, prices)
        known += 1
        if largest(found, prices) != base_ps:
            chain = slowest_chain(row, p, per_node, prices, base_ps)
            if largest({chain}, prices) == base_ps:
                found.add(chain)
            known = 0
        if known == ENOUGH:
            break
    return found


def rows_of(operation: str) -> dict[str, Algorithm]:
    """Return the algorithms that the page knows."""
    return {name: row for name, row in CATALOGUE[operation].items() if not row.one_node}


def trees_of(p: int) -> list[Trees]:
    """Return the parent and the children of each rank in both trees of a double tree."""
    return [[(family.parent, family.children) for family in families(rank, p)] for rank in range(p)]


def ranks_of(per_node: int) -> list[int]:
    """Return the numbers of ranks that fill their nodes, or have one only."""
    return [p for p in RANKS if p <= per_node or p % per_node == 0]


def table() -> dict[str, Any]:
    """Return what is known of each operation, number of ranks per node, number of ranks and algorithm."""
    rng = random.Random(0)
    return {
        operation: {
            str(per_node): {
                str(p): {
                    name: None if name in BY_FORMULA else sorted(sums_of(row, p, per_node, rng))
                    for name, row in rows_of(operation).items()
                }
                for p in ranks_of(per_node)
            }
            for per_node in PER_NODE
        }
        for operation in OPERATIONS
    }


def by_page(name: str, known: Known, p: int, per_node: int, prices: Prices, units: int) -> float:
    """Return the time that the page shows; which.js does the same."""
    latency, overhead, beta, gamma = prices
    if known is not None:
        return largest(known, (latency, overhead, units * beta, units * gamma))
    if name == "double_tree":
        return double_tree_ps(trees_of(p), units * ITEMS, ITEM_BYTES, (*links(prices), per_node), overhead, gamma)
    into, n_bytes = links_into(p, per_node, prices), units * UNIT_BYTES
    return chain_ps(p, n_bytes, into, overhead) if name == "chain" else ring_ps(p, n_bytes, into, overhead, gamma)


def agreement(known: dict[str, Any], draws: int) -> dict[str, Any]:
    """Return how far what the page knows agrees with the catalogue's formulas at drawn prices and sizes.

    exact: in which part of the draws all times are those of the formulas. lost: by which part the algorithm that the
    page names was slower than the fastest, in each of the draws.
    """
    rng = random.Random(1)
    exact, lost = 0, []
    for _ in range(draws):
        operation, per_node = rng.choice(OPERATIONS), rng.choice(PER_NODE)
        p, units, (latency, overhead, *per_byte) = rng.choice(ranks_of(per_node)), 2 ** rng.randrange(SIZES), drawn(rng)
        beta, gamma = (max(1, price // units) for price in per_byte)  # bytes count for as much as with one unit
        prices = latency, overhead, beta, gamma
        place = p, per_node, prices, units
        shown = {name: by_page(name, sums, *place) for name, sums in known[operation][str(per_node)][str(p)].items()}
        true = {name: time_ps(row, p, per_node, prices, units) for name, row in rows_of(operation).items()}
        exact += shown == true
        lost.append(true[min(shown, key=lambda name: shown[name])] / min(true.values()) - 1)
    return {"draws": draws, "exact": exact, "lost": lost}


def write() -> None:
    """Write what the page reads: a script, since a page that is a file may read no other file."""
    known = table()
    found = {"unit": UNIT_BYTES, "item": ITEM_BYTES, "segment": SEGMENT_BYTES, "few": FEW}
    found |= {"parts": [LATENCY_PARTS, BETA_PARTS], "trees": {p: trees_of(p) for p in RANKS}, "table": known}
    found["agreement"] = agreement(known, 200)
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = f"window.WHICH = {json.dumps(found, separators=(',', ':'))};\n"
    (FOLDER / "which-data.js").write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Enter the extension: what the page reads is made at each build."""
    write()
    return {"parallel_read_safe": True}
