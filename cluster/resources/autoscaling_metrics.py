"""The metrics of a HorizontalPodAutoscaler: five kinds of sources, each with a target.

Upstream: pkg/apis/autoscaling/validation/validation.go validateMetricSpec, pkg/printers formatHPAMetrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import path_segment_errors
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import UNKNOWN

SOURCES: Mapping[str, str] = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}
"""A metric's type to the field that describes it."""
TARGET_TYPES = ("AverageValue", "Utilization", "Value")
_TARGET_FIELDS = {"Utilization": "averageUtilization", "Value": "value", "AverageValue": "averageValue"}


def validate_metrics(metrics: Sequence[Obj], path: str) -> Iterator[Cause]:
    for index, metric in enumerate(metrics):
        yield from _validate_metric(metric, f"{path}[{index}]")


def _validate_metric(metric: Obj, path: str) -> Iterator[Cause]:
    kind = metric.get("type", "")
    if not kind:
        yield required(f"{path}.type", "must specify a metric source type")
    if kind not in SOURCES:
        yield not_supported(f"{path}.type", kind, sorted(SOURCES))
    present = [field for field in SOURCES.values() if metric.get(field) is not None]
    expected = SOURCES.get(kind, kind[:1].lower() + kind[1:])
    if len(present) == 1 or expected in present:
        field = expected if expected in present else present[0]
        yield from _validate_source(field, metric[field], f"{path}.{field}")
    if expected not in present:
        yield required(f"{path}.{expected}", "must populate information for the given metric source")
    for field in present:
        if field != expected:
            yield forbidden(f"{path}.{field}", "must populate the given metric source only")


def _validate_source(field: str, source: Obj, path: str) -> Iterator[Cause]:
    target = source.get("target") or {}
    if field in ("resource", "containerResource"):
        if not source.get("name"):
            yield required(f"{path}.name", "must specify a resource name")
        if field == "containerResource" and not source.get("container"):
            yield required(f"{path}.container", "must specify a container")
    else:
        yield from _validate_identifier(source.get("metric") or {}, f"{path}.metric")
    if field == "object":
        for part in ("kind", "name"):
            if not field_of(source, "describedObject", part):
                yield required(f"{path}.describedObject.{part}")
    yield from _validate_target(target, f"{path}.target")
    average, utilization = target.get("averageValue"), target.get("averageUtilization")
    match field:
        case "resource" | "containerResource":
            if utilization is None and average is None:
                why = "must set either a target raw value or a target utilization"
                yield required(f"{path}.target.averageUtilization", why)
            if utilization is not None and average is not None:
                why = "may not set both a target raw value and a target utilization"
                yield forbidden(f"{path}.target.averageValue", why)
        case "pods":
            if average is None:
                yield required(f"{path}.target.averageValue", "must specify a positive target averageValue")
        case "object" | "external":
            if target.get("value") is None and average is None:
                why = "must set either a target value for metric or a per-pod target"
                yield required(f"{path}.target.averageValue", why)
            if field == "external" and target.get("value") is not None and average is not None:
                why = "may not set both a target value for metric and a per-pod target"
                yield forbidden(f"{path}.target.value", why)


def _validate_identifier(metric: Obj, path: str) -> Iterator[Cause]:
    name = metric.get("name", "")
    if not name:
        yield required(f"{path}.name", "must specify a metric name")
    for why in path_segment_errors(name):
        yield invalid(f"{path}.name", name, why)
    yield from validate_label_selector(metric.get("selector"), f"{path}.selector")


def _validate_target(target: Obj, path: str) -> Iterator[Cause]:
    kind = target.get("type", "")
    if not kind:
        yield required(f"{path}.type", "must specify a metric target type")
    if kind not in TARGET_TYPES:
        yield invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for field in ("value", "averageValue"):
        if (text := target.get(field)) is not None and not _is_positive(text):
            yield invalid(f"{path}.{field}", text, "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        yield invalid(f"{path}.averageUtilization", utilization, "must be greater than 0")


def _is_positive(text: str) -> bool:
    try:
        return parse_quantity(text).nanos > 0
    except QuantityError:
        return False


def target_text(spec: Obj, status: Obj) -> str:
    """`current/target` of one metric, as a table shows it: `cpu: 12%/80%`, `500m/1 (avg)`."""
    kind = spec.get("type", "")
    field = SOURCES.get(kind, "")
    source, seen = spec.get(field) or {}, status.get(field) or {}
    target, current = source.get("target") or {}, seen.get("current") or {}
    named = f"{source.get('name', '')}: " if field in ("resource", "containerResource") else ""
    if field == "containerResource":
        named = f"{source.get('container', '')}/{named}"
    if field in ("resource", "containerResource") and target.get("averageValue") is None:
        now = current.get("averageUtilization")
        wanted = target.get("averageUtilization")
        return f"{named}{UNKNOWN if now is None else f'{now}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if target.get("averageValue") is not None:
        average = " (avg)" if field in ("object", "external") else ""
        return f"{named}{current.get('averageValue', UNKNOWN)}/{target['averageValue']}{average}"
    return f"{current.get('value', UNKNOWN)}/{target.get('value', '')}"
