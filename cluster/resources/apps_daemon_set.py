"""DaemonSet.  Upstream: pkg/apis/apps/{v1/defaults,validation/validation}.go, pkg/registry/apps/daemonset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required
from cluster.machinery.objects import GroupKind, Obj, annotations_of, field_of, with_field
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import WriteContext
from cluster.resources.workload import (
    TEMPLATE_COLUMNS,
    WorkloadStrategy,
    count_cell,
    is_zero,
    labels_cell,
    validate_at_most_all,
    validate_int_or_percent,
    validate_not_negative,
    validate_status_counts,
)

TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation that counts changes of the template; older controllers and clients read it."""

_COUNTS = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "updatedNumberScheduled",
    "numberAvailable", "numberUnavailable",
)  # fmt: skip


class DaemonSetStrategy(WorkloadStrategy):
    kind_name = "daemonset"
    owner_name = "DaemonSet"
    scale = None

    def _default_spec(self, spec: Obj) -> Obj:
        made = filled(spec, absent={"revisionHistoryLimit": 10})
        strategy = filled(made.get("updateStrategy") or {}, {"type": "RollingUpdate"})
        if strategy["type"] == "RollingUpdate":
            limits = {"maxUnavailable": 1, "maxSurge": 0}
            strategy["rollingUpdate"] = filled(strategy.get("rollingUpdate") or {}, absent=limits)
        return {**made, "updateStrategy": strategy}

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        return _counted(super().prepare_create(obj, context), "1")

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        prepared = super().prepare_update(new, old)
        before = annotations_of(old).get(TEMPLATE_GENERATION, "1")
        changed = field_of(prepared, "spec", "template") != field_of(old, "spec", "template")
        return _counted(prepared, str(int(before) + 1) if changed and before.isdecimal() else before)

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        yield from super()._validate_spec(spec)
        yield from validate_not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        yield from _validate_update_strategy(spec.get("updateStrategy") or {})

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*super().validate_status(new, old), *validate_status_counts(new, *_COUNTS))


def _counted(obj: Obj, generation: str) -> Obj:
    return with_field(obj, ("metadata", "annotations"), {**annotations_of(obj), TEMPLATE_GENERATION: generation})


def _validate_update_strategy(strategy: Obj) -> Iterator[Cause]:
    path, rolling = "spec.updateStrategy", strategy.get("rollingUpdate")
    match strategy.get("type", ""):
        case "OnDelete":
            return
        case "RollingUpdate":
            if rolling is None:
                yield required(f"{path}.rollingUpdate")
                return
            wrong = False
            for field in ("maxUnavailable", "maxSurge"):
                at = f"{path}.rollingUpdate.{field}"
                for cause in (*validate_int_or_percent(rolling[field], at), *validate_at_most_all(rolling[field], at)):
                    wrong = True
                    yield cause
            if wrong:
                return
            unavailable, surge = rolling["maxUnavailable"], rolling["maxSurge"]
            if not is_zero(unavailable) and not is_zero(surge):
                yield invalid(f"{path}.rollingUpdate.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
            if is_zero(unavailable) and is_zero(surge):
                yield required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
        case _:
            yield not_supported(path, strategy, ("RollingUpdate", "OnDelete"))


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("apps", "DaemonSet"): Kind(
        DaemonSetStrategy(),
        (
            NAME,
            Column("Desired", count_cell("status", "desiredNumberScheduled"), "integer"),
            Column("Current", count_cell("status", "currentNumberScheduled"), "integer"),
            Column("Ready", count_cell("status", "numberReady"), "integer"),
            Column("Up-to-date", count_cell("status", "updatedNumberScheduled"), "integer"),
            Column("Available", count_cell("status", "numberAvailable"), "integer"),
            Column("Node Selector", labels_cell("spec", "template", "spec", "nodeSelector")),
            AGE,
            *TEMPLATE_COLUMNS,
        ),
    ),
}
