"""Job: defaults, the generated selector, what may change.

Upstream: pkg/apis/batch/{v1/defaults,validation/validation}.go, pkg/registry/batch/job/strategy.go, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, required
from cluster.machinery.names import label_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, is_deleting, labels_of, name_of, uid_of, with_field
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.machinery.timestamps import human_duration, parse_time
from cluster.resources.batch_policies import default_pod_failure_policy
from cluster.resources.batch_validation import validate_job_spec
from cluster.resources.defaulting import filled, inner
from cluster.resources.kind import Kind, text_at
from cluster.resources.pod_validation import validate_label_selector
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy, WriteContext
from cluster.resources.workload import (
    TEMPLATE_COLUMNS,
    validate_immutable,
    validate_selects_template,
    validate_status_counts,
    with_default_template,
)

BACKOFF_LIMIT = 6
BACKOFF_LIMIT_PER_INDEX = 2**31 - 1
CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
_OLD_NAMES = {CONTROLLER_UID: "controller-uid", JOB_NAME: "job-name"}
"""The same labels before they had a prefix; clients still select by them."""
_IMMUTABLE = ("selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SCHEDULING = ("nodeSelector", "affinity", "tolerations", "schedulingGates")


class JobStrategy(GenericStrategy):
    has_status = True
    has_generation = True
    status_keeps_labels = True

    def default(self, obj: Obj) -> Obj:
        spec = with_default_template(obj.get("spec") or {})
        both_unset = spec.get("completions") is None and spec.get("parallelism") is None
        per_index = spec.get("backoffLimitPerIndex") is not None
        absent: dict[str, Any] = {
            "parallelism": 1,
            "backoffLimit": BACKOFF_LIMIT_PER_INDEX if per_index else BACKOFF_LIMIT,
            "completionMode": "NonIndexed",
            "suspend": False,
            "manualSelector": False,
            "podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed",
        }
        made = filled(spec, absent={"completions": 1, **absent} if both_unset else absent)
        inner(made, "podFailurePolicy", default_pod_failure_policy)
        labels = field_of(made, "template", "metadata", "labels", default={})
        if labels and not labels_of(obj):
            obj = with_field(obj, ("metadata", "labels"), labels)
        return {**obj, "spec": made}

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        new = super().prepare_create(obj, context)
        # Defaulted again: a job without labels of its own shows those that its pods get here.
        return new if field_of(new, "spec", "manualSelector") else self.default(with_generated_selector(new))

    def validate(self, obj: Obj) -> tuple[Cause, ...]:
        return (*super().validate(obj), *_validate_generated_selector(obj), *_validate_pod_names(obj))

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        spec = obj.get("spec") or {}
        found = list(validate_job_spec(spec, "spec"))
        if spec.get("selector") is None:
            found.append(required("spec.selector"))
        else:
            found.extend(validate_label_selector(spec["selector"], "spec.selector"))
            found.extend(validate_selects_template(spec))
        return tuple(found)

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = [*self._validate(new), *_validate_completions(new, old)]
        for field in _IMMUTABLE:
            found.extend(validate_immutable(new, old, "spec", field))
        found.extend(_validate_template_change(new, old))
        return tuple(found)

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        counts = ("active", "succeeded", "failed", "ready", "terminating")
        return (*super().validate_status(new, old), *validate_status_counts(new, *counts))


def with_generated_selector(job: Obj) -> dict[str, Any]:
    """`job` selecting its pods by its own uid, and labelling them with its uid and name, as far as it says neither."""
    values = {CONTROLLER_UID: uid_of(job), JOB_NAME: name_of(job)}
    labels = dict(field_of(job, "spec", "template", "metadata", "labels", default={}))
    for label, value in values.items():
        for name in (label, _OLD_NAMES[label]):
            labels.setdefault(name, value)
    selector = field_of(job, "spec", "selector") or {}
    matched = {CONTROLLER_UID: uid_of(job), **(selector.get("matchLabels") or {})}
    made = with_field(job, ("spec", "template", "metadata", "labels"), labels)
    return with_field(made, ("spec", "selector"), {**selector, "matchLabels": matched})


def _validate_generated_selector(job: Obj) -> Iterator[Cause]:
    if field_of(job, "spec", "manualSelector") or field_of(job, "spec", "selector") is None:
        return
    expected: dict[str, str] = {}
    for label, value in ((CONTROLLER_UID, uid_of(job)), (JOB_NAME, name_of(job))):
        expected |= {label: value, _OLD_NAMES[label]: value}
    labels = field_of(job, "spec", "template", "metadata", "labels", default={})
    for label, value in expected.items():
        path = f"spec.template.metadata.labels[{label}]"
        if label not in labels:
            yield required(path, f"must be '{value}'")
        elif labels[label] != value:
            yield invalid(path, labels, f"must be '{value}'")
    selector = job["spec"]["selector"]
    try:
        matches = selector_of(selector).matches(expected)
    except SelectorError:
        return  # reported as such
    if not matches:
        yield invalid("spec.selector", selector, "`selector` not auto-generated")


def _validate_pod_names(job: Obj) -> Iterator[Cause]:
    completions = field_of(job, "spec", "completions", default=0)
    if field_of(job, "spec", "completionMode") == "Indexed" and completions > 0:
        last = f"{name_of(job)}-{completions - 1}"
        if label_errors(last):
            yield invalid("metadata.name", name_of(job), f"will not able to create pod with invalid DNS label: {last}")


def _validate_completions(new: Obj, old: Obj) -> Iterator[Cause]:
    after, before = field_of(new, "spec", "completions"), field_of(old, "spec", "completions")
    if after == before:
        return
    if field_of(new, "spec", "completionMode") != "Indexed" or after is None or before is None:
        yield invalid("spec.completions", after, "field is immutable")
        return
    in_tandem = after == field_of(new, "spec", "parallelism") and before == field_of(old, "spec", "parallelism")
    if not in_tandem:
        yield invalid("spec.completions", after, "can only be modified in tandem with spec.parallelism")


def _validate_template_change(new: Obj, old: Obj) -> Iterator[Cause]:
    """A template is fixed; while a job is suspended and never ran, its pods' placement may still change."""
    template = field_of(new, "spec", "template", default={})
    before = field_of(old, "spec", "template", default={})
    if field_of(old, "spec", "suspend") and not field_of(old, "status", "startTime"):
        comparable, before = _without_placement(template), _without_placement(before)
    else:
        comparable = template
    if comparable != before:
        yield invalid("spec.template", template, "field is immutable")


