"""Grequest: a request that the program itself completes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from mpi.attributes import _call
from mpi.errors import ERR_REQUEST, wrong
from mpi.process import process
from mpi.requests import Request
from mpi.status import Status
from ranks.messages.operation import Work


class Grequest(Request):
    """A generalized request: it is complete once the program says so.

    _asked:  The program's functions: what fills in the status, what is called at the end, and what cancels.
    _begun:  Its operation, which remains known when the request is finished.
    """

    __slots__ = ("_asked", "_begun", "_result")

    def __init__(self, request: Request | None = None) -> None:
        super().__init__(request)
        self._asked: Any = getattr(request, "_asked", (None, None, None))
        self._begun: Work | None = getattr(request, "_begun", None)
        self._result: Any = None

    @classmethod
    def Start(
        cls, query_fn: Callable[..., None] | None = None, free_fn: Callable[..., None] | None = None,
        cancel_fn: Callable[..., None] | None = None, args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Self:  # fmt: skip
        """Return a request that `Complete` completes."""
        given, named = args or (), kwargs or {}

        def bound(function: Any) -> Any:
            return function and (lambda *own: _call(function, *own, *given, **named))

        c = process().world.c
        work = Work("Grequest", c._state, c._box, None)
        self = cls._of(c, c._open(work))
        self._asked, self._begun = (bound(query_fn), bound(free_fn), bound(cancel_fn)), work
        return self

    def Complete(self) -> None:
        """Let the request be complete."""
        work = self._begun
        if work is None or work.ready_ps is not None:
            raise wrong(ERR_REQUEST, "a request that is complete", "one under way", "complete it once")
        work.complete(work.state.now)

    def complete(self, obj: Any = None) -> None:
        """Let the request be complete, with an object that `wait` returns."""
        self._result = obj
        self.Complete()

    def Cancel(self) -> None:
        """Call the program's function for it."""
        cancel = self._asked[2]
        if cancel is not None:
            cancel(self._begun is None or self._begun.ready_ps is not None)

    cancel = Cancel

    def _finish(self, status: Any) -> Any:
        is_active = self._operation is not None
        super()._finish(status)
        if not is_active:
            return None
        query, free, _ = self._asked
        try:
            if query is not None:
                query(Status() if status is None else status)
        finally:
            if free is not None:
                free()
        result, self._result = self._result, None
        return result


Grequest.special = Grequest
