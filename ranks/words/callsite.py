"""Which MPI call a rank is in, and where its program made it, read off the Python frames when someone asks.

Nothing is noted while calls succeed, so diagnoses cost nothing until they are needed.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

import numpy as np

from ranks.words.constants import ANY_SOURCE, ANY_TAG, PROC_NULL

# Folders of libraries: a call made there is reported at the line of the program that led to it.
_roots: tuple[str, ...] = (str(Path(__file__).parents[1]) + os.sep,)
_SHOWN = ("dest", "source", "tag", "sendtag", "recvtag", "color", "key")
_NAMES: dict[str, dict[int, str]] = {
    "source": {ANY_SOURCE: "ANY_SOURCE", PROC_NULL: "PROC_NULL"},
    "dest": {PROC_NULL: "PROC_NULL"},
}


@dataclass(frozen=True, slots=True)
class Call:
    """An MPI call: its text, such as "Send(dest=1, tag=0, 800 B)", and where it stands.

    path, line and function of the statement that made the call. caller: the program's outermost line ("file.py:12")
    and within: the library's function that it came to, or the one it called; both empty if it made the call itself.
    """

    text: str
    path: str
    line: int
    function: str
    caller: str
    within: str = ""

    @property
    def site(self) -> str:
        """File name and line, "ring.py:12"."""
        return f"{os.path.basename(self.path)}:{self.line}" if self.path else "?"

    @property
    def where(self) -> str:
        """The site and, if it is inside of something that the program called, the program's line too."""
        return f"{self.site} (called at {self.caller})" if self.caller else self.site

    @property
    def source(self) -> str:
        """The statement's first line, empty if it is not to be had."""
        return linecache.getline(self.path, self.line).strip()


def add_library(folder: Path) -> None:
    """Let all code in a folder count as a library's: reports then name the line of the program that called it."""
    global _roots
    _roots = (*_roots, f"{folder}{os.sep}")


@contextlib.contextmanager
def as_libraries(*folders: str) -> Iterator[None]:
    """Let all code in these folders count as a library's inside."""
    global _roots
    before, _roots = _roots, (*_roots, *folders)
    try:
        yield
    finally:
        _roots = before


@contextlib.contextmanager
def as_library(folder: Path) -> Iterator[None]:
    """Let all code in a folder count as a library's for a while."""
    global _roots
    before = _roots
    add_library(folder)
    try:
        yield
    finally:
        _roots = before


def in_library(code: CodeType) -> bool:
    """Return whether this is code of a library, not of a program."""
    return code.co_filename.startswith(_roots)


