"""A pod's quality of service class, from its containers' requests and limits.

Upstream: pkg/apis/core/helper/qos/qos.go ComputePodQOS.
"""

from __future__ import annotations

from cluster.machinery.objects import Obj
from cluster.machinery.quantity import QuantityError, parse_quantity

_COUNTED = ("cpu", "memory")


def qos_class_of(spec: Obj) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`.  Unparsable quantities count as absent: validation refuses them."""
    guaranteed = True
    anything = False
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        resources = container.get("resources") or {}
        limits, requests = (resources.get(field) or {} for field in ("limits", "requests"))
        for name in _COUNTED:
            limit, request = _nanos(limits.get(name)), _nanos(requests.get(name))
            anything = anything or bool(limit or request)
            # An unset request is defaulted to the limit before this is asked.
            guaranteed = guaranteed and bool(limit) and request in (limit, 0)
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _nanos(text: str | None) -> int:
    try:
        return parse_quantity(text).nanos if text is not None else 0
    except QuantityError:
        return 0
