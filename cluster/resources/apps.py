"""The apps group: Deployment and ReplicaSet.

Upstream: pkg/apis/apps/{v1/defaults,validation/validation}.go, pkg/registry/apps/*/strategy.go, pkg/printers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import annotations_causes, labels_causes
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of, meta_of
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_defaults import default_pod_spec
from cluster.resources.pod_validation import validate_pod_spec
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy, ScaleFields

_PERCENT = re.compile(r"[0-9]+%\Z")
_QUARTER = "25%"


class WorkloadStrategy(GenericStrategy):
    """A kind with replicas, a selector and a pod template."""

    has_status = True
    has_generation = True
    status_keeps_labels = True
    scale = ScaleFields(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))

    def default(self, obj: Obj) -> Obj:
        return {**obj, "spec": self._default_spec(with_default_template(obj.get("spec") or {}))}

    def _default_spec(self, spec: Obj) -> Obj:
        return filled(spec, absent={"replicas": 1})

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(self._validate_spec(obj.get("spec") or {}))

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        for field in ("replicas", "minReadySeconds"):
            yield from validate_not_negative(spec.get(field), f"spec.{field}")
        yield from validate_workload_selector(spec)
        yield from validate_template(spec.get("template") or {}, "spec.template")

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        selector = field_of(new, "spec", "selector")
        if selector != field_of(old, "spec", "selector"):
            found.append(invalid("spec.selector", selector, "field is immutable"))
        return tuple(found)


def with_default_template(spec: Obj) -> Obj:
    """`spec` with its pod template's defaults."""
    template = spec.get("template") or {}
    return {**spec, "template": {**template, "spec": default_pod_spec(template.get("spec") or {})}}


def validate_not_negative(value: int | None, path: str) -> Iterator[Cause]:
    if value is not None and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def validate_workload_selector(spec: Obj, path: str = "spec") -> Iterator[Cause]:
    """A selector that is there, selects something, and selects the template's pods."""
    selector = spec.get("selector")
    if selector is None:
        yield required(f"{path}.selector")
        return
    try:
        parsed = selector_of(selector)
    except SelectorError as error:
        yield invalid(f"{path}.selector", selector, str(error))
        return
    if not parsed.requirements:
        yield invalid(f"{path}.selector", selector, "empty selector is invalid for deployment")
    labels = field_of(spec, "template", "metadata", "labels", default={})
    if not parsed.matches(labels):
        yield invalid(f"{path}.template.metadata.labels", labels, "`selector` does not match template `labels`")


