"""All ways to do one thing with simulated ranks, for tests that claim something of every one of them."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import ranks

US = 10**6
NETWORKS = ["infiniband", "alpha-beta", "dgx-a100-shared"]
BUFFERINGS = ["none", "eager", "infinite"]
WAITS = ["Wait", "wait", "Waitall", "waitall", "Waitany", "waitany", "Waitsome", "waitsome"]
TESTS = ["Test", "test", "Testall", "testall", "Testany", "testany", "Testsome", "testsome"]
COMPLETIONS = [*WAITS, *TESTS]
DTYPES = "?bBhHiIlLqQefdgFDG"


def call_on(name: str, request: Any) -> Callable[[], Any]:
    """Return the call `name` on one request, or on a list of that one."""
    if name.lower() in ("wait", "test", "get_status"):
        return getattr(request, name)
    return partial(getattr(ranks.Request, name), [request])


def says_yes(name: str, answer: Any) -> bool:
    """Return whether this answer of a Test, Testall, Testany, ... says that something is complete."""
    if name.lower() == "testany":
        return answer[1]
    if name.lower() == "testsome":
        return bool(answer[0] if name.islower() else answer)
    return answer[0] if isinstance(answer, tuple) else answer


def noes(name: str, request: Any) -> Iterator[None]:
    """Complete a request by the call `name`; yield whenever it says no."""
    call = call_on(name, request)
    answer = call()
    while name in TESTS and not says_yes(name, answer):
        yield
        answer = call()


def complete(name: str, request: Any) -> None:
    """Complete a request by the call `name`, made as often as it takes."""
    for _ in noes(name, request):
        pass


def by_irecv(comm: Any, x: Any, source: int) -> Any:
    return comm.Irecv(x, source, 5)


def by_irecv_of_any_tag(comm: Any, x: Any, source: int) -> Any:
    return comm.Irecv(x, source)


def by_irecv_of_any(comm: Any, x: Any, source: int) -> Any:
    return comm.Irecv(x)


def by_start(comm: Any, x: Any, source: int) -> Any:
    request = comm.Recv_init(x, source, 5)
    request.Start()
    return request


def by_start_of_any(comm: Any, x: Any, source: int) -> Any:
    request = comm.Recv_init(x)
    request.Startall([request])
    return request


def by_mprobe(comm: Any, x: Any, source: int) -> Any:
    return comm.Mprobe(source, 5).Irecv(x)


def by_improbe(comm: Any, x: Any, source: int) -> Any:
    while (message := comm.Improbe()) is None:
        pass
    return message.Irecv(x)


# Ways to start to receive into x a message with tag 5, the first one that `source` sends.
POSTS = [by_irecv, by_irecv_of_any_tag, by_irecv_of_any, by_start, by_start_of_any, by_mprobe, by_improbe]


def line_of(program: Any, mark: str) -> str:
    """Return "file.py:12" of the line of `program` that ends with the comment `# mark`."""
    path = inspect.getsourcefile(program)
    assert path is not None
    lines, first = inspect.getsourcelines(program)
    found = [n for n in range(first, first + len(lines)) if linecache.getline(path, n).rstrip().endswith(f"# {mark}")]
    assert len(found) == 1, (mark, found)
    return f"{Path(path).name}:{found[0]}"


def holds(values: Any, number: Any) -> bool:
    """Return whether all elements are this number."""
    return bool(np.all(np.asarray(values) == number))
