"""What a program asks of MPI itself: start and end, versions, errors, buffers, addresses."""

from __future__ import annotations

import contextlib
import platform
from typing import Any

import ranks
from mpi.constants import SUBVERSION, THREAD_MULTIPLE, THREAD_SINGLE, VERSION, BottomType
from mpi.errors import ERR_ARG, ERR_OTHER, ERROR_CLASSES, SUCCESS, WrongTypeError, wrong
from mpi.exported import buffer
from mpi.info import Hints, Info
from mpi.memory import memory_of
from mpi.process import attached, detached, process
from mpi.rc import LEVELS
from mpi.requests import Request
from mpi.simulated import whole
from ranks.engine.rank import is_thread_of_rank
from ranks.words.errors import MPIError

_NAMES = {number: name for name, number in ERROR_CLASSES.items()} | {SUCCESS: "SUCCESS"}


def Init() -> None:
    """Begin MPI, which `import mpi4py.MPI` has done unless `mpi4py.rc.initialize` is false."""
    if Is_initialized():
        remedy = "leave it out, or set mpi4py.rc.initialize = False before MPI is imported"
        raise wrong(ERR_OTHER, "a second Init: the import of MPI is the first", "one", remedy)
    process().initialized = True


def Init_thread(required: int = THREAD_MULTIPLE) -> int:
    """Return what threads may do: what the program asks for, as far as calls by the rank itself are concerned."""
    Init()
    process().thread_level = level = whole(required)
    return int(level)


def Finalize() -> None:
    """End MPI for the calling rank: its communicators can no longer be used."""
    mine = process()
    if mine.finalized:
        raise wrong(ERR_OTHER, "a second Finalize", "one", "leave it out: it is called when the program ends")
    mine.end()


def Is_initialized() -> bool:
    """Return True, unless `mpi4py.rc.initialize` is false and the rank has not called Init."""
    with contextlib.suppress(RuntimeError):
        return bool(process().initialized or process().settings["initialize"])
    return True


def Is_finalized() -> bool:
    """Return whether the rank has called Finalize."""
    with contextlib.suppress(RuntimeError):
        return bool(process().finalized)
    return False


def Query_thread() -> int:
    """Return what threads may do: what Init_thread or `mpi4py.rc` asked for."""
    mine = process()
    if mine.thread_level is not None:
        return mine.thread_level
    return LEVELS.index(mine.settings["thread_level"]) if mine.settings["threads"] else THREAD_SINGLE


def Is_thread_main() -> bool:
    """Return whether the caller is a rank's own thread."""
    with contextlib.suppress(RuntimeError):
        return process() is not None and not is_thread_of_rank()
    return False


def Get_version() -> tuple[int, int]:
    """Return the version of the MPI standard."""
    return VERSION, SUBVERSION


def Get_library_version() -> str:
    """Return the name and the version of this library."""
    return f"Gears {ranks.__version__}: simulated ranks in one process"


def get_vendor() -> tuple[str, tuple[int, int, int]]:
    """Return the name and the version of this library."""
    numbers = [int(part) for part in ranks.__version__.split(".")[:3] if part.isdigit()]
    major, minor, micro = [*numbers, 0, 0, 0][:3]
    return "Gears", (major, minor, micro)


def Get_processor_name() -> str:
    """Return the name of the rank's node, that of this machine if the network has one rank a node or none."""
    state, network = process().state, process().world.c._transport.network
    return f"node{state.node}" if network.ranks_per_node > 1 else platform.node()


def Get_hw_resource_info() -> Info:
    """Return no hints: the hardware is simulated."""
    return Info._of(Hints({}))


def Wtick() -> float:
    """Return the resolution of Wtime in seconds: a picosecond."""
    return 1e-12


def Pcontrol(level: int) -> None:
    """Do nothing: there is no profiler."""
    whole(level)


# -- memory ------------------------------------------------------------------------------------------------------------


def Alloc_mem(size: int, info: Any = None) -> buffer:
    """Return memory of so many bytes."""
    if whole(size) < 0:
        raise wrong(ERR_ARG, f"size={size}", "0 or more", "correct the size")
    return buffer.allocate(whole(size), clear=True)


