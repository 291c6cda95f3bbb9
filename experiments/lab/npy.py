"""Arrays from .npy files, and what is wrong with a file that holds none."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.errors import UsageError

Array = np.ndarray[Any, np.dtype[Any]]
MAGIC = b"\x93NUMPY"
# By the kind of a dtype that is none of numbers: what its elements are, what makes numbers of x, and when that works.
NO_NUMBERS = {
    "b": ("truth values", "x.astype(numpy.int8)", ""),
    "U": ("text", "x.astype(float)", " if each text is a number"),
    "S": ("text", "x.astype(float)", " if each text is a number"),
    "O": ("Python objects", "numpy.array(x.tolist(), float)", " if you trust the file, and its rows are equally long"),
    "V": ("records", "x['f']", " for one field f of the records"),
    "M": ("dates", "x.astype(numpy.int64)", ""),
    "m": ("spans of time", "x.astype(numpy.int64)", ""),
}


def load(path: Path) -> Array:
    """Return the array of numbers in an .npy file, not read yet; raise UsageError if there is none."""
    try:
        found = np.load(path, mmap_mode="r")
    except OSError as error:
        raise _refusal(path, *_unreadable(path, error)) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _refusal(path, *_wrong_file(path)) from error
    if not isinstance(found, np.ndarray):
        with found:
            raise _refusal(path, *_archive(path, list(found)))
    if found.dtype.kind in NO_NUMBERS:
        raise _refusal(path, *_no_numbers(path, found.dtype))
    return found


def _archive(path: Path, names: list[str]) -> tuple[str, str]:
    """Return what an archive of arrays with these names is, and a remedy."""
    got = f"an archive that numpy.savez wrote, which holds {', '.join(map(repr, names)) or 'nothing'}"
    if not names:
        return got, "write an array with numpy.save"
    return got, f"numpy.save('{path.with_suffix('.npy')}', numpy.load('{path}')['{names[0]}']) for one of them"


def _refusal(path: Path, got: str, remedy: str) -> UsageError:
    return UsageError(f"--npy {path}: got {got}, expected an array of numbers that numpy.save wrote; remedy: {remedy}")


def _unreadable(path: Path, error: OSError) -> tuple[str, str]:
    """Return what is there instead of a file that can be read, and a remedy."""
    if path.is_dir():
        return "a folder", f"name the files in it, --npy {path}/*.npy"
    if not path.exists():
        return "no such file", "name one that exists"
    return f"a file that cannot be read ({error.strerror or error})", f"chmod u+r {path}"


def _wrong_file(path: Path) -> tuple[str, str]:
    """Return what a file is that numpy.load refuses, and a remedy."""
    with path.open("rb") as file:
        begin = file.read(64)
        file.seek(0)
        if not begin:
            return "an empty file", "write the array again"
        if begin.startswith(b"PK"):
            return "a damaged zip archive", "write the array again, with numpy.save"
        if not begin.startswith(MAGIC):
            return _foreign(path, begin)
        try:
            major, _ = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
            dtype = read(file)[2]
        except ValueError:
            return "an .npy file with a damaged header", "write the array again"
    if dtype.kind in NO_NUMBERS:
        return _no_numbers(path, dtype)
    return "an .npy file that is cut off", "copy the whole file again"


def _foreign(path: Path, begin: bytes) -> tuple[str, str]:
    """Return what a file is that begins with these bytes, none of NumPy's, and a remedy."""
    first, new = begin.partition(b"\n")[0].decode(errors="ignore")[:20].strip(), path.with_suffix(".npy")
    if first and first.isprintable():
        delimiter = ", delimiter=','" if "," in first else ""
        remedy = f"numpy.save('{new}', numpy.loadtxt('{path}'{delimiter})) if the text is numbers"
        return f"a text file that begins with {first!r}", remedy
    return "a file of another kind", f"numpy.save('{new}', numpy.fromfile('{path}', dtype)) if it is bare numbers"


def _no_numbers(path: Path, dtype: np.dtype[Any]) -> tuple[str, str]:
    """Return what an array is that holds no numbers, and a remedy."""
    what, numbers, when = NO_NUMBERS[dtype.kind]
    pickled = ", allow_pickle=True" if dtype.kind == "O" else ""
    return f"{what} ({dtype})", f"x = numpy.load('{path}'{pickled}); numpy.save('{path}', {numbers}){when}"
