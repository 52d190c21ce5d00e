"""CronJob.  Upstream: pkg/apis/batch/{v1/defaults,validation/validation}.go, pkg/registry/batch/cronjob, pkg/printers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from cluster.machinery.cron import ScheduleError, parse_schedule, zone_stripped
from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, not_supported, required
from cluster.machinery.objects import GroupKind, Obj, field_of, name_of, with_field
from cluster.machinery.timestamps import age_of
from cluster.resources.batch_policies import default_pod_failure_policy
from cluster.resources.batch_validation import validate_job_spec
from cluster.resources.defaulting import filled, inner
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, NONE, UNSET, Column, field_cell
from cluster.resources.strategy import GenericStrategy
from cluster.resources.workload import selector_cell, template_cell, validate_not_negative, with_default_template

CONCURRENCY = ("Allow", "Forbid", "Replace")
NAME_MAX = 52
"""Jobs are named after their CronJob with eleven characters more."""

_ZONE = re.compile(r"[A-Za-z0-9_+.-]+(?:/[A-Za-z0-9_+.-]+)*\Z", re.ASCII)
_TEMPLATE = ("spec", "jobTemplate", "spec", "template")


class CronJobStrategy(GenericStrategy):
    has_status = True
    has_generation = True
    status_keeps_labels = True

    def default(self, obj: Obj) -> Obj:
        limits = {"suspend": False, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
        spec = filled(obj.get("spec") or {}, {"concurrencyPolicy": "Allow"}, limits)
        job = dict(with_default_template(field_of(spec, "jobTemplate", "spec", default={})))
        inner(job, "podFailurePolicy", default_pod_failure_policy)
        return {**obj, "spec": with_field(spec, ("jobTemplate", "spec"), job)}

    def validate(self, obj: Obj) -> tuple[Cause, ...]:
        found = list(super().validate(obj))
        if len(name_of(obj)) > NAME_MAX:
            found.append(invalid("metadata.name", name_of(obj), f"must be no more than {NAME_MAX} characters"))
        return tuple(found)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}, zone_in_schedule=False))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        before = field_of(old, "spec", "schedule", default="")
        return tuple(_validate_spec(new.get("spec") or {}, zone_in_schedule="TZ" in before))

    def warnings(self, obj: Obj) -> tuple[str, ...]:
        schedule = field_of(obj, "spec", "schedule", default="")
        if "TZ" not in schedule:
            return ()
        return (
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see https://kep.k8s.io/3140 for more details",
        )


def _validate_spec(spec: Obj, *, zone_in_schedule: bool) -> Iterator[Cause]:
    schedule, zone = spec.get("schedule", ""), spec.get("timeZone")
    if not schedule:
        yield required("spec.schedule")
    else:
        yield from _validate_schedule(schedule, zone, zone_in_schedule=zone_in_schedule)
    yield from validate_not_negative(spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds")
    if zone is not None:
        yield from _validate_zone(zone)
    concurrency = spec.get("concurrencyPolicy", "")
    if concurrency not in CONCURRENCY:
        yield not_supported("spec.concurrencyPolicy", concurrency, CONCURRENCY)
    path, job = "spec.jobTemplate.spec", field_of(spec, "jobTemplate", "spec", default={})
    yield from validate_job_spec(job, path)
    if (selector := job.get("selector")) is not None:
        yield invalid(f"{path}.selector", selector, "`selector` will be auto-generated")
    if job.get("manualSelector"):
        yield not_supported(f"{path}.manualSelector", True, ("nil", "false"))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        yield from validate_not_negative(spec.get(field), f"spec.{field}")


def _validate_schedule(schedule: str, zone: str | None, *, zone_in_schedule: bool) -> Iterator[Cause]:
    try:
        parse_schedule(zone_stripped(schedule))
    except ScheduleError as error:
        yield invalid("spec.schedule", schedule, str(error))
    if "TZ" in schedule and zone_in_schedule and zone is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        yield invalid("spec.schedule", schedule, why)
    elif "TZ" in schedule and not zone_in_schedule:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        yield invalid("spec.schedule", schedule, why)


def _validate_zone(zone: str) -> Iterator[Cause]:
    if not zone:
        yield invalid("spec.timeZone", zone, "timeZone must be nil or non-empty string")
    elif zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        yield invalid("spec.timeZone", zone, why)
    elif not is_time_zone(zone):
        yield invalid("spec.timeZone", zone, f"unknown time zone {zone}")


def is_time_zone(name: str) -> bool:
    """Whether the host's database of time zones has it."""
    from zoneinfo import ZoneInfo  # a megabyte that only named zones need

    if not _ZONE.match(name) or ".." in name:
        return False
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a folder, an unreadable file, an unknown name
        return False
    return True


def _suspend_cell(cron_job: Obj, now: datetime) -> str:
    value = field_of(cron_job, "spec", "suspend")
    return UNSET if value is None else str(bool(value))


def _last_cell(cron_job: Obj, now: datetime) -> str:
    last = field_of(cron_job, "status", "lastScheduleTime")
    return age_of(last, now) if last else NONE


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("batch", "CronJob"): Kind(
        CronJobStrategy(),
        (
            NAME,
            Column("Schedule", field_cell("spec", "schedule")),
            Column("Timezone", field_cell("spec", "timeZone", default=NONE)),
            Column("Suspend", _suspend_cell, "boolean"),
            Column("Active", lambda job, now: len(field_of(job, "status", "active", default=())), "integer"),
            Column("Last Schedule", _last_cell),
            AGE,
            Column("Containers", template_cell("name", *_TEMPLATE), wide=True),
            Column("Images", template_cell("image", *_TEMPLATE), wide=True),
            Column("Selector", selector_cell("spec", "jobTemplate", "spec", "selector"), wide=True),
        ),
    ),
}