def validate_template(template: Obj, path: str, *, restart_policies: tuple[str, ...] = ("Always",)) -> Iterator[Cause]:
    """A pod template whose pods run as `restart_policies` allow."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    yield from labels_causes(meta.get("labels") or {}, f"{path}.labels")
    yield from annotations_causes(meta.get("annotations") or {}, f"{path}.annotations")
    yield from validate_pod_spec(spec, f"{path}.spec")
    policy = spec.get("restartPolicy", "")
    if policy in ("Always", "OnFailure", "Never") and policy not in restart_policies:
        yield not_supported(f"{path}.spec.restartPolicy", policy, restart_policies)
    if spec.get("activeDeadlineSeconds") is not None and restart_policies == ("Always",):
        yield forbidden(f"{path}.spec.activeDeadlineSeconds", "activeDeadlineSeconds in ReplicaSet is not Supported")
    if spec.get("ephemeralContainers"):
        yield forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


class DeploymentStrategy(WorkloadStrategy):
    def _default_spec(self, spec: Obj) -> Obj:
        made = filled(spec, absent={"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
        strategy = filled(made.get("strategy") or {}, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            limits = {"maxUnavailable": _QUARTER, "maxSurge": _QUARTER}
            strategy["rollingUpdate"] = filled(strategy.get("rollingUpdate") or {}, absent=limits)
        return {**made, "strategy": strategy}

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = dict(super().prepare_update(new, old))
        generation = int(meta_of(old).get("generation", 0))
        if meta_of(prepared)["generation"] == generation and annotations_of(new) != annotations_of(old):
            # Annotations are copied to ReplicaSets, so they count as a change to act on.
            prepared["metadata"] = {**meta_of(prepared), "generation": generation + 1}
        return prepared

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        yield from super()._validate_spec(spec)
        yield from _validate_strategy(spec.get("strategy") or {})
        yield from validate_not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        deadline_s = spec.get("progressDeadlineSeconds")
        yield from validate_not_negative(deadline_s, "spec.progressDeadlineSeconds")
        if deadline_s is not None and deadline_s <= spec.get("minReadySeconds", 0):
            yield invalid("spec.progressDeadlineSeconds", deadline_s, "must be greater than minReadySeconds")


def _validate_strategy(strategy: Obj) -> Iterator[Cause]:
    path, rolling = "spec.strategy", strategy.get("rollingUpdate")
    match strategy.get("type"):
        case "Recreate":
            if rolling is not None:
                yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
        case "RollingUpdate":
            if rolling is None:
                yield required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")
            else:
                yield from _validate_rolling(rolling, f"{path}.rollingUpdate")
        case other:
            yield not_supported(f"{path}.type", other or "", ("Recreate", "RollingUpdate"))


def _validate_rolling(rolling: Obj, path: str) -> Iterator[Cause]:
    for field in ("maxUnavailable", "maxSurge"):
        yield from validate_int_or_percent(rolling.get(field, 0), f"{path}.{field}")
    unavailable = rolling.get("maxUnavailable", 0)
    if _is_zero(unavailable) and _is_zero(rolling.get("maxSurge", 0)):
        yield invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    if isinstance(unavailable, str) and _PERCENT.match(unavailable) and int(unavailable[:-1]) > 100:
        yield invalid(f"{path}.maxUnavailable", unavailable, "must not be greater than 100%")


def _is_zero(value: int | str) -> bool:
    return value == 0 if isinstance(value, int) else bool(re.fullmatch("0+%", value))


def validate_int_or_percent(value: int | str, path: str) -> Iterator[Cause]:
    if isinstance(value, int):
        yield from validate_not_negative(value, path)
    elif not _PERCENT.match(value):
        why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
        yield invalid(path, value, why + "validation is '[0-9]+%')")


def template_cell(field: str) -> Any:
    """The template's containers' names or images, comma-separated."""

    def cell(obj: Obj, now: datetime) -> str:
        containers = field_of(obj, "spec", "template", "spec", "containers", default=())
        return ",".join(str(container.get(field, "")) for container in containers)

    return cell


def selector_cell(obj: Obj, now: datetime) -> str:
    return str(selector_of(field_of(obj, "spec", "selector"))) or NONE


TEMPLATE_COLUMNS = (
    Column("Containers", template_cell("name"), wide=True, description="Names of each container in the template."),
    Column(
        "Images", template_cell("image"), wide=True, description="Images referenced by each container in the template."
    ),
    Column("Selector", selector_cell, wide=True),
)


def _ready_cell(obj: Obj, now: datetime) -> str:
    ready, wanted = field_of(obj, "status", "readyReplicas", default=0), field_of(obj, "spec", "replicas", default=0)
    return f"{ready}/{wanted}"


def _count(*path: str) -> Any:
    return field_cell(*path, default=0)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("apps", "Deployment"): Kind(
        DeploymentStrategy(),
        (
            NAME,
            Column("Ready", _ready_cell, description="Number of the pod with ready state"),
            Column("Up-to-date", _count("status", "updatedReplicas"), "integer"),
            Column("Available", _count("status", "availableReplicas"), "integer"),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
    ),
    GroupKind("apps", "ReplicaSet"): Kind(
        WorkloadStrategy(),
        (
            NAME,
            Column("Desired", _count("spec", "replicas"), "integer"),
            Column("Current", _count("status", "replicas"), "integer"),
            Column("Ready", _count("status", "readyReplicas"), "integer"),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
        {"status.replicas": text_at("status", "replicas", default="0")},
    ),
}
