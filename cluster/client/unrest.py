"""How long a controller's keys have been restless: what they wrote, or failed to, makes them come again and again.

A controller brings every key to rest once nothing else changes; one that never rests fights somebody, or itself.
It knows neither queues nor objects.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cluster.base.clock import Clock

RESTED_S = 30.0
"""What wrote and was not woken by it for this long is at rest: many writes wake nobody."""

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Spell:
    since: float
    wrote_at: float | None = None


class Unrest(Generic[K]):
    """Bounded by the keys that are being worked on, failing, or wrote within RESTED_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spells: dict[K, _Spell] = {}

    def began(self, key: K) -> None:
        """A reconcile begins: its spell goes on, unless it had come to rest."""
        now = self._clock.monotonic()
        spell = self._spells.get(key)
        if spell is None or _is_over(spell, now):
            self._spells[key] = _Spell(now)
        else:
            spell.wrote_at = None

    def rested(self, key: K) -> None:
        """It had nothing to write, or there is nothing to retry."""
        self._spells.pop(key, None)

    def wrote(self, key: K) -> None:
        """It succeeded and changed something; whether that brings it back is to be seen."""
        spell = self._spells.get(key)
        if spell is not None:
            spell.wrote_at = self._clock.monotonic()

    def longest_s(self) -> float:
        """Since when the most restless key has not rested; 0 when all do."""
        now = self._clock.monotonic()
        self._spells = {key: spell for key, spell in self._spells.items() if not _is_over(spell, now)}
        return max((now - spell.since for spell in self._spells.values()), default=0.0)


def _is_over(spell: _Spell, now: float) -> bool:
    return spell.wrote_at is not None and now - spell.wrote_at > RESTED_S
