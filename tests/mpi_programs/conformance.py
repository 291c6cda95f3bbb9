"""Run under mpiexec: every conformance program on real MPI; writes {name: results by rank} to the file argv[1]."""

import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))  # tests/ranks is not the package

from mpi_programs import buffers, handles, messages, refusals
from ranks.real import world

comm = world()
results = {}
for program in [*messages.PROGRAMS, *buffers.PROGRAMS, *handles.PROGRAMS, *refusals.PROGRAMS]:
    try:
        results[program.__name__] = comm.gather(program(comm.Dup()))
    except BaseException as problem:
        problem.add_note(f"in {program.__name__} on rank {comm.rank} of {comm.size}")
        raise
if comm.rank == 0:
    Path(sys.argv[1]).write_bytes(pickle.dumps(results))
