"""What a communicator runs on: its network, the node of each of its ranks, and whether its sends are buffered."""

from __future__ import annotations

from typing import Any

from ranks.both.calibrate import calibrate
from ranks.both.kept import kept
from ranks.comm.communicator import Comm
from ranks.network.model import Network
from ranks.network.presets import network_named
from ranks.words.constants import behind, mpi_of

Placement = tuple[Network, tuple[int, ...], str]

# The networks that this process has calibrated as a communicator's rank 0, by the nodes of its ranks.
_calibrated: dict[tuple[int, ...], Network] = {}


def nodes_of(comm: Any) -> tuple[int, ...]:
    """Return the node of each rank of `comm`, the same on all its ranks; nodes count from 0 in the order of ranks.

        ranks.run(nodes_of, 3, network="ethernet").results[2]  # (0, 1, 2)

    On real MPI the first call is collective.
    """
    comm = behind(comm)
    return kept(comm, nodes_of, lambda: _simulated_nodes(comm) if isinstance(comm, Comm) else _real_nodes(comm))


def _simulated_nodes(comm: Comm) -> tuple[int, ...]:
    return _numbered([box.owner.node for box in comm._context.boxes])


def _real_nodes(comm: Any) -> tuple[int, ...]:
    node = comm.Split_type(mpi_of(comm).COMM_TYPE_SHARED)
    first = node.bcast(comm.rank)
    node.Free()
    return _numbered(comm.allgather(first))


def placement(comm: Any) -> Placement:
    """Return (network, node of each rank, buffering) of `comm`, the same on all its ranks; nodes count from 0.

        ranks.run(placement, 3, network="nvlink").results[0][1:]  # ((0, 0, 0), 'eager')

    Simulated: those of the run. On real MPI the first call is collective: nodes are asked for, and the network is
    calibrated by ping-pong, once for each set of nodes in the life of a process; what rank 0 has measured goes for all.
    """
    comm = behind(comm)
    return kept(comm, placement, lambda: _simulated(comm) if isinstance(comm, Comm) else _real(comm))


def _simulated(comm: Comm) -> Placement:
    return comm._transport.network, nodes_of(comm), comm._transport.buffering


def _real(comm: Any) -> Placement:
    nodes = nodes_of(comm)
    network: Network | None = comm.bcast(_calibrated.get(nodes))
    if network is None:
        network = calibrate(comm) if comm.size > 1 else network_named(None)
        if comm.rank == 0:
            _calibrated[nodes] = network
    return network, nodes, "eager"


def _numbered(nodes: list[int]) -> tuple[int, ...]:
    """Return the nodes numbered from 0 in the order in which they come."""
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(node, len(numbers)) for node in nodes)
