"""The names of mpi4py.MPI, for simulated ranks; `mpi/left_out.py` lists what is not simulated."""

from __future__ import annotations

from mpi import datatypes as _datatypes
from mpi import errors as _errors
from mpi.communicator import COMM_NULL, Comm
from mpi.constants import *  # noqa: F403  # the numbers of MPI
from mpi.constants import BottomType, BufferAutomaticType, InPlaceType
from mpi.datatypes import Datatype
from mpi.dims import Compute_dims
from mpi.environment import (
    Add_error_class,
    Add_error_code,
    Add_error_string,
    Aint_add,
    Aint_diff,
    Alloc_mem,
    Attach_buffer,
    Detach_buffer,
    Finalize,
    Flush_buffer,
    Free_mem,
    Get_address,
    Get_error_class,
    Get_error_string,
    Get_hw_resource_info,
    Get_library_version,
    Get_processor_name,
    Get_version,
    Iflush_buffer,
    Init,
    Init_thread,
    Is_finalized,
    Is_initialized,
    Is_thread_main,
    Pcontrol,
    Query_thread,
    Remove_error_class,
    Remove_error_code,
    Remove_error_string,
    Wtick,
    get_vendor,
)
from mpi.errhandlers import ERRHANDLER_NULL, ERRORS_ABORT, ERRORS_ARE_FATAL, ERRORS_RETURN, Errhandler
from mpi.errors import SUCCESS
from mpi.exported import buffer
from mpi.generalized import Grequest
from mpi.group import GROUP_EMPTY, GROUP_NULL, Group
from mpi.info import INFO_ENV, INFO_NULL, Info
from mpi.intercommunicator import Intercomm
from mpi.internals import (
    _addressof,
    _comm_lock,
    _comm_lock_table,
    _commctx_inter,
    _commctx_intra,
    _handleof,
    _sizeof,
    _typealign,
    _typecode,
)
from mpi.intracommunicator import COMM_SELF, COMM_WORLD, Intracomm
from mpi.left_out import (
    FILE_NULL,
    SESSION_NULL,
    Close_port,
    File,
    Lookup_name,
    Open_port,
    Publish_name,
    Register_datarep,
    Session,
    Unpublish_name,
)
from mpi.matched import MESSAGE_NO_PROC, MESSAGE_NULL, Message
from mpi.neighbours import Topocomm
from mpi.ops import (
    BAND,
    BOR,
    BXOR,
    LAND,
    LOR,
    LXOR,
    MAX,
    MAXLOC,
    MIN,
    MINLOC,
    NO_OP,
    OP_NULL,
    PROD,
    REPLACE,
    SUM,
    Op,
)
from mpi.pickles import Pickle, pickle
from mpi.requests import REQUEST_NULL, Prequest, Request
from mpi.status import Status
from mpi.topologies import Cartcomm, Distgraphcomm, Graphcomm
from mpi.windows import WIN_NULL, Win
from ranks import Wtime
from ranks.words.errors import MPIError as Exception

memory = buffer
_typedict = {code: _datatypes.lookup(code) for code in _datatypes._OF_CODE}
globals().update(_errors.ERROR_CLASSES)
globals().update(_datatypes.DATATYPES)

__all__ = [
    "BAND", "BOR", "BXOR", "COMM_NULL", "COMM_SELF", "COMM_WORLD", "ERRHANDLER_NULL", "ERRORS_ABORT",
    "ERRORS_ARE_FATAL", "ERRORS_RETURN", "FILE_NULL", "GROUP_EMPTY", "GROUP_NULL", "INFO_ENV", "INFO_NULL", "LAND",
    "LOR", "LXOR", "MAX", "MAXLOC", "MESSAGE_NO_PROC", "MESSAGE_NULL", "MIN", "MINLOC", "NO_OP", "OP_NULL", "PROD",
    "REPLACE", "REQUEST_NULL", "SESSION_NULL", "SUCCESS", "SUM", "WIN_NULL", "Add_error_class", "Add_error_code",
    "Add_error_string", "Aint_add", "Aint_diff", "Alloc_mem", "Attach_buffer", "BottomType", "BufferAutomaticType",
    "Cartcomm", "Close_port", "Comm", "Compute_dims", "Datatype", "Detach_buffer", "Distgraphcomm", "Errhandler",
    "Exception", "File", "Finalize", "Flush_buffer", "Free_mem", "Get_address", "Get_error_class",
    "Get_error_string", "Get_hw_resource_info", "Get_library_version", "Get_processor_name", "Get_version",
    "Graphcomm", "Grequest", "Group", "Iflush_buffer", "InPlaceType", "Info", "Init", "Init_thread", "Intercomm",
    "Intracomm", "Is_finalized", "Is_initialized", "Is_thread_main", "Lookup_name", "Message", "Op", "Open_port",
    "Pcontrol", "Pickle", "Prequest", "Publish_name", "Query_thread", "Register_datarep", "Remove_error_class",
    "Remove_error_code", "Remove_error_string", "Request", "Session", "Status", "Topocomm", "Unpublish_name", "Win",
    "Wtick", "Wtime", "_addressof", "_comm_lock", "_comm_lock_table", "_commctx_inter", "_commctx_intra", "_handleof",
    "_sizeof", "_typealign", "_typecode", "buffer", "get_vendor", "memory", "pickle",
    *(name for name in dict(globals()) if name.isupper() and not name.startswith("_")),
]  # fmt: skip
for _name in __all__:
    if isinstance(globals()[_name], type) and globals()[_name] is not Exception:
        globals()[_name].__module__ = __name__
