"""How long a container that ended waits before it is started again.  Pure.

The delay served travels in the container's labels, so an agent that restarts neither forgets nor repeats it.
Upstream: client-go/util/flowcontrol.Backoff with the kubelet's 10 s base, 300 s bound, reset after ten quiet minutes.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cluster.kubelet.observe import ObservedContainer

BASE_S = 10
MAX_S = 300
RESET_S = 2 * MAX_S


def next_back_off_s(ended: ObservedContainer | None) -> int:
    """The delay that the attempt after `ended` leaves to its own successor: 0 for a first attempt, then 10, 20, ... 300."""
    if ended is None:
        return 0
    if _ran_long(ended):
        return BASE_S
    return min(MAX_S, max(BASE_S, ended.identity.back_off_s * 2))


def restart_at(ended: ObservedContainer) -> datetime | None:
    """When the successor of `ended` may start; None is at once."""
    finished = ended.container.finished_at
    if finished is None or ended.identity.back_off_s == 0 or _ran_long(ended):
        return None
    return finished + timedelta(seconds=ended.identity.back_off_s)


def _ran_long(ended: ObservedContainer) -> bool:
    started, finished = ended.container.started_at, ended.container.finished_at
    return started is not None and finished is not None and (finished - started).total_seconds() >= RESET_S
