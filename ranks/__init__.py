"""Many MPI-like ranks in one process: deterministic, on a virtual clock, with hangs explained.

    import ranks

    def program(comm):  # runs unchanged on mpi4py.MPI.COMM_WORLD
        return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    ranks.run(program, 3).results  # [2, 0, 1]

MPI's datatypes are here under their MPI names: ranks.DOUBLE, ranks.BYTE, ...

The package has these rooms. Each imports only from those above it (tests/test_layers.py reads this table):

    words       constants, datatypes and errors, which all rooms use
    network     what messages cost
    engine      which rank runs, and its clock: time passes here
    messages    one message, from post to receipt: messages are matched here
    comm        the calls of a program
    draw        pictures and files for people
    observers   what watches a run, or breaks it
    hangs       why nothing moves: hangs are explained here
    world       puts the parts of a run together
    schedules   runs whose choices are made for them
    real        real MPI
    both        calls that are the same on simulated ranks and on real MPI
    endings     the exception for each way in which a run can end
    running     ranks.run
    exploration the result of exploring
    exploring   ranks.explore
"""

from ranks import real
from ranks.both.background import Started, start
from ranks.both.calibrate import calibrate
from ranks.both.flags import LostPeerError
from ranks.both.hidden import hidden
from ranks.both.kept import is_plain, kept, kept_by_handle
from ranks.both.nodes import nodes_of, placement
from ranks.both.shared import SharedArray, can_share_memory, shared_array
from ranks.comm.communicator import COMM_NULL, Comm, announce
from ranks.comm.matched import Message
from ranks.comm.requests import REQUEST_NULL, Prequest, Request
from ranks.comm.time import Wtime, reduction_clock, spend
from ranks.draw import look
from ranks.draw.events import Event
from ranks.exploration import Exploration, Outcome
from ranks.exploring import explore
from ranks.hangs.errors import DeadlockError, LivelockError, RankFailedError
from ranks.network.measured import MeasuredNetwork
from ranks.network.model import Link, Network
from ranks.network.presets import network_named, presets
from ranks.observers.faults import Crash, Delay, Drop, Duplicate, Fault, Partition, SlowLink, Straggler
from ranks.observers.trace import Trace, region
from ranks.real.checked import checked
from ranks.running import Run, run
from ranks.words.constants import (
    ANY_SOURCE,
    ANY_TAG,
    COMM_TYPE_SHARED,
    CONGRUENT,
    IDENT,
    IN_PLACE,
    PROC_NULL,
    ROOT,
    SIMILAR,
    TAG_UB,
    UNDEFINED,
    UNEQUAL,
    mpi_of,
)
from ranks.words.datatypes import DATATYPES, Datatype
from ranks.words.errors import (
    AbortError,
    CollectiveMismatchError,
    DatatypeMismatchError,
    DuplicateMessageError,
    InvalidBufferError,
    InvalidHandleError,
    InvalidRankError,
    InvalidStatusError,
    InvalidTagError,
    MessageLostError,
    NondeterminismError,
    ProgramWarning,
    RankExitError,
    RanksError,
    ReceiveBufferError,
    SendBufferChangedError,
    SharedStateError,
    TruncationError,
    UnfinishedRequestError,
    UnreceivedMessageError,
)
from ranks.words.extras import NotInstalledError
from ranks.words.group import Group
from ranks.words.status import Status

__version__ = "0.1.0"

__all__ = [
    "ANY_SOURCE", "ANY_TAG", "COMM_NULL", "COMM_TYPE_SHARED", "CONGRUENT", "IDENT", "IN_PLACE", "PROC_NULL",
    "REQUEST_NULL", "ROOT", "SIMILAR", "TAG_UB", "UNDEFINED", "UNEQUAL", "AbortError", "CollectiveMismatchError",
    "Comm", "Crash", "Datatype", "DatatypeMismatchError", "DeadlockError", "Delay", "Drop", "Duplicate",
    "DuplicateMessageError", "Event", "Exploration", "Fault", "Group", "InvalidBufferError", "InvalidHandleError",
    "InvalidRankError", "InvalidStatusError", "InvalidTagError", "Link", "LivelockError", "LostPeerError",
    "MeasuredNetwork", "Message", "MessageLostError", "Network", "NondeterminismError", "NotInstalledError",
    "Outcome", "Partition", "Prequest", "ProgramWarning", "RankExitError", "RankFailedError", "RanksError",
    "ReceiveBufferError", "Request", "Run", "SendBufferChangedError", "SharedArray", "SharedStateError", "SlowLink",
    "Started", "Status", "Straggler", "Trace", "TruncationError", "UnfinishedRequestError",
    "UnreceivedMessageError", "Wtime", "announce", "calibrate", "can_share_memory", "checked", "explore", "hidden",
    "is_plain", "kept", "kept_by_handle", "look", "mpi_of", "network_named", "nodes_of", "placement", "presets",
    "real", "reduction_clock", "region", "run", "shared_array", "spend", "start",
]  # fmt: skip


def __getattr__(name: str) -> Datatype:
    if name in DATATYPES:
        return DATATYPES[name]
    raise AttributeError(f"module 'ranks' has no attribute {name!r}")
