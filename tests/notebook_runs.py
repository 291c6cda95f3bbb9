"""Runs of notebooks: each in a fork of one process that has imported IPython and matplotlib, as a kernel for each takes
two seconds longer. The project itself is not imported there: each notebook imports what it uses.

As a program it is that process: it reads a notebook from each line of its input, as JSON, and answers with what its
cells have printed and shown.
"""

from __future__ import annotations

import copy
import gc
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import processes

FOLDER = Path(__file__).parents[1] / "notebooks"


class CellError(Exception):
    """A cell has raised an error, or its process has ended."""


class Notebooks:
    """The process that has imported what notebooks use."""

    def __init__(self, process: processes.Started) -> None:
        self.process = process

    def run(self, notebook: Any) -> Any:
        """Return the notebook as it is after a run; raise CellError if a cell fails."""
        assert self.process.stdin
        assert self.process.stdout
        print(json.dumps(notebook), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, "the process of the notebooks has ended"
        answer = json.loads(line)
        if "failed" in answer:
            raise CellError(answer["failed"])
        fresh = copy.deepcopy(notebook)
        for cell in fresh.cells:
            if cell.cell_type == "code":
                cell.outputs = answer["outputs"][cell.id]
        return fresh


@contextmanager
def imported() -> Iterator[Notebooks]:
    """Give the process that has imported what notebooks use."""
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    options = {"stdin": subprocess.PIPE, "stderr": None, "env": environment, "cwd": FOLDER}
    with processes.Started([sys.executable, __file__], **options) as process:
        yield Notebooks(process)


# -- the process that forks --------------------------------------------------------------------------------------


class Stream(io.TextIOBase):
    """Standard output or error of a cell, among what it has printed and shown so far."""

    def __init__(self, name: str, outputs: list[dict[str, Any]]) -> None:
        self.name, self.outputs = name, outputs

    def write(self, text: str) -> int:
        if not self.outputs or self.outputs[-1].get("name") != self.name:
            self.outputs.append({"output_type": "stream", "name": self.name, "text": ""})
        self.outputs[-1]["text"] += text
        return len(text)


def serve() -> None:
    """Answer each notebook with what its cells have printed and shown."""
    import_what_all_use()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            answer_for(json.loads(line))
        _, status = os.waitpid(child, 0)
        if status:
            print(json.dumps({"failed": f"its process ended with {os.waitstatus_to_exitcode(status)}"}), flush=True)


def import_what_all_use() -> None:
    """Import IPython and matplotlib, and draw something, which finds fonts."""
    import ipykernel.compiler
    import IPython.core.interactiveshell
    import matplotlib.pyplot as plt
    import matplotlib_inline.backend_inline
    from IPython.core.pylabtools import print_figure

    figure, axes = plt.subplots(layout="constrained")
    axes.set_title("fonts are found once")
    print_figure(figure)
    plt.close(figure)
    IPython.core.interactiveshell.InteractiveShell.enable_gui = lambda self, gui=None: None
    assert ipykernel.compiler
    assert matplotlib_inline.backend_inline
    gc.freeze()  # a collection in a fork would look at all that was imported, and so copy it


def answer_for(notebook: dict[str, Any]) -> None:
    """Run a notebook in this fork, write what came of it, and end."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    status = 1
    try:
        json.dump(run(notebook), answers)
        print(file=answers, flush=True)
        status = 0
    finally:
        os._exit(status)


def run(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs of all cells of code, or what went wrong in one."""
    from ipykernel.compiler import XCachingCompiler
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.core.shellapp import InteractiveShellApp
    from traitlets.config import Config

    del sys.path[0]  # the folder of this file
    InteractiveShellApp().init_path()
    config = Config({"HistoryManager": {"enabled": False}})
    shell = InteractiveShell.instance(config=config, colors="nocolor", compiler_class=XCachingCompiler)
    outputs = {cell["id"]: [] for cell in notebook["cells"] if cell["cell_type"] == "code"}
    for cell in notebook["cells"]:
        if cell["id"] in outputs and not runs(shell, cell["source"], outputs[cell["id"]]):
            return {"failed": f"{cell['source']}\n\n{outputs[cell['id']]}"}
    return {"outputs": outputs}


def runs(shell: Any, source: str, outputs: list[dict[str, Any]]) -> bool:
    """Return whether a cell runs to its end; append what it prints, shows, and has as its value, in order."""

    def publish(data: dict[str, Any], **_: Any) -> None:
        outputs.append({"output_type": "display_data", "data": {kind: str(value) for kind, value in data.items()}})

    def show(value: Any) -> None:
        if value is not None:
            publish(shell.display_formatter.format(value)[0])

    shell.display_pub.publish, shell.display_trap.hook = publish, show
    signal.alarm(processes.HANG_S)  # for this cell
    with redirect_stdout(Stream("stdout", outputs)), redirect_stderr(Stream("stderr", outputs)):
        return bool(shell.run_cell(source, store_history=True).success)


if __name__ == "__main__":
    serve()
