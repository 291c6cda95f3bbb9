"""What an MPI process has for itself, given to each rank: modules, arguments, streams, environment, current folder.

All ranks live in one process. Whenever another rank goes on, what the last one had in `sys`, `os`, `logging` and
`warnings` is put away, and what the next one had is put in place. Nobody is asked on the way: a program that reads
`sys.argv`, and a library that looks a class up in `sys.modules`, see what they would see in a process of their own.
"""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from operator import itemgetter
from threading import Thread
from typing import Any

from greenlet import getcurrent, gettrace, settrace

from ranks.engine.process import SharedState
from ranks.engine.rank import RankGreenlet, current_rank

_of_sys = itemgetter("argv", "path", "stdin", "stdout", "stderr", "excepthook")
_sys, _builtins = vars(sys), vars(builtins)
_manager = logging.Logger.manager
_chdir = os.chdir  # while a run goes on, os.chdir is another function, which notes who calls it


class ProcessState:
    """What one rank has for itself while another rank runs.

    of_sys:   These are argv, path, stdin, stdout, stderr and excepthook of `sys`.
    modules:  These entries of `sys.modules` are the rank's own.
    environ, filters: They are `os.environ` and `warnings.filters`.
    logs:     It holds the root logger, and what is known of the others.
    folder:   It is the current folder.
    figures:  These are the figures of matplotlib that are open.
    print:    It is `builtins.print`, which programs replace for all ranks but one.
    loop:     It is the loop of asyncio that runs.
    looked_ps: This was the time when the rank last looked at a clock.
    threads:  These threads are waited for when the rank's program ends.
    exits:    These functions are called when the rank's program ends, with their arguments.
    """

    __slots__ = (
        "environ", "exits", "figures", "filters", "folder", "logs", "looked_ps", "loop", "modules", "of_sys", "print",
        "threads",
    )  # fmt: skip

    def __init__(self, modules: dict[str, Any], of_sys: tuple[Any, ...], folder: str) -> None:
        self.modules, self.of_sys, self.folder = modules, of_sys, folder
        self.environ: Any = os.environ
        self.filters: Any = warnings.filters
        self.logs: tuple[logging.RootLogger, dict[str, Any]] = logging.root, _manager.__dict__
        self.looked_ps, self.loop, self.print = -1, None, print
        self.figures: OrderedDict[int, Any] = OrderedDict()
        self.threads: list[Thread] = []
        self.exits: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []


class ProcessStates(SharedState):
    """Who has what in place; inside of `with`, each rank has what is its own, and the scheduler what the caller has.

    new:      It makes argv, path, stdin, stdout, stderr and excepthook of the rank whose number it is given.
    hidden:   These modules are not there for the ranks, so that they may have others of these names.
    resumed:  It is called when another rank goes on.
    running:  It is the state that is in place.
    """

    is_watched = False

    def __init__(
        self, new: Callable[[int], tuple[Any, ...]], hidden: Iterable[str], resumed: Callable[[], None]
    ) -> None:
        super().__init__()
        self.new, self.resumed = new, resumed
        own = {name: sys.modules[name] for name in ("__main__", *hidden)}
        self.caller = self.running = ProcessState(own, _of_sys(_sys), self.folder)

    def __enter__(self) -> ProcessStates:
        self.before = gettrace()
        settrace(self._switched)
        return self

    def __exit__(self, *exception: object) -> None:
        settrace(self.before)  # the scheduler has run last, so what is in place is the caller's

    def _switched(self, event: str, greenlets: Any) -> None:
        """Let a rank have what is its own; greenlet calls this when one greenlet goes on in the place of another."""
        target = getcurrent()
        state = target.state if type(target) is RankGreenlet else current_rank()
        own = self.caller if state is None else state.own or self._begin(state)
        if own is not self.running:
            self._let_run(own)
            self.resumed()

    def _begin(self, state: Any) -> ProcessState:
        """Return what a rank has at first; the scheduler runs, so what is in place is the caller's."""
        state.scheduler.shared = self
        state.own = own = ProcessState({}, self.new(state.rank), self.folder)
        variables: Any = os.environ
        codecs = variables.encodekey, variables.decodekey, variables.encodevalue, variables.decodevalue
        own.environ = type(variables)(dict(variables._data), *codecs)
        own.filters = list(warnings.filters)
        root = logging.RootLogger(logging.WARNING)
        root.root = root  # type: ignore[misc]  # of this logger alone: it is the root of its rank
        own.logs = root, vars(logging.Manager(root))
        return own

    def _let_run(self, own: ProcessState) -> None:
        """Put away what is in place, and put what is a rank's own in its place. Each message may need this."""
        out, self.running = self.running, own
        out.of_sys = _of_sys(_sys)
        out.environ, out.filters = os.environ, warnings.filters
        out.logs = logging.root, _manager.__dict__
        kept, modules = {}, sys.modules
        for name in out.modules:
            if name in modules:
                kept[name] = modules.pop(name)
        out.modules = kept
        _sys["argv"], _sys["path"], _sys["stdin"], _sys["stdout"], _sys["stderr"], _sys["excepthook"] = own.of_sys
        os.environ = own.environ  # noqa: B003  # it is no copy that is meant to change the process's variables
        warnings.filters = own.filters
        logging.root, _manager.__dict__ = own.logs
        out.print = _builtins["print"]
        if own.print is not out.print:
            _builtins["print"] = own.print
        modules.update(own.modules)
        asyncio: Any = modules.get("asyncio.events")
        if asyncio is not None:
            out.loop = asyncio._get_running_loop()
            asyncio._set_running_loop(own.loop)
        pyplot: Any = modules.get("matplotlib._pylab_helpers")
        if pyplot is not None:
            out.figures, pyplot.Gcf.figs = pyplot.Gcf.figs, own.figures
        if own.folder != out.folder:
            _chdir(own.folder)

    def moved(self, state: Any) -> None:
        """Note that the rank that runs has changed its current folder."""
        self.running.folder = os.getcwd()

    def has_changed(self) -> bool:
        """Return False: what a rank changes is its own."""
        return False

    def is_left_changed(self) -> bool:
        """Return False: what a rank changes is its own."""
        return False

    def restore(self) -> list[str]:
        """Return no names: everything is put back when the `with` ends."""
        return []
