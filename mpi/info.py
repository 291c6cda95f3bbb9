"""Info: hints, as pairs of texts in the order in which they were given."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from mpi.constants import MAX_INFO_KEY, MAX_INFO_VAL
from mpi.errors import ERR_ARG, ERR_INFO, ERR_INFO_KEY, ERR_INFO_NOKEY, ERR_INFO_VALUE, wrong
from mpi.handles import Handle, Named, constant, text

Items = Any


class Hints(Named):
    """What an Info stands for."""

    def __init__(self, entries: dict[str, str]) -> None:
        super().__init__()
        self.entries = entries


class Info(Handle):
    """Hints to MPI, which may heed them or not."""

    __slots__ = ()
    error_class = ERR_ARG
    null = "INFO_NULL"

    @property
    def _entries(self) -> dict[str, str]:
        entries: dict[str, str] = self._object().entries
        return entries

    @classmethod
    def Create(cls, items: Items = None) -> Self:
        """Return new hints."""
        self = cls._of(Hints({}))
        if items is not None:
            self.update(items)
        return self

    @classmethod
    def Create_env(cls, args: Any = None) -> Self:
        """Return hints about how the program was started."""
        given = list(sys.argv if args is None else args)
        entries = {
            "command": given[0] if given else "",
            "argv": " ".join(given[1:]),
            "thread_level": "MPI_THREAD_MULTIPLE",
        }
        return cls._of(Hints({key: value for key, value in entries.items() if value}))

    def Free(self) -> None:
        """Make the handle null."""
        self._object()
        if any(constant_._o is self._o for constant_ in (INFO_ENV,)):
            raise wrong(ERR_INFO, "Free of INFO_ENV", "hints that the program has made", "keep it")
        self._o = None

    def Dup(self) -> Self:
        """Return a copy of the hints."""
        return type(self)._of(Hints(dict(self._entries)))

    def Get(self, key: str) -> str | None:
        """Return the value of a key, None if there is none."""
        return self._entries.get(_checked(key, MAX_INFO_KEY, ERR_INFO_KEY))

    def Set(self, key: str, value: str) -> None:
        """Set the value of a key."""
        entries = self._entries
        entries[_checked(key, MAX_INFO_KEY, ERR_INFO_KEY)] = _checked(value, MAX_INFO_VAL, ERR_INFO_VALUE, 0)

    def Delete(self, key: str) -> None:
        """Remove a key."""
        if self._entries.pop(_checked(key, MAX_INFO_KEY, ERR_INFO_KEY), None) is None:
            raise wrong(ERR_INFO_NOKEY, f"key {key!r}", "one of the hints", "ask whether it is there")

    def Get_nkeys(self) -> int:
        """Return the number of keys."""
        return len(self._entries)

    def Get_nthkey(self, n: int) -> str:
        """Return a key by its place."""
        keys = list(self._entries)
        if not 0 <= n < len(keys):
            raise wrong(ERR_ARG, f"key number {n}", f"0 to {len(keys) - 1}", "ask Get_nkeys")
        return keys[n]

    # -- as a dict -----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._o.entries) if self._o is not None else 0

    def __bool__(self) -> bool:
        return self._o is not None

    def __contains__(self, key: str) -> bool:
        return self._o is not None and key in self._o.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __getitem__(self, key: str) -> str:
        if self._o is None or key not in self._o.entries:
            raise KeyError(key)
        value: str = self._o.entries[key]
        return value

    def __setitem__(self, key: str, value: str) -> None:
        if self._o is None:
            raise KeyError(key)
        self.Set(key, value)

    def __delitem__(self, key: str) -> None:
        if self._o is None or key not in self._o.entries:
            raise KeyError(key)
        self.Delete(key)

    def get(self, key: str, default: str | None = None) -> str | None:
        """Return the value of a key, `default` if there is none."""
        return default if self._o is None else self._o.entries.get(key, default)

    def keys(self) -> list[str]:
        """Return the keys."""
        return [] if self._o is None else list(self._o.entries)

    def values(self) -> list[str]:
        """Return the values."""
        return [] if self._o is None else list(self._o.entries.values())

    def items(self) -> list[tuple[str, str]]:
        """Return the pairs of keys and values."""
        return [] if self._o is None else list(self._o.entries.items())

    def update(self, items: Info | Mapping[str, str] | Iterable[tuple[str, str]] = (), **kwds: str) -> None:
        """Set the values of several keys."""
        if self._o is None:
            raise KeyError
        pairs: Any = items.items() if hasattr(items, "items") else items
        for key, value in [*pairs, *kwds.items()]:
            self.Set(key, value)

    def pop(self, key: str, *default: str) -> str:
        """Remove a key, and return its value."""
        if key in self or not default:
            value = self[key]
            self.Delete(key)
            return str(value)
        return default[0]

    def popitem(self) -> tuple[str, str]:
        """Remove the last key, and return it with its value."""
        if not self.keys():
            raise KeyError
        key = self.keys()[-1]
        return key, self.pop(key)

    def copy(self) -> Self:
        """Return a copy of the hints."""
        return type(self)() if self._o is None else self.Dup()

    def clear(self) -> None:
        """Remove all keys."""
        if self._o is not None:
            self._o.entries.clear()

    def _reduced(self) -> Any:
        return type(self).Create, (self.items(),)


def _checked(value: Any, limit: int, error_class: int, least: int = 1) -> str:
    found = text(value)
    if not least <= len(found) <= limit:
        raise wrong(error_class, f"a text of {len(found)} characters", f"{least} to {limit}", "correct it")
    return found


INFO_NULL = constant("INFO_NULL", Info())
INFO_ENV = constant("INFO_ENV", Info.Create_env())


class HasHints(Handle):
    """A handle of something that takes hints: a communicator, a window."""

    __slots__ = ()

    def Get_info(self) -> Info:
        """Return a copy of its hints."""
        return Info._of(Hints(dict(self._object().info)))

    def Set_info(self, info: Info) -> None:
        """Set its hints."""
        self._object().info = dict(Info._checked(info)._entries)

    info = property(Get_info, Set_info)
