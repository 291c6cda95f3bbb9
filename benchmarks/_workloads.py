"""The timed workloads: each function returns one finished table, its results checked on the way."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import cast

import numpy as np
from _measure import Variant, interleave
from _programs import barriers, expect, fan_in, ring, task_farm
from _report import HEADER, Table, missing_row, timing_row
from peers import (
    ALPHA_PS,
    BETA_PS_PER_BYTE,
    Array,
    Peer,
    bare_ring,
    check,
    check_time,
    mockmpi_ring,
    ring_input,
    simpy_ring,
    smpi_ring,
    threads_ring,
)

import ranks

PEERS = cast("list[Peer]", [bare_ring, simpy_ring, threads_ring, mockmpi_ring, smpi_ring])
# A process per rank: above this MockMPI measures the operating system's scheduler.
MOCKMPI_RANKS = 16

ALPHA_BETA = ranks.Network(
    name="pure alpha-beta",
    inter=ranks.Link(latency_ps=ALPHA_PS, fs_per_byte=1000 * BETA_PS_PER_BYTE),
    ports=False,
)
NETWORKS = {"ranks, no ports": ALPHA_BETA, "ranks, default network": None}
# Messages/s asked of ring and barrier without ports, and of anything with ports or wildcards.
ASKED_RING, ASKED_BARRIER, ASKED_STRICT = 0.8e6, 0.5e6, 0.45e6
MESSAGES_A_RUN = 50_000

Allreduce = Callable[[Array, int], tuple[float, Array]]


def ring_table(p: int, runs: int) -> Table:
    """Time the ring all-reduce of 4p float64: ours on both networks, and every peer."""
    peers = [peer for peer in PEERS if peer.NAME != mockmpi_ring.NAME or p <= MOCKMPI_RANKS]
    here = [peer for peer in peers if not peer.missing()]
    asked = [ASKED_RING, ASKED_STRICT] if p >= 64 else [0.0, 0.0]
    ours = [
        _ring_variant(name, p, _our_ring(name, network), rate)
        for (name, network), rate in zip(NETWORKS.items(), asked, strict=True)
    ]
    variants = ours + [_ring_variant(peer.NAME, p, peer.ring_allreduce) for peer in here]
    interleave(variants, runs)
    table = _table(f"Ring all-reduce of 4p float64, p = {p:,}", variants, p, ours)
    table.rows += [missing_row(x.NAME, p, x.missing(), len(table.header)) for x in peers if x.missing()]
    return table


def check_rings(p: int = 12) -> None:
    """Compare every variant's all-reduce with NumPy, untimed; raise RuntimeError at the first wrong one."""
    data = ring_input(p)
    rings = {name: _our_ring(name, network) for name, network in NETWORKS.items()}
    rings |= {peer.NAME: peer.ring_allreduce for peer in PEERS if not peer.missing()}
    for name, allreduce in rings.items():
        check(name, data, allreduce(data, 2)[1])


def barrier_table(sizes: Sequence[int], runs: int) -> Table:
    """Time dissemination barriers in a row, on both networks."""
    title = "Dissemination barriers in a row, p ranks"
    table = Table(title, HEADER)
    for p in sizes:
        messages = p * (p - 1).bit_length()
        count = max(1, MESSAGES_A_RUN // messages)
        variants = [
            _our_variant(name, barriers, p, messages * count, count, network=network, asked=asked)
            for (name, network), asked in zip(NETWORKS.items(), (ASKED_BARRIER, ASKED_STRICT), strict=True)
        ]
        interleave(variants, runs)
        table.rows += _table(title, variants, p).rows
    return table


def wildcard_tables(sizes: Sequence[int], runs: int) -> list[Table]:
    """Time two programs whose rank 0 receives from ANY_SOURCE: a fan-in, and a farm that answers each."""
    tables = []
    for title, program, per_round in (("Fan-in", fan_in, 1), ("Task farm", task_farm, 2)):
        table = Table(f"{title}: rank 0 receives from ANY_SOURCE", HEADER)
        for p in sizes:
            rounds = max(1, MESSAGES_A_RUN // (per_round * (p - 1)))
            messages = per_round * rounds * (p - 1)
            variants = [
                _our_variant(name, program, p, messages, rounds, network=network, asked=ASKED_STRICT)
                for name, network in NETWORKS.items()
            ]
            interleave(variants, runs)
            table.rows += _table(table.title, variants, p).rows
        tables.append(table)
    return tables


def _our_variant(
    name: str,
    program: Callable[[ranks.Comm, int], None],
    p: int,
    messages: int,
    count: int,
    *,
    network: ranks.Network | None,
    asked: float,
) -> Variant:
    def run() -> float:
        start = perf_counter()
        finished = ranks.run(program, p, count, network=network)
        seconds = perf_counter() - start
        expect(f"{name}, messages sent at p={p}", sum(finished.sends), messages)
        return seconds

    return Variant(name, messages, run, asked)


def _ring_variant(name: str, p: int, allreduce: Allreduce, asked: float = 0.0) -> Variant:
    data, messages = ring_input(p), 2 * p * (p - 1)
    calls = max(1, MESSAGES_A_RUN // messages)

    def run() -> float:
        seconds, results = allreduce(data, calls)
        check(name, data, results)
        return seconds

    return Variant(name, messages * calls, run, asked)


def _our_ring(name: str, network: ranks.Network | None) -> Allreduce:
    def allreduce(data: Array, calls: int) -> tuple[float, Array]:
        start = perf_counter()
        for _ in range(calls):
            finished = ranks.run(ring, len(data), data, network=network)
        seconds = perf_counter() - start
        if network is ALPHA_BETA:
            check_time(name, len(data), finished.time_ps)
        return seconds, np.stack(finished.results)

    return allreduce


def _table(title: str, variants: Sequence[Variant], p: int, ours: Sequence[Variant] = ()) -> Table:
    header = [*HEADER, *(f"{v.name.removeprefix('ranks, ')} / this" for v in ours)]
    return Table(title, header, [timing_row(v, p, ours) for v in variants])
