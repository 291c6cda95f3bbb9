"""How often does each word occur, if every rank has read some of the lines?

`Op.Create` makes an operation out of a function; `reduce` uses it to add up counters.

    $ python -m mpi -n 3 examples/mpi/word_count.py
    of 26 words: message 5, a 4, the 4, rank 3
"""

from collections import Counter

from mpi4py import MPI

TEXT = """a rank sends a message
the rank that waits takes the message
no rank reads the message
a message without a reader
is the last message"""

comm = MPI.COMM_WORLD
lines = TEXT.splitlines()[comm.rank :: comm.size]
own = Counter(word for line in lines for word in line.split())

add = MPI.Op.Create(lambda one, other, datatype=None: one + other, commute=True)
total = comm.reduce(own, op=add, root=0)
add.Free()
if comm.rank == 0:
    common = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:4]
    print(f"of {sum(total.values())} words:", ", ".join(f"{word} {n}" for word, n in common))
