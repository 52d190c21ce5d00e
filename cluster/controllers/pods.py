"""What controllers ask of pods: is it active, ready, available; which is the least useful; one made from a template.

Pure.  Upstream: pkg/controller/controller_utils.go, pkg/api/v1/pod/util.go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.controllers.instants import instant_of
from cluster.machinery.conditions import conditions_of, get_condition
from cluster.machinery.objects import (
    Obj,
    annotations_of,
    field_of,
    is_deleting,
    meta_of,
    name_of,
    namespace_of,
    owner_reference_to,
)

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def phase_of(pod: Obj) -> str:
    return str(field_of(pod, "status", "phase", default="Pending"))


def is_finished(pod: Obj) -> bool:
    return phase_of(pod) in ("Succeeded", "Failed")


def is_active(pod: Obj) -> bool:
    """It runs or will: neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleting(pod)


def condition_of(obj: Obj, kind: str) -> Obj | None:
    return get_condition(conditions_of(obj), kind)


def is_ready(pod: Obj) -> bool:
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Obj) -> datetime | None:
    """When it became ready; None while it is not."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return None
    return instant_of(condition.get("lastTransitionTime")) or _LONG_AGO


def available_in_s(pod: Obj, *, min_ready_s: float, now: datetime) -> float | None:
    """Seconds until the pod has been ready for `min_ready_s`: 0 when it is available, None while it is not ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if min_ready_s <= 0:
        return 0.0
    return max(0.0, min_ready_s - (now - since) / timedelta(seconds=1))


def least_useful_first(pods: Iterable[Obj], related: Sequence[Obj] = ()) -> list[Obj]:
    """Pods in the order to delete them when there are too many; `related` are those they share nodes with.

    Unassigned before assigned, pending before unknown before running, unready before ready, cheap (deletion cost) before
    dear, from crowded nodes before others, ready for a short time before long, restarted often before seldom, young
    before old; then by name, so that the order is total.
    """
    crowd = Counter(field_of(pod, "spec", "nodeName", default="") for pod in related if is_active(pod))

    def usefulness(pod: Obj) -> tuple[Any, ...]:
        node = field_of(pod, "spec", "nodeName", default="")
        since = ready_since(pod)
        return (
            bool(node),
            {"Pending": 0, "Unknown": 1}.get(phase_of(pod), 2),
            since is not None,
            _deletion_cost(pod),
            -crowd[node],
            -(since or _LONG_AGO).timestamp() if since and since != _LONG_AGO else 0.0,
            -restarts_of(pod),
            -_created(pod).timestamp() if _created(pod) != _LONG_AGO else 0.0,
            name_of(pod),
        )

    return sorted(pods, key=usefulness)


def restarts_of(pod: Obj) -> int:
    """The most often any of its containers restarted."""
    return max((status.get("restartCount", 0) for status in field_of(pod, "status", "containerStatuses", default=())),
               default=0)  # fmt: skip


def pod_from_template(owner: Obj) -> dict[str, Any]:
    """A pod as `owner.spec.template` asks for it, owned by `owner`.  The server picks the end of its name."""
    template = owner["spec"]["template"]
    prefix = f"{name_of(owner)}-"
    metadata: dict[str, Any] = {
        "generateName": prefix,
        "namespace": namespace_of(owner),
        "ownerReferences": [owner_reference_to(owner)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if value := meta_of(template).get(field):
            metadata[field] = value
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _deletion_cost(pod: Obj) -> int:
    text = annotations_of(pod).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0  # Upstream warns at admission and counts it as zero.


def _created(pod: Obj) -> datetime:
    return instant_of(meta_of(pod).get("creationTimestamp")) or _LONG_AGO
