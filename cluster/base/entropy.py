"""Chance as an argument: identifiers, name suffixes and jitter come from an Entropy given by constructor."""

from __future__ import annotations

import random
import secrets
import uuid
from typing import Protocol

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""What generated name suffixes are made of: no vowels, no look-alikes (upstream: util/rand)."""


class Entropy(Protocol):
    def uid(self) -> str:
        """A fresh random UUID in its canonical text form."""
        ...

    def suffix(self, length: int) -> str:
        """`length` characters of SUFFIX_ALPHABET."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high], for jitter; not for secrets."""
        ...

    def token_bytes(self, size_bytes: int) -> bytes:
        """Unpredictable bytes, fit for keys and tokens."""
        ...


class SystemEntropy:
    """The operating system's randomness."""

    def uid(self) -> str:
        return str(uuid.uuid4())

    def suffix(self, length: int) -> str:
        return "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(length))

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)

    def token_bytes(self, size_bytes: int) -> bytes:
        return secrets.token_bytes(size_bytes)


class SeededEntropy:
    """Repeatable chance for simulations and tests: the same seed gives the same sequence."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def suffix(self, length: int) -> str:
        return "".join(self._random.choices(SUFFIX_ALPHABET, k=length))

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)

    def token_bytes(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)
