"""Claims about arrays from files: a file without numbers is named for what it is, and the remedy that is told helps."""

from __future__ import annotations

import gc
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from experiments.lab import npy
from experiments.lab.errors import UsageError


def write(name: str) -> Path:
    """Write the file of this name, which is no array of numbers, into this folder."""
    path = Path(name)
    if name == "text.npy":
        np.save(path, np.array(["1", "2.5"]))
    elif name == "bytes.npy":
        np.save(path, np.array([b"1", b"2.5"]))
    elif name == "truth.npy":
        np.save(path, np.array([True, False]))
    elif name == "objects.npy":
        np.save(path, np.array([[1, 2], [3, 4]], object), allow_pickle=True)
    elif name == "records.npy":
        np.save(path, np.array([(1, 2.0)], [("f", "i4"), ("g", "f8")]))
    elif name == "dates.npy":
        np.save(path, np.array(["2020-02-02"], "M8[s]"))
    elif name == "spans.npy":
        np.save(path, np.array([3], "m8[s]"))
    elif name == "several.npz":
        np.savez(path, a=np.ones(2), b=np.ones(3))
    elif name == "nothing.npz":
        np.savez(path)
    elif name == "csv.txt":
        path.write_text("1,2\n3,4\n")
    elif name == "words.txt":
        path.write_text("µ is no number\n")
    elif name == "pickle":
        path.write_bytes(pickle.dumps(np.ones(3)))
    elif name == "empty.npy":
        path.touch()
    elif name == "folder":
        path.mkdir()
    elif name != "missing.npy":
        whole = Path("whole.npy")
        np.save(whole, np.ones((6, 5)))
        begin = {"cut.npy": whole.read_bytes()[:200], "header.npy": whole.read_bytes()[:20]}
        path.write_bytes(begin.get(name, b"\x93NUMPY\x09\x00" + whole.read_bytes()[8:]))
    return path


@pytest.mark.parametrize(
    ("name", "got", "remedy"),
    [
        ("text.npy", "text (<U3)", "x.astype(float)) if each text is a number"),
        ("bytes.npy", "text (|S3)", "x.astype(float)) if each text is a number"),
        ("truth.npy", "truth values (bool)", "x.astype(numpy.int8))"),
        ("objects.npy", "Python objects (object)", "if you trust the file, and its rows are equally long"),
        ("records.npy", "records ([('f', '<i4'), ('g', '<f8')])", "x['f']) for one field f of the records"),
        ("dates.npy", "dates (datetime64[s])", "x.astype(numpy.int64))"),
        ("spans.npy", "spans of time (timedelta64[s])", "x.astype(numpy.int64))"),
        ("several.npz", "an archive that numpy.savez wrote, which holds 'a', 'b'", "['a']) for one of them"),
        ("nothing.npz", "an archive that numpy.savez wrote, which holds nothing", "write an array with numpy.save"),
        ("csv.txt", "a text file that begins with '1,2'", "delimiter=',')) if the text is numbers"),
        ("words.txt", "a text file that begins with 'µ is no number'", "loadtxt('words.txt')) if the text is numbers"),
        ("pickle", "a file of another kind", "numpy.fromfile('pickle', dtype)) if it is bare numbers"),
        ("empty.npy", "an empty file", "write the array again"),
        ("cut.npy", "an .npy file that is cut off", "copy the whole file again"),
        ("header.npy", "an .npy file with a damaged header", "write the array again"),
        ("version_9.npy", "an .npy file with a damaged header", "write the array again"),
        ("folder", "a folder", "name the files in it, --npy folder/*.npy"),
        ("missing.npy", "no such file", "name one that exists"),
    ],
)
def test_a_file_that_holds_no_numbers_is_named_for_what_it_is(name, got, remedy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        npy.load(write(name))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"--npy {name}: got {got}")
    assert ", expected an array of numbers that numpy.save wrote; remedy: " in said
    assert said.endswith(remedy)


@pytest.mark.parametrize(
    "name",
    [
        "text.npy", "bytes.npy", "truth.npy", "objects.npy", "records.npy", "dates.npy", "spans.npy", "several.npz",
        "csv.txt", "pickle",
    ],
)  # fmt: skip
def test_the_remedy_that_is_told_makes_an_array_of_numbers(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(name)
    with pytest.raises(UsageError) as caught:
        npy.load(path)
    code = re.fullmatch(r".*remedy: (.*\))( (if|for) .*)?", str(caught.value))[1]
    exec(code, {"numpy": np, "dtype": np.uint8})
    assert npy.load(path.with_suffix(".npy")).dtype.kind in "iufc"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # NumPy leaves the file open
def test_a_damaged_archive_says_so(tmp_path):
    path = tmp_path / "zip.npz"
    path.write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(UsageError, match=r"a damaged zip archive, .* write the array again, with numpy.save"):
        npy.load(path)
    gc.collect()


def test_a_file_that_may_not_be_read_says_so(tmp_path, monkeypatch):
    def refused(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(np, "load", refused)  # root may read everything
    path = tmp_path / "x.npy"
    path.touch()
    with pytest.raises(UsageError, match=r"a file that cannot be read \(Permission denied\).*remedy: chmod u\+r"):
        npy.load(path)
