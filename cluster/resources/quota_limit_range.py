"""LimitRange: bounds and defaults of what containers, pods and claims ask for.

Upstream: pkg/apis/core/v1/defaults.go SetDefaults_LimitRangeItem, validation.go ValidateLimitRange.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, required
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import GroupKind, Obj, with_field
from cluster.machinery.quantity import NANO, parse_quantity
from cluster.resources.container_validation import STANDARD_RESOURCES
from cluster.resources.kind import Kind
from cluster.resources.printing import CREATED_AT, NAME
from cluster.resources.quota import is_extended, validate_amount
from cluster.resources.strategy import GenericStrategy

TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_AMOUNTS = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
_PAIRS = (
    ("min", "max", "min", "min value {0} is greater than max value {1}"),
    ("min", "defaultRequest", "defaultRequest", "min value {0} is greater than default request value {1}"),
    ("defaultRequest", "max", "defaultRequest", "default request value {0} is greater than max value {1}"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "default value {0} is greater than max value {1}"),
)
"""What must not be greater than what, where that is reported, and how."""


class LimitRangeStrategy(GenericStrategy):
    def default(self, obj: Obj) -> Obj:
        limits = (obj.get("spec") or {}).get("limits")
        return with_field(obj, ("spec", "limits"), [_default_item(item) for item in limits]) if limits else obj

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        found: list[Cause] = []
        seen: set[str] = set()
        for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
            path, kind = f"spec.limits[{index}]", item.get("type", "")
            found.extend(_validate_type(kind, f"{path}.type"))
            if kind in seen:
                found.append(duplicate(f"{path}.type", kind))
            seen.add(kind)
            found.extend(_validate_item(item, path))
        return tuple(found)


def _default_item(item: Obj) -> Obj:
    """A container's limit defaults to the most it may have, its request to that limit or the least it may have."""
    if item.get("type") != "Container":
        return item
    default = {**(item.get("max") or {}), **(item.get("default") or {})}
    request = {**(item.get("min") or {}), **default, **(item.get("defaultRequest") or {})}
    made: dict[str, Any] = dict(item)
    if default:
        made["default"] = default
    if request:
        made["defaultRequest"] = request
    return made


def _validate_type(kind: str, path: str) -> Iterator[Cause]:
    for why in qualified_name_errors(kind):
        yield invalid(path, kind, why)
    if "/" not in kind and kind not in TYPES:
        yield invalid(path, kind, "must be a standard limit type or fully qualified")


def _validate_item(item: Obj, path: str) -> Iterator[Cause]:
    kind = item.get("type", "")
    wrong = False
    for field in _AMOUNTS:
        if kind == "Pod" and field in ("default", "defaultRequest") and item.get(field):
            yield forbidden(f"{path}.{field}", "may not be specified when `type` is 'Pod'")
            continue
        for name, text in (item.get(field) or {}).items():
            for cause in _validate_entry(kind, field, name, text, f"{path}.{field}[{name}]"):
                wrong = True
                yield cause
    if kind == "PersistentVolumeClaim" and not any("storage" in (item.get(field) or {}) for field in ("min", "max")):
        why = "either minimum or maximum storage value is required, but neither was provided"
        yield required(f"{path}.limits", why)
    if not wrong:
        yield from _validate_bounds(item, path)


def _validate_entry(kind: str, field: str, name: str, text: str, path: str) -> Iterator[Cause]:
    for why in qualified_name_errors(name):
        yield invalid(path, name, why)
    is_known = "/" in name or name in STANDARD_RESOURCES or name.startswith("hugepages-")
    if kind in ("Pod", "Container") and not is_known:
        yield invalid(path, name, "must be a standard resource for containers")
    yield from validate_amount("" if field == "maxLimitRequestRatio" else name, text, path)


def _validate_bounds(item: Obj, path: str) -> Iterator[Cause]:
    amounts = {field: item.get(field) or {} for field in _AMOUNTS}
    for name in sorted({name for field in _AMOUNTS for name in amounts[field]}):
        for low, high, where, why in _PAIRS:
            lower, upper = amounts[low].get(name), amounts[high].get(name)
            if lower is not None and upper is not None and parse_quantity(lower) > parse_quantity(upper):
                yield invalid(f"{path}.{where}[{name}]", amounts[where][name], why.format(lower, upper))
        yield from _validate_ratio(amounts, name, f"{path}.maxLimitRequestRatio[{name}]")
        default, request = amounts["default"].get(name), amounts["defaultRequest"].get(name)
        if is_extended(name) and default is not None and request is not None and default != request:
            why = f"default value {default} must equal to defaultRequest value {request} in {name}"
            yield invalid(f"{path}.defaultRequest[{name}]", request, why)


def _validate_ratio(amounts: Mapping[str, Any], name: str, path: str) -> Iterator[Cause]:
    if (ratio := amounts["maxLimitRequestRatio"].get(name)) is None:
        return
    most = parse_quantity(ratio)
    if most.nanos < NANO:
        yield invalid(path, ratio, f"ratio {ratio} is less than 1")
    low, high = amounts["min"].get(name), amounts["max"].get(name)
    if low is None or high is None or not parse_quantity(low).nanos:
        return
    reachable = parse_quantity(high).nanos / parse_quantity(low).nanos
    if most.nanos / NANO > reachable:
        yield invalid(path, ratio, f"ratio {ratio} is greater than max/min = {reachable:f}")


KINDS: Mapping[GroupKind, Kind] = {GroupKind("", "LimitRange"): Kind(LimitRangeStrategy(), (NAME, CREATED_AT))}
