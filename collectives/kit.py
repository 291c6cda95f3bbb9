"""The names that most algorithms import, in one place; `arrays.py` has blocks of arrays."""

from collectives.calls import Counts, Out
from collectives.catalogue import algorithm, cost_of, rounds_of
from collectives.messages import new_tag
from collectives.reduction import Op
from collectives.scratch import scratch

__all__ = ["Counts", "Op", "Out", "algorithm", "cost_of", "new_tag", "rounds_of", "scratch"]