def Free_mem(mem: buffer) -> None:
    """Let go of memory of Alloc_mem."""
    if not isinstance(mem, buffer):
        raise wrong(WrongTypeError, f"{mem!r:.60}", "memory of Alloc_mem", "leave other memory alone")
    mem.release()


def Get_address(location: Any) -> int:
    """Return the address of some memory."""
    if location is None or isinstance(location, BottomType):
        return 0
    if isinstance(location, buffer):
        return int(location.address)
    raw, _ = memory_of(location, writable=False)
    return int(raw.ctypes.data)


def Aint_add(base: int, disp: int) -> int:
    """Return an address so many bytes further on."""
    return base + disp


def Aint_diff(addr1: int, addr2: int) -> int:
    """Return how many bytes lie between two addresses."""
    return addr1 - addr2


def Attach_buffer(buf: Any) -> None:
    """Attach a buffer for buffered sends, which need none here."""
    attached(process(), buf)


def Detach_buffer() -> Any:
    """Return the buffer that was attached."""
    return detached(process())


def Flush_buffer() -> None:
    """Do nothing: buffered sends have left."""


def Iflush_buffer() -> Request:
    """Return a request that is complete: buffered sends have left."""
    c = process().self_.c
    return Request._of(c, c._post_receive(None, ranks.PROC_NULL, ranks.ANY_TAG, is_object=True))


# -- errors ------------------------------------------------------------------------------------------------------------


def Get_error_class(errorcode: int) -> int:
    """Return the error class of an error code."""
    code = int(whole(errorcode))
    if code in _NAMES:
        return code
    return int(_own(code)[0])


def Get_error_string(errorcode: int) -> str:
    """Return what an error code means."""
    code = whole(errorcode)
    with contextlib.suppress(RuntimeError):
        if code in process().error_codes:
            return str(process().error_codes[code][1])
    return f"MPI_{_NAMES[code]}" if code in _NAMES else str(_own(code)[1])


def _own(code: int) -> list[Any]:
    """Return the class and the text of a code that the rank has added."""
    found: list[Any] | None = process().error_codes.get(code)
    if found is None:
        raise wrong(ERR_ARG, f"error code {code}", "one of MPI, or one that was added", "name an error class")
    return found


def Add_error_class() -> int:
    """Return a new error class."""
    number = process().last_code() + 1
    process().error_codes[number] = [number, "", True]
    return number


def Add_error_code(errorclass: int) -> int:
    """Return a new error code of a class."""
    number = process().last_code() + 1
    process().error_codes[number] = [whole(errorclass), "", False]
    return number


def Add_error_string(errorcode: int, string: str) -> None:
    """Say what a code that was added means."""
    _own(whole(errorcode))[1] = string


def Remove_error_class(errorclass: int) -> None:
    """Remove an error class that was added."""
    _remove(errorclass, is_class=True)


def Remove_error_code(errorcode: int) -> None:
    """Remove an error code that was added."""
    _remove(errorcode, is_class=False)


def Remove_error_string(errorcode: int) -> None:
    """Remove what a code that was added means."""
    found = _own(whole(errorcode))
    if not found[1]:
        raise wrong(ERR_ARG, f"error code {errorcode} without a text", "one with a text", "Add_error_string first")
    found[1] = ""


def _remove(code: Any, *, is_class: bool) -> None:
    number, codes = whole(code), process().error_codes
    is_used = any(number == other[0] and code_ != number for code_, other in codes.items())
    if _own(number)[2] != is_class or is_used or _own(number)[1]:
        raise wrong(
            ERR_ARG, f"error {number}", "a class, or a code, that was added and is not used", "see Add_error_class"
        )
    del codes[number]


def _meaning_of(code: int) -> tuple[int, str]:
    """Return the class of an error code and its text; one that is not known is its own class."""
    with contextlib.suppress(MPIError, RuntimeError):
        return Get_error_class(code), Get_error_string(code)
    return code, f"error code {code}"


MPIError.meaning_of = staticmethod(_meaning_of)
