"""The core group's kinds with pod templates: ReplicationController and PodTemplate.

Upstream: pkg/apis/core/{v1/defaults,validation/validation}.go, pkg/registry/core/{replicationcontroller,podtemplate}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, required
from cluster.machinery.objects import GroupKind, Obj, field_of, labels_of, with_field
from cluster.machinery.selectors import selector_of_map
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_defaults import default_pod_spec
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy, ScaleFields
from cluster.resources.workload import (
    CONTAINER_COLUMNS,
    WorkloadStrategy,
    count_cell,
    labels_cell,
    template_cell,
    validate_not_negative,
    validate_status_counts,
    validate_template,
)


class ReplicationControllerStrategy(WorkloadStrategy):
    """Its selector is a plain map, and may change."""

    owner_name = "ReplicationController"
    scale = ScaleFields(("spec", "replicas"), ("status", "replicas"), ("spec", "selector"), plain_selector=True)

    def default(self, obj: Obj) -> Obj:
        template = field_of(obj, "spec", "template")
        if template is None:
            return {**obj, "spec": filled(obj.get("spec") or {}, absent={"replicas": 1})}
        made = super().default(obj)
        labels = field_of(template, "metadata", "labels", default={})
        if labels and not labels_of(made):
            made = with_field(made, ("metadata", "labels"), labels)
        if labels and not field_of(made, "spec", "selector"):
            made = with_field(made, ("spec", "selector"), labels)
        return made

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        for field in ("minReadySeconds", "replicas"):
            yield from validate_not_negative(spec.get(field), f"spec.{field}")
        selector, template = spec.get("selector") or {}, spec.get("template")
        if not selector:
            yield required("spec.selector")
        if template is None:
            yield required("spec.template")
            return
        labels = field_of(template, "metadata", "labels", default={})
        if selector and not selector_of_map(selector).matches(labels):
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
        yield from validate_template(template, "spec.template", owner=self.owner_name)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return self._validate(new)

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        counts = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
        return (*super().validate_status(new, old), *validate_status_counts(new, *counts))


class PodTemplateStrategy(GenericStrategy):
    has_generation = True

    def default(self, obj: Obj) -> Obj:
        template: dict[str, Any] = dict(obj.get("template") or {})
        return {**obj, "template": {**template, "spec": default_pod_spec(template.get("spec") or {})}}

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        policies = ("Always", "OnFailure", "Never")
        return tuple(validate_template(obj.get("template") or {}, "template", restart_policies=policies))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "ReplicationController"): Kind(
        ReplicationControllerStrategy(),
        (
            NAME,
            Column("Desired", count_cell("spec", "replicas"), "integer"),
            Column("Current", count_cell("status", "replicas"), "integer"),
            Column("Ready", count_cell("status", "readyReplicas"), "integer"),
            AGE,
            *CONTAINER_COLUMNS,
            Column("Selector", labels_cell("spec", "selector"), wide=True),
        ),
        {"status.replicas": text_at("status", "replicas", default="0")},
    ),
    GroupKind("", "PodTemplate"): Kind(
        PodTemplateStrategy(),
        (
            NAME,
            Column("Containers", template_cell("name", "template")),
            Column("Images", template_cell("image", "template")),
            Column("Pod Labels", labels_cell("template", "metadata", "labels")),
        ),
    ),
}
