"""HorizontalPodAutoscaler as autoscaling/v1 has it: a cpu percentage, and the rest as JSON in annotations.

The object is stored as v2; what v1 cannot say goes there and back through the annotations, so that an old client that reads,
changes and writes loses nothing.  Upstream: pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from cluster.machinery.errors import Cause
from cluster.machinery.objects import Obj, annotations_of, field_of, meta_of
from cluster.resources.autoscaling import KINDS, HorizontalPodAutoscalerStrategy
from cluster.resources.autoscaling_metrics import SOURCES
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.printing import Cell, Column
from cluster.resources.strategy import GenericStrategy

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_ANNOTATIONS = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)
V1, V2 = "autoscaling/v1", "autoscaling/v2"


def to_v2(autoscaler: Obj) -> Obj:
    """A v1 autoscaler as v2.  Annotations that hold no JSON of the right shape are dropped, as upstream's decoder does."""
    annotations = annotations_of(autoscaler)
    spec: dict[str, Any] = dict(autoscaler.get("spec") or {})
    status: dict[str, Any] = dict(autoscaler.get("status") or {})
    metrics = [_metric_to_v2(metric) for metric in _list(annotations, METRICS)]
    if (percent := spec.pop("targetCPUUtilizationPercentage", None)) is not None:
        metrics.insert(0, _cpu("target", {"type": "Utilization", "averageUtilization": percent}))
    if metrics:
        spec["metrics"] = metrics
    if (behavior := _json(annotations, BEHAVIOR)) and isinstance(behavior, dict):
        spec["behavior"] = {
            _lower(name): _lowered(rules) for name, rules in behavior.items() if isinstance(rules, dict)
        }
    current = [_status_to_v2(metric) for metric in _list(annotations, CURRENT_METRICS)]
    if (percent := status.pop("currentCPUUtilizationPercentage", None)) is not None:
        current.insert(0, _cpu("current", {"averageUtilization": percent}))
    if current:
        status["currentMetrics"] = current
    if conditions := _list(annotations, CONDITIONS):
        status["conditions"] = conditions
    return _rebuilt(autoscaler, V2, {}, spec, status)


def to_v1(autoscaler: Obj) -> Obj:
    """A v2 autoscaler as v1."""
    spec: dict[str, Any] = dict(autoscaler.get("spec") or {})
    status: dict[str, Any] = dict(autoscaler.get("status") or {})
    hidden: dict[str, Any] = {}
    metrics = list(spec.pop("metrics", None) or ())
    if (cpu := _cpu_percentage(metrics, "target")) is not None:
        spec["targetCPUUtilizationPercentage"] = field_of(metrics.pop(cpu), "resource", "target", "averageUtilization")
    if metrics:
        hidden[METRICS] = [_metric_to_v1(metric) for metric in metrics]
    if behavior := spec.pop("behavior", None):
        hidden[BEHAVIOR] = {_upper(name): _raised(rules) for name, rules in behavior.items()}
    current = list(status.pop("currentMetrics", None) or ())
    if (cpu := _cpu_percentage(current, "current")) is not None:
        status["currentCPUUtilizationPercentage"] = field_of(
            current.pop(cpu), "resource", "current", "averageUtilization"
        )
    if current:
        hidden[CURRENT_METRICS] = [_status_to_v1(metric) for metric in current]
    if conditions := status.pop("conditions", None):
        hidden[CONDITIONS] = conditions
    return _rebuilt(autoscaler, V1, hidden, spec, status)


def _rebuilt(autoscaler: Obj, api_version: str, hidden: Mapping[str, Any], spec: Obj, status: Obj) -> Obj:
    kept = {name: text for name, text in annotations_of(autoscaler).items() if name not in _ANNOTATIONS}
    kept |= {name: orjson.dumps(value).decode() for name, value in hidden.items()}
    meta = {name: value for name, value in meta_of(autoscaler).items() if name != "annotations"}
    made = {**autoscaler, "apiVersion": api_version, "metadata": {**meta, "annotations": kept} if kept else meta}
    for name, part in (("spec", spec), ("status", status)):
        if part or name in autoscaler:
            made[name] = part
    return made


def _json(annotations: Mapping[str, str], name: str) -> Any:
    try:
        return orjson.loads(annotations.get(name) or "null")
    except orjson.JSONDecodeError:
        return None


