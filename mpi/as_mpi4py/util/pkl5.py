"""`mpi4py.util.pkl5`: communicators whose lower-case calls pickle large arrays apart, which all of ours do well."""

from mpi.as_mpi4py import MPI

__all__ = ["Comm", "Intercomm", "Intracomm", "Message", "Pickle", "Request", "pickle"]
Comm, Intercomm, Intracomm, Message, Request = MPI.Comm, MPI.Intercomm, MPI.Intracomm, MPI.Message, MPI.Request
Pickle, pickle = MPI.Pickle, MPI.pickle
