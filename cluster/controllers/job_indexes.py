"""Sets of completion indexes, written as a Job's status writes them: `0,2-4`.  Pure.

Upstream: pkg/controller/job/indexed_job_utils.go orderedIntervals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_INTERVAL = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Indexes:
    """Closed intervals in rising order that do not touch."""

    intervals: tuple[tuple[int, int], ...] = ()

    @property
    def total(self) -> int:
        return sum(last - first + 1 for first, last in self.intervals)

    def __contains__(self, index: int) -> bool:
        return any(first <= index <= last for first, last in self.intervals)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.intervals:
            yield from range(first, last + 1)

    def __str__(self) -> str:
        return ",".join(_text(first, last) for first, last in self.intervals)

    def including(self, indexes: Iterable[int]) -> Indexes:
        return _joined([*self.intervals, *((index, index) for index in indexes)])

    def common(self, other: Indexes) -> int:
        """How many indexes both hold."""
        return sum(
            max(0, min(last, its_last) - max(first, its_first) + 1)
            for first, last in self.intervals
            for its_first, its_last in other.intervals
        )


def parse_indexes(text: str, completions: int) -> Indexes:
    """The indexes below `completions` that `text` lists; what is no list of indexes (a status of others) counts as none."""
    found: list[tuple[int, int]] = []
    for part in text.split(",") if text else ():
        match = _INTERVAL.match(part)
        if match is None:
            return Indexes()
        first = int(match[1])
        last = min(int(match[2] or match[1]), completions - 1)
        if first <= last:
            found.append((first, last))
    return _joined(found)


def _joined(intervals: Iterable[tuple[int, int]]) -> Indexes:
    joined: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last))
        else:
            joined.append((first, last))
    return Indexes(tuple(joined))


def _text(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"
