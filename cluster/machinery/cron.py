"""Cron schedules as CronJobs have them: five fields, names, ranges, steps, and the `@daily` kind of words.

Upstream: github.com/robfig/cron/v3 ParseStandard, whose wording of errors is kept.  Pure: time and zone are passed in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

TEXT_MAX = 1024
YEARS_MAX = 5
"""A schedule that matches no day within so many years never does (the 30th of February)."""

_MONTHS = {
    name: n
    for n, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {name: n for n, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_WORDS: Mapping[str, str] = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|ms|s|m|h))+\Z")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class ScheduleError(ValueError):
    """The text is not a schedule; the message says why, in upstream's words."""


@dataclass(frozen=True, slots=True)
class Every:
    """`@every 90m`: a fixed distance of at least a second, whole seconds."""

    interval_s: int

    def next_after(self, instant: datetime, zone: tzinfo = UTC) -> datetime | None:
        return (instant + timedelta(seconds=self.interval_s)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The minutes, hours, days and months that match.  `any_day` or `any_weekday`: that field was a star."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def next_after(self, instant: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first matching minute after `instant` on the clocks of `zone`, in UTC; None when there is none.

        A local time that a change of clocks skips does not happen; one that it repeats happens once.
        """
        start = instant.astimezone(zone).replace(tzinfo=None, second=0, microsecond=0) + timedelta(minutes=1)
        day = start.replace(hour=0, minute=0)
        for _ in range(YEARS_MAX * 366):
            if self._is_day(day):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        local = day.replace(hour=hour, minute=minute)
                        if local >= start and (found := _on_the_clock(local, zone)) is not None and found > instant:
                            return found
            day += timedelta(days=1)
        return None

    def _is_day(self, day: datetime) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        # As in every cron: with both fields given, either may match.
        return in_month and in_week if self.any_day or self.any_weekday else in_month or in_week


def _on_the_clock(local: datetime, zone: tzinfo) -> datetime | None:
    """When the clocks of `zone` first show `local`, in UTC; None for a time that they skip."""
    found = local.replace(tzinfo=zone).astimezone(UTC)
    return found if found.astimezone(zone).replace(tzinfo=None) == local else None


def parse_schedule(text: str) -> Schedule | Every:
    """A schedule without a time zone of its own.  Raises ScheduleError."""
    if not text:
        raise ScheduleError("empty spec string")
    if len(text) > TEXT_MAX:
        raise ScheduleError(f"longer than {TEXT_MAX} characters")
    if text.startswith("@"):
        return _word(text)
    fields = text.split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        _field(minutes, 0, 59),
        _field(hours, 0, 23),
        _field(days, 1, 31),
        _field(months, 1, 12, _MONTHS),
        _field(weekdays, 0, 6, _DAYS),
        any_day=_is_star(days),
        any_weekday=_is_star(weekdays),
    )


def zone_stripped(text: str) -> str:
    """`text` without a leading `TZ=` or `CRON_TZ=` and its zone: how schedules named zones before `timeZone`."""
    return text.partition(" ")[2].strip() if text.startswith(("TZ=", "CRON_TZ=")) else text


def _word(text: str) -> Schedule | Every:
    if fields := _WORDS.get(text):
        return parse_schedule(fields)
    if not text.startswith("@every "):
        raise ScheduleError(f"unrecognized descriptor: {text}")
    duration = text.removeprefix("@every ")
    if not _DURATION.match(duration):
        raise ScheduleError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    seconds = sum(float(amount) * _UNITS_S[unit] for amount, unit in _DURATION_PART.findall(duration))
    return Every(max(int(min(seconds, 2**31)), 1))


def _is_star(field: str) -> bool:
    return any(part.split("/")[0] in ("*", "?") for part in field.split(","))


def _field(text: str, low: int, high: int, names: Mapping[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        if part:
            found.update(_range(part, low, high, names or {}))
    if not found:
        raise ScheduleError(f"failed to parse int from {text}: no value")
    return frozenset(found)


def _range(text: str, low: int, high: int, names: Mapping[str, int]) -> range:
    span, *steps = text.split("/")
    first, *rest = span.split("-")
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    if first in ("*", "?"):
        start, end = low, high
    elif len(rest) > 1:
        raise ScheduleError(f"too many hyphens: {text}")
    else:
        start = _number(first, names)
        end = _number(rest[0], names) if rest else high if steps else start
    step = _number(steps[0], {}) if steps else 1
    if start < low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({low}): {text}")
    if end > high:
        raise ScheduleError(f"end of range ({end}) above maximum ({high}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step)


def _number(text: str, names: Mapping[str, int]) -> int:
    if (named := names.get(text.lower())) is not None:
        return named
    if re.fullmatch(r"-[0-9]+", text):
        raise ScheduleError(f"negative number ({text}) not allowed: {text}")
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII):
        raise ScheduleError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    return int(text)
