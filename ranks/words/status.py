"""What a receive or probe found out about its message."""

from __future__ import annotations

from ranks.words.constants import ANY_SOURCE, ANY_TAG
from ranks.words.datatypes import BYTE, Datatype


class Status:
    """Source, tag and size of a message, filled in by Recv, Probe, Wait and Test; spelled as mpi4py's."""

    __slots__ = ("cancelled", "error", "n_bytes", "source", "tag")

    def __init__(self) -> None:
        self.source, self.tag, self.error = ANY_SOURCE, ANY_TAG, 0
        self.n_bytes, self.cancelled = 0, False

    @property
    def count(self) -> int:
        """Size of the message in bytes."""
        return self.n_bytes

    def Get_source(self) -> int:
        """Return the rank, in the communicator, that sent the message."""
        return self.source

    def Get_tag(self) -> int:
        """Return the tag of the message."""
        return self.tag

    def Get_error(self) -> int:
        """Return the error class, always 0: errors are raised."""
        return self.error

    def Get_count(self, datatype: Datatype = BYTE) -> int:
        """Return the size in elements of `datatype`, UNDEFINED if that is no whole number."""
        return datatype.count_in(self.n_bytes)

    def Get_elements(self, datatype: Datatype) -> int:
        """Return the size in basic elements; all datatypes here are basic."""
        return datatype.count_in(self.n_bytes)

    def Is_cancelled(self) -> bool:
        """Return whether the request was cancelled."""
        return self.cancelled

    def fill(self, source: int, tag: int, n_bytes: int, cancelled: bool = False) -> None:
        """Set all that is known of a message."""
        self.source, self.tag, self.n_bytes, self.cancelled = source, tag, n_bytes, cancelled
