"""What every kind with a pod template shares: defaults, the selector's and the template's rules, columns.

Upstream: pkg/apis/apps/{v1/defaults,validation/validation}.go, pkg/registry/apps/*/strategy.go, pkg/printers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import annotations_causes, labels_causes
from cluster.machinery.objects import Obj, field_of
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.defaulting import filled
from cluster.resources.pod_defaults import default_pod_spec
from cluster.resources.pod_validation import validate_label_selector, validate_pod_spec
from cluster.resources.printing import NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy, ScaleFields

PERCENT = re.compile(r"[0-9]+%\Z")


class WorkloadStrategy(GenericStrategy):
    """A kind with replicas, a selector and a pod template.  `kind_name` is how upstream's messages call it."""

    has_status = True
    has_generation = True
    status_keeps_labels = True
    kind_name = "deployment"
    owner_name = "ReplicaSet"
    scale: ScaleFields | None = ScaleFields(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"))

    def default(self, obj: Obj) -> Obj:
        return {**obj, "spec": self._default_spec(with_default_template(obj.get("spec") or {}))}

    def _default_spec(self, spec: Obj) -> Obj:
        return filled(spec, absent={"replicas": 1})

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(self._validate_spec(obj.get("spec") or {}))

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        for field in ("replicas", "minReadySeconds"):
            yield from validate_not_negative(spec.get(field), f"spec.{field}")
        yield from validate_workload_selector(spec, self.kind_name)
        yield from validate_template(spec.get("template") or {}, "spec.template", owner=self.owner_name)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "spec", "selector"))


def validate_immutable(new: Obj, old: Obj, *path: str) -> Iterator[Cause]:
    """The field at `path` is as it was."""
    value = field_of(new, *path)
    if value != field_of(old, *path):
        yield invalid(".".join(path), value, "field is immutable")


def validate_status_counts(new: Obj, *fields: str) -> Iterator[Cause]:
    """These numbers of the status are not negative."""
    for field in fields:
        yield from validate_not_negative(field_of(new, "status", field), f"status.{field}")


def with_default_template(spec: Obj) -> Obj:
    """`spec` with its pod template's defaults."""
    template = spec.get("template") or {}
    return {**spec, "template": {**template, "spec": default_pod_spec(template.get("spec") or {})}}


def validate_not_negative(value: int | None, path: str) -> Iterator[Cause]:
    if value is not None and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def validate_workload_selector(spec: Obj, kind_name: str, path: str = "spec") -> Iterator[Cause]:
    """A selector that is there, selects something, and selects the template's pods."""
    selector = spec.get("selector")
    if selector is None:
        yield required(f"{path}.selector")
        return
    if wrong := tuple(validate_label_selector(selector, f"{path}.selector")):
        yield from wrong
        return
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid(f"{path}.selector", selector, f"empty selector is invalid for {kind_name}")
    yield from validate_selects_template(spec, path)


def validate_selects_template(spec: Obj, path: str = "spec") -> Iterator[Cause]:
    """The selector at `spec.selector`, if it is one, matches the labels of the template's pods."""
    labels = field_of(spec, "template", "metadata", "labels", default={})
    try:
        matches = selector_of(spec.get("selector")).matches(labels)
    except SelectorError:
        return
    if not matches:
        yield invalid(f"{path}.template.metadata.labels", labels, "`selector` does not match template `labels`")


def validate_template(
    template: Obj, path: str, *, owner: str = "", restart_policies: tuple[str, ...] = ("Always",)
) -> Iterator[Cause]:
    """A pod template whose pods run as `restart_policies` allow; `owner` is the kind that keeps them running for ever."""
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    yield from labels_causes(meta.get("labels") or {}, f"{path}.labels")
    yield from annotations_causes(meta.get("annotations") or {}, f"{path}.annotations")
    yield from validate_pod_spec(spec, f"{path}.spec")
    policy = spec.get("restartPolicy", "")
    if policy in ("Always", "OnFailure", "Never") and policy not in restart_policies:
        yield not_supported(f"{path}.spec.restartPolicy", policy, restart_policies)
    if spec.get("activeDeadlineSeconds") is not None and owner:
        yield forbidden(f"{path}.spec.activeDeadlineSeconds", f"activeDeadlineSeconds in {owner} is not Supported")
    if spec.get("ephemeralContainers"):
        yield forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def validate_int_or_percent(value: int | str, path: str) -> Iterator[Cause]:
    if isinstance(value, int):
        yield from validate_not_negative(value, path)
    elif not PERCENT.match(value):
        why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
        yield invalid(path, value, why + "validation is '[0-9]+%')")


def validate_at_most_all(value: int | str, path: str) -> Iterator[Cause]:
    """A percentage is at most 100%."""
    if isinstance(value, str) and PERCENT.match(value) and int(value[:-1]) > 100:
        yield invalid(path, value, "must not be greater than 100%")


def is_zero(value: int | str) -> bool:
    return value == 0 if isinstance(value, int) else bool(re.fullmatch("0+%", value))


def template_cell(field: str, *path: str) -> Any:
    """The containers' names or images, comma-separated, of the template at `path` (by default `spec.template`)."""
    at = path or ("spec", "template")

    def cell(obj: Obj, now: datetime) -> str:
        containers = field_of(obj, *at, "spec", "containers", default=())
        return ",".join(str(container.get(field, "")) for container in containers)

    return cell


def selector_cell(*path: str) -> Any:
    """The LabelSelector at `path`, as text."""

    def cell(obj: Obj, now: datetime) -> str:
        return str(selector_of(field_of(obj, *path))) or NONE

    return cell


def labels_cell(*path: str) -> Any:
    """The map of labels at `path`, as text."""

    def cell(obj: Obj, now: datetime) -> str:
        labels = field_of(obj, *path, default={})
        return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE

    return cell


def count_cell(*path: str) -> Any:
    """The number at `path`; 0 when there is none."""
    return field_cell(*path, default=0)


def ready_cell(obj: Obj, now: datetime) -> str:
    ready, wanted = field_of(obj, "status", "readyReplicas", default=0), field_of(obj, "spec", "replicas", default=0)
    return f"{ready}/{wanted}"


CONTAINER_COLUMNS = (
    Column("Containers", template_cell("name"), wide=True, description="Names of each container in the template."),
    Column(
        "Images", template_cell("image"), wide=True, description="Images referenced by each container in the template."
    ),
)
TEMPLATE_COLUMNS = (*CONTAINER_COLUMNS, Column("Selector", selector_cell("spec", "selector"), wide=True))