def _list(annotations: Mapping[str, str], name: str) -> list[Any]:
    value = _json(annotations, name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _cpu(word: str, value: Obj) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": "cpu", word: value}}


def _cpu_percentage(metrics: Sequence[Obj], word: str) -> int | None:
    """Which metric is the cpu percentage that v1 has a field for."""
    for index, metric in enumerate(metrics):
        source = metric.get("resource") or {}
        if source.get("name") == "cpu" and field_of(source, word, "averageUtilization") is not None:
            return index
    return None


def _metric_to_v1(metric: Obj) -> dict[str, Any]:
    """The older shape of a metric's target: flat fields beside the source's own."""
    field = SOURCES.get(metric.get("type", ""), "")
    source = metric.get(field) or {}
    target = source.get("target") or {}
    flat: dict[str, Any] = {}
    match field:
        case "resource" | "containerResource":
            flat = {"name": source.get("name", ""), "container": source.get("container")}
            flat |= {"targetAverageUtilization": target.get("averageUtilization")}
            flat |= {"targetAverageValue": target.get("averageValue")}
        case "pods":
            flat = {**_identifier_to_v1(source, "selector"), "targetAverageValue": target.get("averageValue")}
        case "external":
            flat = {**_identifier_to_v1(source, "metricSelector"), "targetValue": target.get("value")}
            flat |= {"targetAverageValue": target.get("averageValue")}
        case "object":
            flat = {**_identifier_to_v1(source, "selector"), "target": source.get("describedObject") or {}}
            flat |= {"targetValue": target.get("value", "0"), "averageValue": target.get("averageValue")}
    return {"type": metric.get("type", ""), field: _present(flat)} if field else dict(metric)


def _metric_to_v2(metric: Obj) -> dict[str, Any]:
    field = SOURCES.get(metric.get("type", ""), "")
    source = metric.get(field) or {}
    made: dict[str, Any] = {}
    target: dict[str, Any] = {}
    match field:
        case "resource" | "containerResource":
            made = _present({"name": source.get("name", ""), "container": source.get("container")})
            target = {"averageUtilization": source.get("targetAverageUtilization")}
            target |= {"averageValue": source.get("targetAverageValue")}
        case "pods":
            made, target = _identifier_to_v2(source, "selector"), {"averageValue": source.get("targetAverageValue")}
        case "external":
            made = _identifier_to_v2(source, "metricSelector")
            target = {"value": source.get("targetValue"), "averageValue": source.get("targetAverageValue")}
        case "object":
            made = {**_identifier_to_v2(source, "selector"), "describedObject": source.get("target") or {}}
            target = {"averageValue": source.get("averageValue")}
            if target["averageValue"] is None:
                target["value"] = source.get("targetValue")
    set_fields = _present(target)
    kinds = {"averageUtilization": "Utilization", "averageValue": "AverageValue", "value": "Value"}
    kind = next((word for name, word in kinds.items() if name in set_fields), "Value")
    return {"type": metric.get("type", ""), field: {**made, "target": {"type": kind, **set_fields}}} if field else {}


def _identifier_to_v1(source: Obj, selector: str) -> dict[str, Any]:
    metric = source.get("metric") or {}
    return {"metricName": metric.get("name", ""), selector: metric.get("selector")}


def _identifier_to_v2(source: Obj, selector: str) -> dict[str, Any]:
    return {"metric": _present({"name": source.get("metricName", ""), "selector": source.get(selector)})}


_CURRENT = {
    "currentAverageUtilization": "averageUtilization",
    "currentAverageValue": "averageValue",
    "currentValue": "value",
}


def _status_to_v1(metric: Obj) -> dict[str, Any]:
    field = SOURCES.get(metric.get("type", ""), "")
    source = metric.get(field) or {}
    current = source.get("current") or {}
    flat = {name: current.get(newer) for name, newer in _CURRENT.items()}
    if field in ("resource", "containerResource"):
        flat |= {"name": source.get("name", ""), "container": source.get("container")}
    else:
        flat |= _identifier_to_v1(source, "metricSelector" if field == "external" else "selector")
    if field == "object":
        flat |= {"target": source.get("describedObject") or {}}
    return {"type": metric.get("type", ""), field: _present(flat)} if field else dict(metric)


def _status_to_v2(metric: Obj) -> dict[str, Any]:
    field = SOURCES.get(metric.get("type", ""), "")
    source = metric.get(field) or {}
    current = _present({newer: source.get(name) for name, newer in _CURRENT.items()})
    if field in ("resource", "containerResource"):
        made = _present({"name": source.get("name", ""), "container": source.get("container")})
    else:
        made = _identifier_to_v2(source, "metricSelector" if field == "external" else "selector")
    if field == "object":
        made["describedObject"] = source.get("target") or {}
    return {"type": metric.get("type", ""), field: {**made, "current": current}} if field else {}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _renamed(value: Any, rename: Callable[[str], str]) -> Any:
    """Upstream writes `behavior` in its internal shape, whose fields begin with capitals."""
    if isinstance(value, Mapping):
        return {rename(name): _renamed(part, rename) for name, part in value.items()}
    return [_renamed(part, rename) for part in value] if isinstance(value, list) else value


def _raised(rules: Obj) -> Any:
    return _renamed(rules, _upper)


def _lowered(rules: Obj) -> Any:
    return _renamed(rules, _lower)


class HorizontalPodAutoscalerV1Strategy(GenericStrategy):
    """v2's rules, told in v1's fields."""

    has_status = True

    def default(self, obj: Obj) -> Obj:
        return {**obj, "spec": filled(obj.get("spec") or {}, absent={"minReplicas": 1})}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return _V2.validate_spec(to_storage(obj))

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return _V2.validate_status(to_v2(new), to_v2(old))


def to_storage(autoscaler: Obj) -> Obj:
    """A v1 autoscaler as it is stored: v2, with the metric that is meant when none is named."""
    return _V2.default(to_v2(autoscaler))


_V2 = HorizontalPodAutoscalerStrategy()


def _converted(column: Column) -> Column:
    def cell(obj: Obj, now: datetime) -> Cell:
        return column.cell(to_v2(obj), now)

    return Column(column.name, cell, column.type, column.format, column.description, column.wide)


KIND = Kind(
    HorizontalPodAutoscalerV1Strategy(),
    tuple(_converted(column) for kind in KINDS.values() for column in kind.columns),
)
"""Served under the same kind as v2, in its own version."""
