"""The claims of `claims.py` for algorithms in the background, waited for at once or polled; for either world."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import ranks
from claims import CLAIMS_OF, Case, rows
from claims_of_movers import claim_alltoall
from collectives import two_level_allreduce

Way = Callable[[Callable[..., Any]], Callable[..., Any]]


def waited_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that starts `function` and waits for it."""

    @wraps(function)
    def wait(*args: Any, **kwargs: Any) -> Any:
        return ranks.start(function, *args, **kwargs).wait()

    return wait


def polled_for(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that starts `function` and tests it until it is complete."""

    @wraps(function)
    def poll(*args: Any, **kwargs: Any) -> Any:
        request = ranks.start(function, *args, **kwargs)
        while True:
            complete, result = request.test()
            assert complete is not bool(request)
            if complete:
                return result

    return poll


ALGORITHMS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    row.function.__name__: (claim, row.function)
    for operation, claim in {**CLAIMS_OF, "alltoall": claim_alltoall}.items()
    for row in rows(operation)
    if operation != "reduce" and row.function is not two_level_allreduce  # their claims look at the function itself
}


def claim(comm: Any, case: Case, name: str, way: Way) -> None:
    """Claim of an algorithm in the background what is claimed of it otherwise."""
    what, function = ALGORITHMS[name]
    what(comm, case, way(function))
