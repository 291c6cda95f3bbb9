"""Tests of MPI programs: a pytest plugin that runs a test function on every rank.

It knows `mpi` and pytest; programs that are started by a command are the affair of `mpi.launch`.
"""
