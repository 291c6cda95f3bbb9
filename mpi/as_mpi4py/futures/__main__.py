"""`-m mpi4py.futures program.py`: rank 0 runs the program, and the others compute its tasks."""

import sys
from pathlib import Path
from types import ModuleType

from mpi.as_mpi4py import MPI
from ranks.engine.rank import current_rank

from . import Workers, pool, serve  # of mpi4py.futures, under whose name this is run


def run(path: str, name: str) -> None:
    """Run the program in a module of this name, which pickle finds as that of the other ranks, too."""
    module = ModuleType(name)
    module.__file__ = path
    for each in ("__main__", "__worker__"):
        current_rank().own.modules[each] = sys.modules[each] = module
    exec(compile(Path(path).read_bytes(), path, "exec"), vars(module))


def main() -> None:
    """Run the program that `sys.argv` names."""
    comm = MPI.COMM_WORLD.Dup()
    del sys.argv[0]
    if not sys.argv or not Path(sys.argv[0]).is_file():
        got = sys.argv[0] if sys.argv else "no program"
        raise SystemExit(f"mpi4py.futures: got {got}, expected a file; remedy: name it behind -m mpi4py.futures")
    path = str(Path(sys.argv[0]).resolve())
    sys.path.insert(0, str(Path(path).parent))
    if comm.rank:
        run(path, "__worker__")  # for its functions; its __name__ is not __main__
        serve(comm, 0)
        return
    workers = Workers(comm)
    pool.set(workers if comm.size > 1 else None)
    try:
        run(path, "__main__")
    finally:
        workers.stop()


if __name__ == "__main__":
    main()
