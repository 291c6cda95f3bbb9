"""What a case of the hang gallery is: a program that fails, how it is run, what is to blame, and the program mended."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ranks

Program = Callable[[Any], Any]
# A line of a program that ends in such a comment is the culprit, or a rank waits there because of the culprit.
_MARK = re.compile(r"  # here$", re.MULTILINE)


@dataclass
class Case:
    """A program that fails, and what a reader should find.

    story: what was meant. why: what goes wrong, and the rule behind it. error: what is raised. culprits: the ranks in
    the core of the hang, those that crashed, or those that the error names. says: parts of the report that give it
    away. explored: an ordinary run passes, and only some schedules fail. options: how it is run, for `ranks.run` or
    `ranks.explore`; mended_options: how the mended program is run, if otherwise.
    """

    program: Program
    size: int
    story: str
    why: str
    error: type[Exception]
    culprits: list[int]
    says: tuple[str, ...]
    explored: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    mended_options: dict[str, Any] | None = None
    mended: Program | None = None

    @property
    def name(self) -> str:
        """The name that --case takes."""
        return self.program.__name__

    def mend(self, program: Program) -> Program:
        """Note the program that is right; a decorator."""
        self.mended = program
        return program

    # -- looking at it ---------------------------------------------------------------------------------------

    def fail(self) -> ranks.Exploration | None:
        """Run the program with a trace and let it fail; return what exploring found if it does not."""
        if not self.explored:
            ranks.run(self.program, self.size, trace=True, **self.options)
            return None
        found = ranks.explore(self.program, self.size, **self.options)
        if found.failures:
            ranks.run(self.program, self.size, replay=found.failures[0].replay, trace=True)
        return found

    def failure(self) -> Exception:
        """Return what the program raises."""
        try:
            self.fail()
        except Exception as problem:
            return problem
        raise AssertionError(f"{self.name} was to fail, and it passed")

    def verdict_when_mended(self) -> ranks.Exploration:
        """Explore the mended program, with the faults, if any, that it is to survive."""
        assert self.mended is not None
        options = self.options if self.mended_options is None else self.mended_options
        if "faults" in options or "check" in options:
            ranks.run(self.mended, self.size, **options)
        return ranks.explore(self.mended, self.size)

    # -- its text ----------------------------------------------------------------------------------------------

    def source(self, *, marked: bool = True) -> str:
        """Return the program as it stands in the file, without the decorator; the line to blame marked or not."""
        return _source(self.program) if marked else _MARK.sub("", _source(self.program))

    def mended_source(self) -> str:
        """Return the mended program, under the name of the other."""
        assert self.mended is not None
        return _source(self.mended).replace("def _(", f"def {self.name}(", 1)

    def marked_lines(self) -> set[int]:
        """Return the lines of the file that are marked."""
        lines, first = inspect.getsourcelines(self.program)
        return {first + index for index, line in enumerate(lines) if _MARK.search(line.rstrip())}


CASES: dict[str, Case] = {}


def case(size: int, error: type[Exception], culprits: list[int], **facts: Any) -> Callable[[Program], Case]:
    """Enter a program into the gallery; a decorator, after which `name.mend` takes the program that is right."""

    def enter(program: Program) -> Case:
        made = Case(program, size, error=error, culprits=culprits, **facts)
        CASES[made.name] = made
        return made

    return enter


def _source(program: Program) -> str:
    text = textwrap.dedent(inspect.getsource(program))
    return text[text.index("def ") :].rstrip()
