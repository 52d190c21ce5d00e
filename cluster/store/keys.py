"""Text keys in order: insertion, removal and prefix ranges in logarithmic time, for the view an engine keeps in memory.

A list of short sorted lists.  One long list would move 800 KB for each new key among 100,000.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass

CHUNK_KEYS_MAX = 1024
"""A chunk that outgrows this is cut in half."""


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys in order, and how many of the range follow the last one."""

    keys: list[str]
    remaining: int


class SortedKeys:
    """A set of keys, ordered by code point (which is also the order of their UTF-8 bytes)."""

    def __init__(self, keys: Iterable[str] = (), *, chunk_keys_max: int = CHUNK_KEYS_MAX) -> None:
        self._chunk_keys_max = chunk_keys_max
        ordered = sorted(set(keys))
        half = chunk_keys_max // 2
        self._chunks = [ordered[start : start + half] for start in range(0, len(ordered), half)]
        self._lasts = [chunk[-1] for chunk in self._chunks]

    def add(self, key: str) -> None:
        """Add `key`; one that is there already is nothing to do."""
        if not self._chunks:
            self._chunks.append([key])
            self._lasts.append(key)
            return
        index = min(bisect_left(self._lasts, key), len(self._chunks) - 1)
        chunk = self._chunks[index]
        if (at := bisect_left(chunk, key)) < len(chunk) and chunk[at] == key:
            return
        insort(chunk, key)
        if len(chunk) > self._chunk_keys_max:
            half = len(chunk) // 2
            self._chunks.insert(index + 1, chunk[half:])
            self._lasts.insert(index + 1, chunk[-1])
            del chunk[half:]
        self._lasts[index] = chunk[-1]

    def discard(self, key: str) -> None:
        """Remove `key`; one that is not there is nothing to do."""
        index = bisect_left(self._lasts, key)
        if index == len(self._chunks):
            return
        chunk = self._chunks[index]
        if (at := bisect_left(chunk, key)) == len(chunk) or chunk[at] != key:
            return
        del chunk[at]
        if chunk:
            self._lasts[index] = chunk[-1]
        else:
            del self._chunks[index], self._lasts[index]

    def range(self, prefix: str, *, start_after: str = "", limit: int = 0) -> KeyPage:
        """Keys that start with `prefix` and follow `start_after`, at most `limit` of them (0: all)."""
        low = max(prefix, start_after)
        keys: list[str] = []
        remaining = 0
        for index in range(bisect_left(self._lasts, low), len(self._chunks)):
            chunk = self._chunks[index]
            # Both edges matter in the first and the last chunk only; elsewhere the whole chunk qualifies.
            start = bisect_right(chunk, low) if low == start_after else bisect_left(chunk, low)
            beyond = not chunk[-1].startswith(prefix)
            end = _end_of(chunk, prefix, start) if beyond else len(chunk)
            room = max(limit - len(keys), 0) if limit else end - start
            keys.extend(chunk[start : min(end, start + room)])
            remaining += max(end - start - room, 0)
            if beyond:
                break
        return KeyPage(keys, remaining)


def _end_of(chunk: list[str], prefix: str, start: int) -> int:
    """Where the keys with `prefix` end, given that all from `start` are not before it."""
    size = len(prefix)
    return bisect_right(chunk, prefix, lo=start, key=lambda key: key[:size])
