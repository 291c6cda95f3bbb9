"""Ring all-reduce on SimGrid's SMPI: smpi_ring.c compiled on the fly, on a flat cluster of p hosts."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from peers import Array

NAME = "SMPI (C)"
TIMEOUT_S = 600

PLATFORM = """<?xml version='1.0'?>
<!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1">
  <cluster id="flat" prefix="h" suffix="" radical="0-{last}" speed="1Gf" bw="10GBps" lat="1us"/>
</platform>
"""

# SMPI at its fastest on a clock of α + nβ: no piecewise corrections of latency and bandwidth, no traffic of
# acknowledgements, real computation not timed and fed back, globals not copied per rank (none ever changes).
OPTIONS = [
    "-no-privatize",
    "--cfg=network/model:CM02",
    "--cfg=network/crosstraffic:0",
    "--cfg=smpi/simulate-computation:no",
    "--log=root.thres:error",
]


def missing() -> str:
    """Return "" if SMPI's compiler and runner are on the PATH, else how to install them."""
    found = shutil.which("smpicc") and shutil.which("smpirun")
    return "" if found else "apt-get install libsimgrid-dev gcc"


def ring_allreduce(data: Array, calls: int) -> tuple[float, Array]:
    """Return the seconds of `calls` simulated all-reduces of the rows of `data`, and the last one's results.

    The clock runs on rank 0 between two barriers: compiling and starting are left out.
    """
    p = len(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program, answer = folder / "smpi_ring", folder / "answer"
        platform, hosts = folder / "platform.xml", folder / "hosts"
        platform.write_text(PLATFORM.format(last=p - 1))
        hosts.write_text("".join(f"h{rank}\n" for rank in range(p)))
        _run(["smpicc", "-O2", str(Path(__file__).with_suffix(".c")), "-o", str(program)])
        launch = ["smpirun", "-np", str(p), "-platform", str(platform), "-hostfile", str(hosts), *OPTIONS]
        _run([*launch, str(program), str(calls), str(answer)])
        numbers = np.fromfile(answer)
    return float(numbers[0]), numbers[1:].reshape(data.shape)


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        output = done.stdout + done.stderr
        raise RuntimeError(f"{' '.join(argv)} ended with status {done.returncode}:\n{output}")
