"""Devices with published numbers: what computes at which speed, and how much it holds."""

from __future__ import annotations

from dataclasses import dataclass

from parallel.arguments import refuse

GB = 10**9


@dataclass(frozen=True, slots=True)
class Device:
    """What a rank computes on.

    flops_per_s: The peak of matrix products. memory: Bytes. efficiency: The part of the peak that products reach.
    source:      Where the numbers come from.
    """

    name: str
    flops_per_s: float
    memory: float
    efficiency: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        if not (self.flops_per_s > 0 and self.memory > 0 and 0 < self.efficiency <= 1):
            got = f"flops_per_s={self.flops_per_s}, memory={self.memory}, efficiency={self.efficiency}"
            refuse(ValueError, "Device", got, "numbers above 0, efficiency up to 1", "correct them")

    def time_ps(self, flops: float) -> float:
        """Return how long products of so many FLOPs take."""
        return flops / (self.flops_per_s * self.efficiency) * 1e12


DEVICES = {
    device.name: device
    for device in (
        Device("a100", 312e12, 80 * GB, source="NVIDIA A100 80GB data sheet: bfloat16, dense"),
        Device("h100", 989e12, 80 * GB, source="NVIDIA H100 SXM data sheet: bfloat16, dense"),
        Device("toy", 1e12, 1 * GB, source="made up: with it, small models compute about as long as they send"),
    )
}


def device_named(device: Device | str) -> Device:
    """Return the device of this name, or the device itself."""
    if isinstance(device, Device):
        return device
    if device not in DEVICES:
        remedy = "take one of these names, or build Device(name, flops_per_s, memory)"
        refuse(ValueError, "device", repr(device), f"a Device or one of {', '.join(DEVICES)}", remedy)
    return DEVICES[device]
