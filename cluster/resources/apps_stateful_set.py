"""StatefulSet.  Upstream: pkg/apis/apps/{v1/defaults,validation/validation}.go, pkg/registry/apps/statefulset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.names import label_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, meta_of, name_of, with_field
from cluster.resources.defaulting import each, filled
from cluster.resources.kind import Kind
from cluster.resources.metadata import validate_metadata
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.volumes_claim import default_claim
from cluster.resources.workload import (
    CONTAINER_COLUMNS,
    WorkloadStrategy,
    is_zero,
    ready_cell,
    validate_at_most_all,
    validate_int_or_percent,
    validate_not_negative,
    validate_status_counts,
)

POD_MANAGEMENT = ("OrderedReady", "Parallel")
RETENTION = ("Retain", "Delete")
CHANGEABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)  # fmt: skip
SPEC_FIXED = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)
_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


class StatefulSetStrategy(WorkloadStrategy):
    kind_name = "statefulset"
    owner_name = "StatefulSet"

    def _default_spec(self, spec: Obj) -> Obj:
        made = filled(spec, {"podManagementPolicy": "OrderedReady"}, {"replicas": 1, "revisionHistoryLimit": 10})
        strategy = made.get("updateStrategy") or {}
        if not strategy.get("type"):
            strategy = {**strategy, "type": "RollingUpdate", "rollingUpdate": strategy.get("rollingUpdate") or {}}
        if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
            strategy = {**strategy, "rollingUpdate": filled(strategy["rollingUpdate"], absent={"partition": 0})}
        made["updateStrategy"] = strategy
        retention = made.get("persistentVolumeClaimRetentionPolicy") or {}
        made["persistentVolumeClaimRetentionPolicy"] = filled(
            retention, {"whenDeleted": "Retain", "whenScaled": "Retain"}
        )
        each(made, "volumeClaimTemplates", _default_claim_template)
        return made

    def validate(self, obj: Obj) -> tuple[Cause, ...]:
        # Only new sets: one made under older rules may keep its name, though its pods have no host names.
        return (*validate_metadata(meta_of(obj), namespaced=True, name_check=label_errors), *self._validate(obj))

    def _validate_spec(self, spec: Obj) -> Iterator[Cause]:
        yield from super()._validate_spec(_with_claimed_volumes(spec))
        policy = spec.get("podManagementPolicy", "")
        if policy not in POD_MANAGEMENT:
            yield invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
        yield from _validate_update_strategy(spec.get("updateStrategy") or {})
        for when in ("whenDeleted", "whenScaled"):
            chosen = field_of(spec, "persistentVolumeClaimRetentionPolicy", when, default="")
            if chosen not in RETENTION:
                yield not_supported(f"spec.persistentVolumeClaimRetentionPolicy.{when}", chosen, RETENTION)
        yield from validate_not_negative(field_of(spec, "ordinals", "start"), "spec.ordinals.start")
        yield from validate_not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate_spec(new.get("spec") or {}))
        if _fixed(new) != _fixed(old):
            found.append(forbidden("spec", SPEC_FIXED))
        return tuple(found)

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = [*super().validate_status(new, old), *validate_status_counts(new, *_COUNTS)]
        total = int(field_of(new, "status", "replicas", default=0))
        for field in _COUNTS[1:]:
            count = field_of(new, "status", field, default=0)
            if count > total:
                found.append(invalid(f"status.{field}", count, "cannot be greater than status.replicas"))
        return tuple(found)


def _with_claimed_volumes(spec: Obj) -> Obj:
    """`spec` whose template also has the volumes that its pods get from claims: containers may mount them."""
    claimed = [{"name": name_of(claim), "emptyDir": {}} for claim in spec.get("volumeClaimTemplates") or ()]
    volumes = field_of(spec, "template", "spec", "volumes", default=())
    names = {volume["name"] for volume in claimed}
    others = [volume for volume in volumes if volume.get("name") not in names]
    return with_field(spec, ("template", "spec", "volumes"), [*others, *claimed])


def _fixed(obj: Obj) -> dict[str, Any]:
    return {
        field: value
        for field, value in (obj.get("spec") or {}).items()
        if field not in CHANGEABLE and value not in (None, "", [], {})
    }


def _default_claim_template(claim: Obj) -> Obj:
    """A claim template is a whole claim, type included: clients compare it with what they sent."""
    return {**default_claim(claim), "apiVersion": "v1", "kind": "PersistentVolumeClaim", "status": {"phase": "Pending"}}


def _validate_update_strategy(strategy: Obj) -> Iterator[Cause]:
    path, rolling = "spec.updateStrategy", strategy.get("rollingUpdate")
    match strategy.get("type", ""):
        case "":
            yield required(path)
        case "OnDelete":
            if rolling is not None:
                yield invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
        case "RollingUpdate":
            if rolling is None:
                return
            yield from validate_not_negative(rolling.get("partition"), f"{path}.rollingUpdate.partition")
            if (unavailable := rolling.get("maxUnavailable")) is not None:
                at = f"{path}.rollingUpdate.maxUnavailable"
                wrong = tuple(validate_int_or_percent(unavailable, at))
                yield from wrong
                if not wrong and is_zero(unavailable):
                    yield invalid(at, unavailable, "cannot be 0")
                yield from validate_at_most_all(unavailable, at)
        case _:
            yield invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("apps", "StatefulSet"): Kind(
        StatefulSetStrategy(),
        (
            NAME,
            Column("Ready", ready_cell, description="Number of the pod with ready state"),
            AGE,
            *CONTAINER_COLUMNS,
        ),
    ),
}
