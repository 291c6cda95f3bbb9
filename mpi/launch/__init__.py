"""Unchanged programs on simulated ranks: what each rank has for itself, as an MPI process has, and the command.

It knows `ranks` and the module `mpi.MPI`; it does not know how a message is sent.
"""
