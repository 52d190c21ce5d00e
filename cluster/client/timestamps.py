"""Instants as the wire has them (RFC 3339, UTC): whole seconds for metav1.Time, microseconds for MicroTime."""

from __future__ import annotations

from datetime import UTC, datetime


def time_of(instant: datetime) -> str:
    """metav1.Time: `2026-01-02T03:04:05Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_time_of(instant: datetime) -> str:
    """metav1.MicroTime: `2026-01-02T03:04:05.000006Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def instant_of(text: str | None) -> datetime | None:
    """The instant a Time or MicroTime says; None for absent or malformed text."""
    if not text:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