def _without_placement(template: Obj) -> dict[str, Any]:
    spec = {name: value for name, value in (template.get("spec") or {}).items() if name not in _SCHEDULING}
    meta = {
        name: value
        for name, value in (template.get("metadata") or {}).items()
        if name not in ("labels", "annotations") and value is not None
    }
    return {**template, "spec": spec, "metadata": meta}


def _has(job: Obj, condition: str) -> bool:
    conditions = field_of(job, "status", "conditions", default=())
    return any(c.get("type") == condition and c.get("status") == "True" for c in conditions)


def _status_cell(job: Obj, now: datetime) -> str:
    for condition in ("Complete", "Failed"):
        if _has(job, condition):
            return condition
    if is_deleting(job):
        return "Terminating"
    for condition, shown in (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget")):
        if _has(job, condition):
            return shown
    return "SuccessCriteriaMet" if _has(job, "SuccessCriteriaMet") else "Running"


def _completions_cell(job: Obj, now: datetime) -> str:
    succeeded = field_of(job, "status", "succeeded", default=0)
    completions = field_of(job, "spec", "completions")
    parallelism = field_of(job, "spec", "parallelism", default=0)
    if completions is not None:
        return f"{succeeded}/{completions}"
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration_cell(job: Obj, now: datetime) -> str:
    started, ended = field_of(job, "status", "startTime"), field_of(job, "status", "completionTime")
    if not started:
        return ""
    end = parse_time(ended) if ended else now
    return human_duration((end - parse_time(started)).total_seconds())


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("batch", "Job"): Kind(
        JobStrategy(),
        (
            NAME,
            Column("Status", _status_cell),
            Column("Completions", _completions_cell),
            Column("Duration", _duration_cell, description="Time required to complete the job."),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
        {"status.successful": text_at("status", "succeeded", default="0")},
    ),
}
