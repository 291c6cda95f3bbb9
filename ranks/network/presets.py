"""Networks with published numbers. Where each figure comes from:

| figure | value | source |
|---|---|---|
| L + 2o of NVLink | 1.9 µs | NCCL's model (src/graph/tuning.cc): latency of a hop, protocol LL128 |
| L + 2o of PCIe 3 | 1.0 µs | the same, protocol LL |
| L + 2o of InfiniBand | 2.7 µs | the same, protocol LL, for every speed of the network |
| 1/G of NVLink | 370 GB/s (H100), 240 GB/s (A100) | the same: 18 links of 20.6 GB/s, 12 links of 20 GB/s |
| 1/G of PCIe 3 x16 | 12 GB/s | the same |
| 1/G of 100 Gb/s InfiniBand | 12 GB/s | the same, for one port of 12.5 GB/s |
| 1/G of 400 Gb/s InfiniBand | 48 GB/s | four times that: NVIDIA gives a DGX H100 one such port a GPU |
| L + 2o of Ethernet | 20 µs | TCP end to end; Hurwitz & Feng, Hot Interconnects 2003 |
| 1/G of Ethernet | 1.25 GB/s | 10 Gb/s at line rate |
| gamma | 1.5 ps a byte | assumed: a GPU's memory of 2 TB/s reads two and writes one |
| o | 0.2 µs, Ethernet 1 µs | assumed: NCCL has latencies only, so L is what remains of them |
| eager limit | 64 KiB | assumed; MPIs have their own |
"""

from __future__ import annotations

from ranks.network.model import Link, Network


def _microseconds(us: float) -> int:
    return round(us * 1_000_000)


_NCCL = "NCCL src/graph/tuning.cc"
_O_US = 0.2
_H100 = Link.of(1.9e-6 - 2 * _O_US * 1e-6, 370e9)
_A100 = Link.of(1.9e-6 - 2 * _O_US * 1e-6, 240e9)
_PCIE = Link.of(1.0e-6 - 2 * _O_US * 1e-6, 12e9)
_IB100 = Link.of(2.7e-6 - 2 * _O_US * 1e-6, 12e9)
_IB400 = Link.of(2.7e-6 - 2 * _O_US * 1e-6, 48e9)
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
        source="10 Gb/s Ethernet at line rate, TCP in 20 µs end to end; Hurwitz & Feng, Hot Interconnects 2003",
    ),
    Network(
        name="dgx-h100",
        inter=_IB400,
        intra=_H100,
        ranks_per_node=8,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"nodes of 8 on NVLink, one 400 Gb/s port a rank between; {_NCCL}, NVIDIA's data sheet",
    ),
    Network(
        name="h100-100g",
        inter=_IB100,
        intra=_H100,
        ranks_per_node=8,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"nodes of 8 on NVLink, one port a rank between, a quarter as fast as a DGX H100's; {_NCCL}",
    ),
    Network(
        name="dgx-a100-shared",
        inter=_IB100,
        intra=_A100,
        ranks_per_node=8,
        shared_node_port=True,
        overhead_ps=_microseconds(_O_US),
        reduce_fs_per_byte=_GAMMA_FS,
        source=f"nodes of 8 on NVLink, one 100 Gb/s port for all of a node (a DGX A100 has eight of 200); {_NCCL}",
    ),
    Network(
        name="alpha-beta",
        inter=Link.of(1e-6, 10e9),
        ports=False,
        source="the textbook's model: 1 µs + n / (10 GB/s), no ports, no overhead",
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
