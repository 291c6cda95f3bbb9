"""`-m mpi4py.bench helloworld` or `ringtest`: whether ranks start, and how long a message takes round all of them."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from mpi import MPI


def helloworld(comm: MPI.Intracomm, options: Namespace) -> None:
    """Let each rank print a line, in the order of the ranks."""
    line = f"Hello, World! I am process {comm.rank} of {comm.size} on {MPI.Get_processor_name()}."
    lines = comm.gather(line)
    if lines and not options.quiet:
        print(*lines, sep="\n", flush=True)


def ringtest(comm: MPI.Intracomm, options: Namespace) -> None:
    """Send a message round all ranks, and print how long that takes."""
    left, right = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    message, began_s = bytearray(options.size), 0.0
    for turn in range(-options.skip, options.loop):
        if turn == 0:
            comm.Barrier()
            began_s = MPI.Wtime()
        if comm.size == 1:
            comm.Sendrecv_replace(message, right, source=left)
        elif comm.rank == 0:
            comm.Send(message, right)
            comm.Recv(message, left)
        else:
            comm.Recv(message, left)
            comm.Send(message, right)
    if comm.rank == 0 and not options.quiet:
        time_s = MPI.Wtime() - began_s
        print(f"time for {options.loop} loops = {time_s:g} seconds ({comm.size} processes, {options.size} bytes)")


def _options() -> Any:
    """Return the options of the command, or the status with which reading them has ended."""
    parser = ArgumentParser(prog="mpi4py.bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="helloworld or ringtest")
    for function in (helloworld, ringtest):
        command = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function.__name__)
        command.add_argument("-q", "--quiet", action="store_true", help="print nothing")
    for flag, name, default, text in (
        ("-n", "--size", 1, "bytes of the message"), ("-l", "--loop", 1, "how often it goes round"),
        ("-s", "--skip", 0, "how often it goes round before the time is taken"),
    ):  # fmt: skip
        command.add_argument(flag, name, type=int, default=default, help=f"{text} (default {default})")
    try:
        return parser.parse_args()
    except SystemExit as end:
        return end.code


def main() -> None:
    """Run the command that `sys.argv` names; rank 0 reads it for all."""
    comm = MPI.COMM_WORLD
    options = comm.bcast(_options() if comm.rank == 0 else None)
    if not isinstance(options, Namespace):
        sys.exit(options)
    {"helloworld": helloworld, "ringtest": ringtest}[options.run](comm, options)


if __name__ == "__main__":
    main()
