"""The random generators of one rank."""

from __future__ import annotations

import random

import numpy as np


class Chance:
    """The generators of one rank, made when it asks for them."""

    __slots__ = ("_numpy", "_python", "seed")

    def __init__(self, seed: str) -> None:
        self.seed = seed
        self._python: random.Random | None = None
        self._numpy: np.random.RandomState | None = None

    @property
    def python(self) -> random.Random:
        """What the functions of `random` use."""
        if self._python is None:
            self._python = random.Random(self.seed)
        return self._python

    @property
    def numpy(self) -> np.random.RandomState:
        """What the functions of `np.random` use."""
        if self._numpy is None:
            self._numpy = np.random.RandomState(random.Random(self.seed).getrandbits(32))
        return self._numpy

    def made(self) -> list[random.Random | np.random.RandomState]:
        """Return those that were asked for."""
        return [each for each in (self._python, self._numpy) if each is not None]
