"""What ranks print, passed on in whole lines, and what they read."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class ClosedOutputError(BrokenPipeError):
    """Nobody reads the output any more."""


class Output:
    """A stream that all ranks write to, such as the standard output of the caller."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.errors = getattr(stream, "errors", None) or "strict"

    def write(self, data: bytes) -> None:
        """Write bytes at once, after what was written before."""
        if self.stream is None:
            return
        buffer = getattr(self.stream, "buffer", None)
        try:
            if buffer is None:
                self.stream.write(data.decode(self.encoding, "replace"))
            else:
                self.stream.flush()
                buffer.write(data)
            self.stream.flush()
        except BrokenPipeError as problem:
            self.stream = None
            raise ClosedOutputError(*problem.args) from None


class Lines(io.RawIOBase):
    """What one rank writes: whole lines are passed on, the rest is kept until its line ends.

    name:  It is that of the stream, as Python names it.
    keeps: It tells whether what was passed on is also `kept`.
    is_over: It tells whether the rank was ended from outside: like a process that was killed, it prints no more.
    """

    def __init__(self, output: Output, prefix: str, name: str) -> None:
        self.output, self.prefix, self.name, self.rest = output, prefix.encode(), name, b""
        self.keeps, self.kept = False, list[bytes]()
        self.is_over: Callable[[], bool] = bool

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the file that all ranks write to."""
        number: int = self.output.stream.fileno()
        return number

    def write(self, data: Any) -> int:
        """Take bytes, which may hold many lines."""
        data = bytes(data)
        if self.is_over():
            return len(data)
        lines, newline, rest = data.rpartition(b"\n")
        if newline:
            self._pass_on(self.rest + lines + newline)
            self.rest = rest
        else:
            self.rest += rest
        return len(data)

    def finish(self) -> None:
        """Pass on the line that has not ended."""
        rest, self.rest = self.rest, b""
        if rest:
            self._pass_on(rest)

    def _pass_on(self, data: bytes) -> None:
        if self.prefix:
            data = b"".join(self.prefix + line for line in data.splitlines(keepends=True))
        if self.keeps:
            self.kept.append(data)
        self.output.write(data)


class Writer(io.TextIOWrapper):
    """`sys.stdout` or `sys.stderr` of one rank."""

    mode = "w"

    def __init__(self, output: Output, prefix: str, name: str, errors: str) -> None:
        self.lines = Lines(output, prefix, name)
        super().__init__(self.lines, output.encoding, errors, newline="\n", write_through=True)

    def finish(self) -> None:
        """Pass on all that the rank has written."""
        if not self.lines.closed:
            with suppress(ValueError):  # the program has detached its stream, to write by itself
                self.flush()
            self.lines.finish()


class Reader(io.TextIOBase):
    """`sys.stdin` of rank 0, which shows what the rank has written before it waits for an answer."""

    name, mode = "<stdin>", "r"

    def __init__(self, stream: Any, before: Callable[[], None]) -> None:
        self.stream, self.before = stream, before

    encoding = property(lambda self: self.stream.encoding)
    errors = property(lambda self: self.stream.errors)

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the file."""
        number: int = self.stream.fileno()
        return number

    @property
    def buffer(self) -> Any:
        """What reads bytes."""
        self.before()
        return self.stream.buffer

    def read(self, size: int | None = -1) -> str:
        """Return so many characters, or all that come."""
        self.before()
        text: str = self.stream.read(-1 if size is None else size)
        return text

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        """Return the next line, empty at the end."""
        self.before()
        text: str = self.stream.readline(size)
        return text


class Nothing(io.BytesIO):
    """An input that has ended, as all ranks but the first have it; no file, for there may be more ranks than files."""

    name, mode = "<stdin>", "r"
