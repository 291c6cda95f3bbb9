"""One call for both worlds, simulated ranks and real MPI: what is kept, nodes, shared memory, background work.

It does not know how a run begins or ends.
"""
