"""The group metrics.k8s.io: what nodes and pods use now.  Virtual, read-only; asked of the nodes when somebody reads.

Upstream: k8s.io/metrics/pkg/apis/metrics/v1beta1, and the columns of metrics-server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.quantity import Quantity, QuantityError, parse_quantity
from cluster.machinery.resource import Resource
from cluster.resources.printing import NAME, Cell, Column

GROUP = "metrics.k8s.io"
DEFINITIONS = "io.k8s.metrics.pkg.apis.metrics.v1beta1"
_READ = ("get", "list")
NODE_METRICS = Resource(
    group=GROUP, version="v1beta1", kind="NodeMetrics", plural="nodes", namespaced=False, verbs=_READ
)
POD_METRICS = Resource(group=GROUP, version="v1beta1", kind="PodMetrics", plural="pods", namespaced=True, verbs=_READ)

_USAGE: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": {"x-kubernetes-int-or-string": True},
    "description": "The memory usage is the memory working set.",
}
_SAMPLE: Mapping[str, Any] = {
    "timestamp": {"type": "string", "format": "date-time", "description": "The end of the window."},
    "window": {"type": "string", "description": "The time over which usage was averaged."},
}
_CONTAINER: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "usage"],
    "properties": {"name": {"type": "string", "description": "The container's name."}, "usage": _USAGE},
}
SCHEMAS: Mapping[Resource, Obj] = {
    NODE_METRICS: {
        "type": "object",
        "description": "What a node uses.",
        "properties": {**_SAMPLE, "usage": _USAGE},
    },
    POD_METRICS: {
        "type": "object",
        "description": "What the containers of a pod use.",
        "properties": {**_SAMPLE, "containers": {"type": "array", "items": _CONTAINER}},
    },
}


def _total(obj: Obj, name: str) -> Quantity:
    parts = [field_of(one, "usage", name) for one in obj.get("containers") or (obj,)]
    total = Quantity(0)
    for part in parts:
        try:
            total += parse_quantity(part or "0")
        except QuantityError:
            continue
    return total


def _cpu(obj: Obj, now: datetime) -> Cell:
    return f"{_total(obj, 'cpu').millis}m"


def _memory(obj: Obj, now: datetime) -> Cell:
    return f"{_total(obj, 'memory').value // 1024}Ki"


COLUMNS: Sequence[Column] = (
    NAME,
    Column("Cpu", _cpu),
    Column("Memory", _memory),
    Column("Window", lambda obj, now: str(obj.get("window", ""))),
)