def program_part(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package that follow the last frame of the program."""
    steps = []
    while trace is not None:
        steps.append(trace)
        trace = trace.tb_next
    while steps and in_library(steps[-1].tb_frame.f_code):
        steps.pop()
    for step in reversed(steps):
        trace = TracebackType(trace, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return trace


def current_call() -> Call:
    """Return the call that the running rank is in."""
    return call_of(sys._getframe(1))


def current_where() -> str:
    """Return `where` of the call that the running rank is in, in a tenth of the time of the whole call."""
    return _call("", _public_and_program(sys._getframe(1))[1]).where


def call_of(frame: FrameType | None) -> Call:
    """Return the call in progress in a stack of frames, innermost first."""
    public, program = _public_and_program(frame)
    return _call(_text(public) if public is not None else "?", program)


def _public_and_program(frame: FrameType | None) -> tuple[FrameType | None, FrameType | None]:
    """Return the outermost frame of this package on top of a stack, and the one that called it."""
    public: FrameType | None = None
    while frame is not None and in_library(frame.f_code):
        public, frame = frame, frame.f_back
    return public, frame


def _call(text: str, frame: FrameType | None) -> Call:
    if frame is None:
        return Call(text, "", 0, "?", "")
    return Call(text, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, *_program_line(frame))


def _program_line(frame: FrameType) -> tuple[str, str]:
    """Return the outermost line of the program below its call by `ranks.run`, and the first function of a library."""
    frames: list[FrameType] = []
    outer: FrameType | None = frame
    while outer is not None and not in_library(outer.f_code):
        frames.insert(0, outer)
        outer = outer.f_back
    if len(frames) == 1:
        return "", ""
    path = frames[0].f_code.co_filename
    if (path, frames[0].f_lineno) == (frame.f_code.co_filename, frame.f_lineno):
        return "", ""  # a generator or lambda on one line
    library = (each.f_code.co_name for each in frames if each.f_code.co_filename != path)
    return f"{os.path.basename(path)}:{frames[0].f_lineno}", next(library, frames[1].f_code.co_name)


def calling_lines() -> str:
    """Return where the package stands that is calling, and who called that: "ring.py:8 (called at train.py:12)"."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (in_library(frame.f_code) or frame.f_code.co_filename == contextlib.__file__):
        frame = frame.f_back
    first, package = frame, frame.f_globals.get("__package__") if frame is not None else None
    while package and frame is not None and frame.f_globals.get("__package__") == package:
        frame = frame.f_back
    lines = [f"{Path(each.f_code.co_filename).name}:{each.f_lineno}" for each in (first, frame) if each is not None]
    return f"{lines[0]} (called at {lines[1]})" if len(lines) == 2 and frame is not first else "".join(lines[:1])


Mark = tuple[CodeType, int, CodeType, int]


def site_mark() -> Mark | None:
    """Return a cheap mark of the program's line that is running, for requests that may have to name it later.

    It holds the line that called the library, and the outermost line of the program that has led there.
    """
    roots = _roots
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(roots):
        frame = frame.f_back
    if frame is None:
        return None
    outer, following = frame, frame.f_back
    while following is not None:
        code = following.f_code
        if not code.co_filename.startswith(roots):
            outer = following
        elif code.co_name == "body":
            break
        following = following.f_back
    return frame.f_code, frame.f_lasti, outer.f_code, outer.f_lasti


def site_of(mark: Mark | None) -> str:
    """Return the "file.py:12" of a mark, with the program's line if that is in another file."""
    if mark is None:
        return "?"
    code, last, outer, outer_last = mark
    called = f" (called at {_line(outer, outer_last)})" if outer.co_filename != code.co_filename else ""
    return f"{_line(code, last)}{called}"


class Sites:
    """The sites of many calls, as `site_of(site_mark())` gives them: each is worked out once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}
        self._in_library: dict[int, bool] = {}
        self._codes: list[CodeType] = []  # so that no number of one is given to another

    def here(self, depth: int) -> str:
        """Return the site of the call that the running rank is in; `depth` frames below this one are the library's."""
        frame: FrameType | None = sys._getframe(depth)
        known = self._in_library
        inner = outer = None
        inner_number = outer_number = 0
        while frame is not None:
            number = id(frame.f_code)  # a code object takes long to hash
            if number not in known:
                self._classify(frame.f_code)
            if not known[number]:
                outer, outer_number = frame, number
                if inner is None:
                    inner, inner_number = frame, number
            elif inner is not None and frame.f_code.co_name == "body":
                break
            frame = frame.f_back
        if inner is None or outer is None:
            return site_of(None)
        key = inner_number, inner.f_lasti, outer_number, outer.f_lasti
        text = self._known.get(key)
        if text is None:
            text = self._known[key] = site_of((inner.f_code, inner.f_lasti, outer.f_code, outer.f_lasti))
        return text

    def _classify(self, code: CodeType) -> None:
        self._codes.append(code)
        self._in_library[id(code)] = in_library(code)


def _line(code: CodeType, last: int) -> str:
    lines = [line for begin, end, line in code.co_lines() if begin <= last < end and line is not None]
    return f"{Path(code.co_filename).name}:{lines[0] if lines else code.co_firstlineno}"


def _text(frame: FrameType) -> str:
    code, values = frame.f_code, frame.f_locals
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    shown = [_argument(name, values[name]) for name in names if name in values]
    shown.sort(key=lambda part: "=" not in part)
    return f"{code.co_name}({', '.join(part for part in shown if part)})"


def _argument(name: str, value: Any) -> str:
    if name in _SHOWN:
        if name.endswith("tag") and value == ANY_TAG:
            return f"{name}=ANY_TAG"
        known = _NAMES.get(name, {})
        return f"{name}={known[value] if isinstance(value, int) and value in known else value}"
    if name in ("buf", "sendbuf", "recvbuf"):
        return _size(value)
    if name in ("obj", "sendobj"):
        return type(value).__name__
    if name == "requests" and isinstance(value, Sized):
        return f"{len(value)} requests"
    return ""


def _size(buffer: Any) -> str:
    if isinstance(buffer, (np.ndarray, np.generic, memoryview)):
        return f"{buffer.nbytes} B"
    if isinstance(buffer, (bytes, bytearray)):
        return f"{len(buffer)} B"
    return ""
