"""Many MPI-like ranks in one process: deterministic, on a virtual clock, with hangs explained.

    import ranks

    def program(comm):  # runs unchanged on mpi4py.MPI.COMM_WORLD
        return comm.sendrecv(comm.rank, (comm.rank + 1) % comm.size)

    ranks.run(program, 3).results  # [2, 0, 1]

MPI's datatypes are here under their MPI names: ranks.DOUBLE, ranks.BYTE, ...
"""

from ranks.background import Started, start
from ranks.calibration import calibrate
from ranks.checking import checked
from ranks.clock import Wtime, reduction_clock, spend
from ranks.communicator import COMM_NULL, Comm, announce
from ranks.constants import (
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
from ranks.datatypes import DATATYPES, Datatype
from ranks.errors import (
    AbortError,
    CollectiveMismatchError,
    DatatypeMismatchError,
    DeadlockError,
    DuplicateMessageError,
    InvalidBufferError,
    InvalidHandleError,
    InvalidRankError,
    InvalidTagError,
    LivelockError,
    MessageLostError,
    NondeterminismError,
    RankFailedError,
    RanksError,
    SendBufferChangedError,
    TruncationError,
    UnfinishedRequestError,
    UnreceivedMessageError,
)
from ranks.exploring import Exploration, Outcome, explore
from ranks.faults import Crash, Delay, Drop, Duplicate, Fault, Partition, SlowLink, Straggler
from ranks.group import Group
from ranks.keeping import is_plain, kept, kept_by_handle
from ranks.measured import MeasuredNetwork
from ranks.network import Link, Network, network_named, presets
from ranks.places import nodes_of, placement
from ranks.request import REQUEST_NULL, Message, Prequest, Request
from ranks.running import Run, run
from ranks.shared import LostPeerError, SharedArray, can_share_memory, shared_array
from ranks.status import Status
from ranks.trace import Event, Trace, region

__all__ = [
    "ANY_SOURCE", "ANY_TAG", "COMM_NULL", "COMM_TYPE_SHARED", "CONGRUENT", "IDENT", "IN_PLACE", "PROC_NULL",
    "REQUEST_NULL", "ROOT", "SIMILAR", "TAG_UB", "UNDEFINED", "UNEQUAL", "AbortError", "CollectiveMismatchError",
    "Comm", "Crash", "Datatype", "DatatypeMismatchError", "DeadlockError", "Delay", "Drop", "Duplicate",
    "DuplicateMessageError", "Event", "Exploration", "Fault", "Group", "InvalidBufferError", "InvalidHandleError",
    "InvalidRankError", "InvalidTagError", "Link", "LivelockError", "LostPeerError", "MeasuredNetwork", "Message",
    "MessageLostError", "Network", "NondeterminismError", "Outcome", "Partition", "Prequest", "RankFailedError",
    "RanksError", "Request", "Run", "SendBufferChangedError", "SharedArray", "SlowLink", "Started", "Status",
    "Straggler", "Trace", "TruncationError", "UnfinishedRequestError", "UnreceivedMessageError", "Wtime",
    "announce", "calibrate", "can_share_memory", "checked", "explore", "is_plain", "kept", "kept_by_handle", "mpi_of",
    "network_named", "nodes_of", "placement", "presets", "reduction_clock", "region", "run", "shared_array", "spend",
    "start",
]  # fmt: skip


def __getattr__(name: str) -> Datatype:
    if name in DATATYPES:
        return DATATYPES[name]
    raise AttributeError(f"module 'ranks' has no attribute {name!r}")
