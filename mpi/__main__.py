"""`python -m mpi -n 4 program.py`: see `mpi.launch.command`."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # Python looks for modules in the current folder first: a file there, say collectives.py, would replace ours.
    if Path(sys.path[0] or os.curdir).resolve() != Path(__file__).resolve().parents[1]:
        del sys.path[0]

    from mpi.launch.command import main

    sys.exit(main(sys.argv[1:]))
