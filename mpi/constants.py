"""Numbers that MPI gives names to, with the values of MPICH; those of the error classes are in `mpi/errors.py`."""

from typing import NoReturn, Self

from ranks import ANY_SOURCE, ANY_TAG, COMM_TYPE_SHARED, CONGRUENT, IDENT, ROOT, SIMILAR, UNDEFINED, UNEQUAL


class _NoRank(int):
    """A number that can be told from a result of the same value, so that a checked run can warn of the latter."""


class _Address(int):
    """An address with a meaning of its own; `value` is the number."""

    value, name = 0, ""

    def __new__(cls) -> Self:
        return super().__new__(cls, cls.value)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name

    def __add__(self, other: object) -> NoReturn:
        raise TypeError(f"{self.name}: got an addition, expected none; remedy: pass {self.name} alone")


class BottomType(_Address):
    """The type of BOTTOM."""

    value, name = 0, "BOTTOM"


class InPlaceType(_Address):
    """The type of IN_PLACE."""

    value, name = -1, "IN_PLACE"


class BufferAutomaticType(_Address):
    """The type of BUFFER_AUTOMATIC."""

    value, name = -2, "BUFFER_AUTOMATIC"


PROC_NULL = _NoRank(-1)
BOTTOM, IN_PLACE, BUFFER_AUTOMATIC = BottomType(), InPlaceType(), BufferAutomaticType()

COMM_TYPE_HW_GUIDED, COMM_TYPE_HW_UNGUIDED, COMM_TYPE_RESOURCE_GUIDED = 2, 3, 4
GRAPH, CART, DIST_GRAPH = 1, 2, 3
UNWEIGHTED, WEIGHTS_EMPTY = -11, -12
KEYVAL_INVALID = 603_979_776
TAG_UB, IO, WTIME_IS_GLOBAL, UNIVERSE_SIZE, LASTUSEDCODE, APPNUM = (
    1_681_915_905, 1_681_915_909, 1_681_915_911, 1_681_915_913, 1_681_915_915, 1_681_915_917,
)  # fmt: skip
WIN_BASE, WIN_SIZE, WIN_DISP_UNIT, WIN_CREATE_FLAVOR, WIN_MODEL = (
    1_711_276_033, 1_711_276_035, 1_711_276_037, 1_711_276_039, 1_711_276_041,
)  # fmt: skip
WIN_FLAVOR = WIN_CREATE_FLAVOR
WIN_FLAVOR_CREATE, WIN_FLAVOR_ALLOCATE, WIN_FLAVOR_DYNAMIC, WIN_FLAVOR_SHARED = 1, 2, 3, 4
WIN_SEPARATE, WIN_UNIFIED = 1, 2
LOCK_EXCLUSIVE, LOCK_SHARED = 234, 235
MODE_NOCHECK, MODE_NOSTORE, MODE_NOPUT, MODE_NOPRECEDE, MODE_NOSUCCEED = 1024, 2048, 4096, 8192, 16384
MODE_CREATE, MODE_RDONLY, MODE_WRONLY, MODE_RDWR, MODE_DELETE_ON_CLOSE = 1, 2, 4, 8, 16
MODE_UNIQUE_OPEN, MODE_EXCL, MODE_APPEND, MODE_SEQUENTIAL = 32, 64, 128, 256
SEEK_SET, SEEK_CUR, SEEK_END = 600, 602, 604
DISPLACEMENT_CURRENT = DISP_CUR = -54_278_278
THREAD_SINGLE, THREAD_FUNNELED, THREAD_SERIALIZED, THREAD_MULTIPLE = range(4)
ORDER_C, ORDER_FORTRAN = 56, 57
ORDER_F = ORDER_FORTRAN
DISTRIBUTE_BLOCK, DISTRIBUTE_CYCLIC, DISTRIBUTE_NONE, DISTRIBUTE_DFLT_DARG = 121, 122, 123, -49_767
TYPECLASS_REAL, TYPECLASS_INTEGER, TYPECLASS_COMPLEX, TYPECLASS_LOGICAL = 1, 2, 3, 4
(
    COMBINER_NAMED, COMBINER_DUP, COMBINER_CONTIGUOUS, COMBINER_VECTOR, COMBINER_HVECTOR, COMBINER_INDEXED,
    COMBINER_HINDEXED, COMBINER_INDEXED_BLOCK, COMBINER_HINDEXED_BLOCK, COMBINER_STRUCT, COMBINER_SUBARRAY,
    COMBINER_DARRAY, COMBINER_RESIZED, COMBINER_F90_INTEGER, COMBINER_F90_REAL, COMBINER_F90_COMPLEX,
    COMBINER_VALUE_INDEX,
) = 1, 2, 3, 4, 6, 7, 9, 10, 19, 12, 13, 14, 18, 17, 15, 16, 20  # fmt: skip
MAX_PROCESSOR_NAME, MAX_ERROR_STRING, MAX_PORT_NAME, MAX_INFO_KEY, MAX_INFO_VAL = 128, 512, 1024, 255, 1024
MAX_OBJECT_NAME, MAX_LIBRARY_VERSION_STRING, MAX_DATAREP_STRING = 128, 8192, 128
MAX_PSET_NAME_LEN, MAX_STRINGTAG_LEN = 256, 256
BSEND_OVERHEAD = 96
VERSION, SUBVERSION = 4, 1
F_SOURCE, F_TAG, F_ERROR, F_STATUS_SIZE = 2, 3, 4, 5

__all__ = [name for name in dict(globals()) if name.isupper()]
__all__ += ["ANY_SOURCE", "ANY_TAG", "COMM_TYPE_SHARED", "CONGRUENT", "IDENT", "ROOT", "SIMILAR"]
__all__ += ["UNDEFINED", "UNEQUAL"]
