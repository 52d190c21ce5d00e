"""When a CronJob is due: the newest time that was missed, and the next one.  Pure.

Upstream: pkg/controller/cronjob/utils.go mostRecentScheduleTime, nextScheduleTimeDuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from cluster.controllers.instants import instant_of
from cluster.machinery.cron import Every, Schedule, parse_schedule, zone_stripped
from cluster.machinery.objects import Obj, field_of, meta_of
from cluster.resources.batch_cron_job import is_time_zone

MISSED_MAX = 100
"""More missed times than this are worth a warning: a clock that jumped, or a CronJob that long stood still."""
_FIRST_WINDOW = timedelta(minutes=1)


class UnknownTimeZone(ValueError):
    """The host does not know the zone."""


@dataclass(frozen=True, slots=True)
class Due:
    """`at` is the newest time up to now that no job was made for, if any; `next_at` the first one after now."""

    at: datetime | None
    next_at: datetime | None
    too_many_missed: bool = False


def due_of(cron_job: Obj, *, now: datetime) -> Due:
    """Raises ScheduleError, UnknownTimeZone."""
    text = field_of(cron_job, "spec", "schedule", default="")
    zone = zone_of(cron_job)
    schedule = parse_schedule(zone_stripped(text))
    after = (
        instant_of(field_of(cron_job, "status", "lastScheduleTime"))
        or instant_of(meta_of(cron_job).get("creationTimestamp"))
        or now
    )
    deadline_s = field_of(cron_job, "spec", "startingDeadlineSeconds")
    if deadline_s is not None:
        after = max(after, now - timedelta(seconds=deadline_s))
    at = _latest(schedule, after, now, zone)
    next_at = schedule.next_after(at if at is not None and isinstance(schedule, Every) else now, zone)
    if at is None and isinstance(schedule, Every):
        next_at = schedule.next_after(after, zone)
    return Due(at, next_at, too_many_missed=_misses_more_than(MISSED_MAX, schedule, after, now, zone))


def zone_of(cron_job: Obj) -> tzinfo:
    """`spec.timeZone`, else the zone that an older schedule names in its text, else UTC.  Raises UnknownTimeZone."""
    text = field_of(cron_job, "spec", "schedule", default="")
    name = field_of(cron_job, "spec", "timeZone", default="")
    if not name and zone_stripped(text) != text:
        name = text.partition(" ")[0].partition("=")[2]
    if not name or name == "UTC":
        return UTC
    if not is_time_zone(name):
        raise UnknownTimeZone(f"unknown time zone {name}")
    from zoneinfo import ZoneInfo  # a megabyte that only named zones need

    return ZoneInfo(name)


def _latest(schedule: Schedule | Every, after: datetime, until: datetime, zone: tzinfo) -> datetime | None:
    """The last time in (after, until].  Looks back in windows that double, so that a year of minutes costs as little as one."""
    if isinstance(schedule, Every):
        turns = (until - after) // timedelta(seconds=schedule.interval_s)
        return after + turns * timedelta(seconds=schedule.interval_s) if turns > 0 else None
    window = _FIRST_WINDOW
    while True:
        start = max(after, until - window)
        found: datetime | None = None
        following = schedule.next_after(start, zone)
        while following is not None and following <= until:
            found, following = following, schedule.next_after(following, zone)
        if found is not None or start == after:
            return found
        window *= 2


def _misses_more_than(limit: int, schedule: Schedule | Every, after: datetime, until: datetime, zone: tzinfo) -> bool:
    following = schedule.next_after(after, zone)
    for _ in range(limit):
        if following is None or following > until:
            return False
        following = schedule.next_after(following, zone)
    return following is not None and following <= until
