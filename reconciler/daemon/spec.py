"""An Application's spec in checked form.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cluster.machinery.objects import Key, Obj, annotations_of, field_of, key_of
from cluster.machinery.timestamps import format_time, parse_time
from reconciler.errors import Fault, Stage, StageError
from reconciler.plan.authority import UNRESTRICTED, Authority
from reconciler.plan.policy import Drift
from reconciler.source.address import checked_path

REQUESTED_ANNOTATION = "gitops.reconciler.io/requested-at"
"""Changing its value asks for a look now."""

APPROVED_ANNOTATION = "gitops.reconciler.io/approve-prune"
"""A revision (at least seven characters of it) whose held deletions may happen."""

APPROVED_MIN_CHARS = 7

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")


@dataclass(frozen=True, slots=True)
class Suspension:
    """Who suspended an application, why, until when (None: until it is resumed)."""

    by: str = ""
    reason: str = ""
    until: datetime | None = None

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        until = f" until {format_time(self.until)}" if self.until else ""
        return f"suspended{by}{until}{': ' if self.reason else ''}{self.reason}"


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    key: Key
    repository: Key
    path: str
    target_namespace: str
    create_namespace: bool
    service_account: str
    prune: bool
    interval_s: float
    timeout_s: float
    suspend: bool
    suspension: Suspension
    drift: Drift
    depends_on: tuple[Key, ...]
    requested: str
    approved: str

    def authority(self, *, operator: bool, system_namespace: str) -> Authority:
        """`operator`: the bootstrap application, whose rights are those of the host's configuration.

        Raises StageError: without a service account, an application outside of the operator's namespace may only write to
        its own, or whoever may create applications there could write anywhere.
        """
        if operator or self.service_account:
            return UNRESTRICTED
        if self.key.namespace not in (system_namespace, self.target_namespace):
            raise _invalid(
                f"targetNamespace {self.target_namespace!r} is not the application's own namespace: "
                "name a service account in serviceAccountName that may write there"
            )
        return Authority(restricted=True, namespace=self.target_namespace, may_create_namespace=self.create_namespace)

    def is_suspended(self, now: datetime) -> bool:
        until = self.suspension.until
        return self.suspend and (until is None or now < until)

    def approves(self, revision: str) -> bool:
        return len(self.approved) >= APPROVED_MIN_CHARS and revision.startswith(self.approved)


def application_spec(obj: Obj) -> ApplicationSpec:
    """Raises StageError naming the field that cannot be used."""
    key = key_of(obj)
    annotations = annotations_of(obj)
    target = str(field_of(obj, "spec", "targetNamespace", default="") or key.namespace)
    return ApplicationSpec(
        key=key,
        repository=Key(key.namespace, str(field_of(obj, "spec", "repositoryRef", "name", default=""))),
        path=checked_path(str(field_of(obj, "spec", "path", default=""))),
        target_namespace=target,
        create_namespace=bool(field_of(obj, "spec", "createNamespace", default=False)),
        service_account=str(field_of(obj, "spec", "serviceAccountName", default="")),
        prune=bool(field_of(obj, "spec", "prune", default=True)),
        interval_s=seconds_of(str(field_of(obj, "spec", "interval", default="10m"))),
        timeout_s=seconds_of(str(field_of(obj, "spec", "timeout", default="5m"))),
        suspend=bool(field_of(obj, "spec", "suspend", default=False)),
        suspension=suspension_of(obj),
        drift=Drift(field_of(obj, "spec", "drift", default="correct")),
        depends_on=tuple(
            Key(key.namespace, str(each.get("name", ""))) for each in field_of(obj, "spec", "dependsOn", default=())
        ),
        requested=annotations.get(REQUESTED_ANNOTATION, ""),
        approved=annotations.get(APPROVED_ANNOTATION, ""),
    )


def suspension_of(obj: Obj) -> Suspension:
    """Raises StageError for an `until` that is no instant."""
    until = str(field_of(obj, "spec", "suspension", "until", default=""))
    try:
        at = parse_time(until) if until else None
    except ValueError as error:
        raise _invalid(f"suspension.until: {error}") from error
    return Suspension(
        by=str(field_of(obj, "spec", "suspension", "by", default="")),
        reason=str(field_of(obj, "spec", "suspension", "reason", default="")),
        until=at,
    )


def seconds_of(duration: str) -> float:
    """`1h30m`, `30s`, `500ms` as Go writes durations.  Raises StageError."""
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise _invalid(f"{duration!r} is no duration such as 30s or 1h30m")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _invalid(message: str) -> StageError:
    return StageError(message, stage=Stage.PLAN, fault=Fault.OPERATOR, retryable=False)
