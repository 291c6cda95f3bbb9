"""A mesh: ranks in a box with named directions, and a communicator along any of them."""

from __future__ import annotations

import math
from typing import Any

from parallel.arguments import refuse


class Mesh:
    """The ranks of a communicator as a box; the last direction's neighbours have neighbouring ranks.

        def program(comm):
            mesh = Mesh(comm, pp=2, dp=3)
            return mesh.at["dp"], mesh.along("pp").size
        ranks.run(program, 6).results[4]  # (1, 2)

    at: this rank's place in each direction.

    Raises: ValueError on every rank if the product of the sizes is not that of the communicator.
    """

    def __init__(self, comm: Any, **sizes: int) -> None:
        if math.prod(sizes.values()) != comm.size:
            got = f"{comm.size} ranks for " + " * ".join(f"{name}={n}" for name, n in sizes.items())
            refuse(ValueError, "Mesh", got, f"{math.prod(sizes.values())}", "change the sizes or the ranks")
        self.comm, self.sizes = comm, sizes
        self.at: dict[str, int] = {}
        rest = comm.rank
        for name, n in reversed(sizes.items()):
            rest, self.at[name] = divmod(rest, n)

    def along(self, *names: str) -> Any:
        """Return the communicator of the ranks that differ from this one in these directions only; all ranks call it.

        Its ranks are in the order of the mesh.
        """
        unknown = [name for name in names if name not in self.sizes]
        if unknown:
            refuse(ValueError, "Mesh", f"direction {unknown[0]!r}", f"one of {', '.join(self.sizes)}", "name one")
        color = 0
        for name, n in self.sizes.items():
            color = color * n + (0 if name in names else self.at[name])
        return self.comm.Split(color, self.comm.rank)
