"""How often pods that fail on a node are replaced there: after a second, then two, up to a quarter of an hour.

Knows no kind.  Upstream: the failedPodsBackoff of pkg/controller/daemon/daemon_controller.go.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 1.0
LONGEST_S = 900.0


@dataclass(slots=True)
class _Wait:
    delay_s: float
    since_s: float


class FailedPodBackoff:
    """By owner and node; what has not failed for twice the longest delay is forgotten.  Instants are a monotonic clock's."""

    def __init__(self) -> None:
        self._waits: dict[tuple[str, str], _Wait] = {}

    def held(self, owner: str, now_s: float) -> dict[str, float]:
        """The nodes on which nothing of `owner` is replaced yet, and for how many seconds."""
        return {
            node: left
            for (uid, node), wait in self._waits.items()
            if uid == owner and (left := wait.since_s + wait.delay_s - now_s) > 0
        }

    def failed(self, owner: str, node: str, now_s: float) -> None:
        """One was replaced: the next one is later."""
        self._waits = {key: wait for key, wait in self._waits.items() if now_s - wait.since_s <= 2 * LONGEST_S}
        former = self._waits.get((owner, node))
        delay_s = FIRST_S if former is None else min(2 * former.delay_s, LONGEST_S)
        self._waits[owner, node] = _Wait(delay_s, now_s)
