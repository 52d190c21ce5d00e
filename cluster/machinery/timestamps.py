"""Instants as the API writes them, and ages as people read them.

Upstream: metav1.Time (whole seconds), metav1.MicroTime, apimachinery/pkg/util/duration.HumanDuration.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)\Z",
    re.ASCII,
)


def format_time(at: datetime) -> str:
    """`2024-01-01T12:00:00Z`: UTC, whole seconds, cut off.  `at` must be timezone-aware."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(at: datetime) -> str:
    """`2024-01-01T12:00:00.000000Z`: UTC with six decimals, as Leases and Events write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """An RFC 3339 instant in UTC; digits beyond microseconds are cut off.  Raises ValueError."""
    match = _RFC3339.match(text)
    if match is None:
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time")
    day, clock, fraction, zone = match.groups()
    return datetime.fromisoformat(
        f"{day}T{clock}.{(fraction or '0')[:6]:0<6}{zone.upper().replace('Z', '+00:00')}"
    ).astimezone(UTC)


def human_duration(duration_s: float) -> str:
    """A short age: `119s`, `3m20s`, `4h5m`, `4d2h`, `400d`, `2y100d`; more than a second negative is `<invalid>`."""
    seconds = int(duration_s)
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def age_of(created: str, now: datetime) -> str:
    """The age of an object created at the RFC 3339 instant `created`; `<unknown>` without one."""
    if not created:
        return "<unknown>"
    try:
        return human_duration((now - parse_time(created)).total_seconds())
    except ValueError:
        return "<invalid>"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"
