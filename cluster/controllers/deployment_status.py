"""The status of a Deployment: counts, and the conditions Available, Progressing and ReplicaFailure.

Pure.  Upstream: pkg/controller/deployment/{progress,sync}.go; the reasons and messages are upstream's, clients read them
(`kubectl rollout status`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cluster.controllers.deployment_revisions import desired_replicas
from cluster.controllers.deployment_rollout import available_of, limits_of, replicas_of
from cluster.controllers.instants import instant_of
from cluster.controllers.pods import condition_of
from cluster.machinery.conditions import conditions_of
from cluster.machinery.objects import Obj, field_of, generation_of, name_of
from cluster.machinery.timestamps import format_time

NO_DEADLINE = 2**31 - 1

FOUND_NEW = "FoundNewReplicaSet"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"
CREATE_ERROR = "ReplicaSetCreateError"


def status_of(
    deployment: Obj, new: Obj | None, old: Sequence[Obj], *, now: datetime, failure: str = ""
) -> dict[str, Any]:
    """`status` from the ReplicaSets.  `failure` is why the new one could not be created."""
    every = [*old, *([new] if new is not None else ())]
    counts = {
        "replicas": sum(_count(rs, "replicas") for rs in every),
        "updatedReplicas": _count(new, "replicas") if new is not None else 0,
        "readyReplicas": sum(_count(rs, "readyReplicas") for rs in every),
        "availableReplicas": sum(map(available_of, every)),
    }
    missing = sum(map(replicas_of, every)) - counts["availableReplicas"]
    status: dict[str, Any] = {"observedGeneration": generation_of(deployment)}
    status |= {name: count for name, count in counts.items() if count}
    if missing > 0:
        status["unavailableReplicas"] = missing
    if (collisions := field_of(deployment, "status", "collisionCount")) is not None:
        status["collisionCount"] = collisions
    conditions = [_available(deployment, counts["availableReplicas"], now)]
    progressing = _progressing(deployment, new, counts, now, failure)
    if progressing is not None:
        conditions.append(progressing)
    replica_failure = next(
        (found for rs in (*([new] if new is not None else ()), *old) if (found := condition_of(rs, "ReplicaFailure"))),
        None,
    )
    if replica_failure is not None:
        conditions.append({**replica_failure, "lastUpdateTime": replica_failure.get("lastTransitionTime")})
    status["conditions"] = conditions
    return status


def is_complete(deployment: Obj, counts: Obj) -> bool:
    """Every desired replica is updated and available, and no other is left."""
    desired = desired_replicas(deployment)
    return all(counts.get(name, 0) == desired for name in ("updatedReplicas", "replicas", "availableReplicas"))


def next_look_s(deployment: Obj, status: Obj, *, now: datetime) -> float | None:
    """Seconds until the progress deadline passes; None when it is not running."""
    deadline_s = _deadline_s(deployment)
    condition = condition_of({"status": status}, "Progressing")
    if deadline_s is None or condition is None or is_paused(deployment):
        return None
    if condition.get("reason") in (COMPLETE, TIMED_OUT, PAUSED):
        return None
    since = instant_of(condition.get("lastUpdateTime"))
    if since is None:
        return None
    # A second more: the condition's time has whole seconds.
    return max(1.0, deadline_s + 1 - (now - since) / timedelta(seconds=1))


def is_paused(deployment: Obj) -> bool:
    return bool(field_of(deployment, "spec", "paused", default=False))


def _available(deployment: Obj, available: int, now: datetime) -> Obj:
    if available >= desired_replicas(deployment) - limits_of(deployment).unavailable:
        return _condition(
            deployment, "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", now
        )
    return _condition(
        deployment, "Available", "False", "MinimumReplicasUnavailable",
        "Deployment does not have minimum availability.", now,
    )  # fmt: skip


def _progressing(deployment: Obj, new: Obj | None, counts: dict[str, int], now: datetime, failure: str) -> Obj | None:
    """The Progressing condition, by what happened since the status that `deployment` carries."""
    current = condition_of(deployment, "Progressing")
    deadline_s = _deadline_s(deployment)
    if deadline_s is None:
        return None
    if is_paused(deployment):
        if current is not None and current.get("reason") == TIMED_OUT:
            return current
        return _condition(deployment, "Progressing", "Unknown", PAUSED, "Deployment is paused", now)
    if current is not None and current.get("reason") == PAUSED:
        return _condition(deployment, "Progressing", "Unknown", RESUMED, "Deployment is resumed", now)
    if failure:
        return _condition(deployment, "Progressing", "False", CREATE_ERROR, failure, now)
    what = f'ReplicaSet "{name_of(new)}"' if new is not None else f'Deployment "{name_of(deployment)}"'
    if is_complete(deployment, counts):
        message = f"{what} has successfully progressed."
        return _condition(deployment, "Progressing", "True", COMPLETE, message, now)
    if current is not None and current.get("reason") == COMPLETE and counts["replicas"] == counts["updatedReplicas"]:
        return current  # It had arrived: lost or added replicas are no new rollout, and no deadline runs.
    if _has_progressed(deployment, counts):
        return _condition(deployment, "Progressing", "True", UPDATED, f"{what} is progressing.", now, restart=True)
    if current is None:
        if new is None:
            return None
        return _condition(deployment, "Progressing", "True", FOUND_NEW, f'Found new replica set "{name_of(new)}"', now)
    if current.get("reason") in (COMPLETE, CREATE_ERROR) and new is not None:
        return _condition(
            deployment, "Progressing", "True", FOUND_NEW, f'Found new replica set "{name_of(new)}"', now, restart=True
        )
    since = instant_of(current.get("lastUpdateTime"))
    overdue = since is not None and (now - since) / timedelta(seconds=1) > deadline_s
    if current.get("reason") == TIMED_OUT or overdue:
        message = f"{what} has timed out progressing."
        return _condition(deployment, "Progressing", "False", TIMED_OUT, message, now)
    return current


def _has_progressed(deployment: Obj, counts: dict[str, int]) -> bool:
    """More is updated, ready or available than the present status says, or fewer old replicas are left."""
    before = deployment.get("status") or {}
    old_before = int(before.get("replicas", 0)) - int(before.get("updatedReplicas", 0))
    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    return counts["replicas"] - counts["updatedReplicas"] < old_before or any(
        counts[name] > int(before.get(name, 0)) for name in grown
    )


def _condition(
    deployment: Obj, type_: str, status: str, reason: str, message: str, now: datetime, *, restart: bool = False
) -> Obj:
    """The condition with its times: the transition's stays while the status does; `restart` renews the update's."""
    stamp = format_time(now)
    old = next((c for c in conditions_of(deployment) if c.get("type") == type_), None)
    same = old is not None and old.get("status") == status
    unchanged = same and old is not None and old.get("reason") == reason and old.get("message") == message
    if unchanged and old is not None and not restart:
        return old
    return {
        "type": type_,
        "status": status,
        "lastUpdateTime": stamp,
        "lastTransitionTime": old.get("lastTransitionTime") if same and old is not None else stamp,
        "reason": reason,
        "message": message,
    }


def _deadline_s(deployment: Obj) -> int | None:
    seconds = field_of(deployment, "spec", "progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else int(seconds)


def _count(rs: Obj, field: str) -> int:
    return int(field_of(rs, "status", field, default=0))
