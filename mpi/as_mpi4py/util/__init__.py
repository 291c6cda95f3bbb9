"""`mpi4py.util`: pickling out of band, and datatypes of NumPy."""
