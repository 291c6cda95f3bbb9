"""`python -m mpi -n 4 program.py`: see `mpi.launch.command`."""

import sys

from mpi.launch.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
