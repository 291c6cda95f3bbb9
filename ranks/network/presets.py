"""Networks with published numbers."""

from __future__ import annotations

from ranks.network.model import Link, Network


def _microseconds(us: float) -> int:
    return round(us * 1_000_000)


# Latencies and bandwidths of NCCL's own model (src/graph/tuning.cc): hop latency of the LL128 protocol for
# NVLink, of LL for PCIe and the network. alpha = L + 2o, so L below is that figure less 2o.
_NCCL = "NCCL src/graph/tuning.cc"
_O_US = 0.2
_H100 = Link.of(1.9e-6 - 2 * _O_US * 1e-6, 370e9)
_A100 = Link.of(1.9e-6 - 2 * _O_US * 1e-6, 240e9)
_PCIE = Link.of(1.0e-6 - 2 * _O_US * 1e-6, 12e9)
_IB100 = Link.of(2.7e-6 - 2 * _O_US * 1e-6, 12e9)
# A GPU reduces as fast as its memory reads two and writes one: about 2 TB/s over 3 transfers.
_GAMMA_FS = 1500

_ALL = (
    Network(
        name="infiniband",
        inter=_IB100,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"100 Gb/s InfiniBand, one rank a node; {_NCCL}",
    ),
    Network(
        name="nvlink",
        inter=_H100,
        ranks_per_node=8,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"H100 NVLink, 18 links of 20.6 GB/s; {_NCCL}",
    ),
    Network(
        name="pcie",
        inter=_PCIE,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"PCIe 3 x16; {_NCCL}",
    ),
    Network(
        name="ethernet",
        inter=Link.of(20e-6 - 2e-6, 1.25e9),
        overhead_ps=_microseconds(1.0),
        reduce_fs_per_byte=_GAMMA_FS,
        source="10 Gb/s Ethernet at line rate, TCP in 20 us end to end; Hurwitz & Feng, Hot Interconnects 2003",
    ),
    Network(
        name="dgx-h100",
        inter=_IB100,
        intra=_H100,
        ranks_per_node=8,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"nodes of 8 on NVLink, one 100 Gb/s port a rank between; {_NCCL}",
    ),
    Network(
        name="dgx-a100-shared",
        inter=_IB100,
        intra=_A100,
        ranks_per_node=8,
        shared_node_port=True,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"nodes of 8 on NVLink, one 100 Gb/s port for all of a node; {_NCCL}",
    ),
    Network(
        name="alpha-beta",
        inter=Link.of(1e-6, 10e9),
        ports=False,
        source="the textbook's model: 1 us + n / (10 GB/s), no ports, no overhead",
    ),
)
presets: dict[str, Network] = {network.name: network for network in _ALL}
DEFAULT = "infiniband"


def network_named(network: Network | str | None) -> Network:
    """Return the preset of this name, the default for None, or the network itself."""
    if isinstance(network, Network):
        return network
    name = DEFAULT if network is None else network
    if name not in presets:
        raise ValueError(
            f"network: got {name!r}, expected a ranks.Network or one of {', '.join(presets)}; "
            f"remedy: take one of these names or build ranks.Network(name=..., inter=ranks.Link(...))"
        )
    return presets[name]
