"""Instants read from objects: absent or malformed ones are None, never an error in the middle of a plan."""

from __future__ import annotations

from datetime import datetime

from cluster.machinery.timestamps import parse_time


def instant_of(text: str | None) -> datetime | None:
    """The instant a Time or MicroTime says."""
    if not text:
        return None
    try:
        return parse_time(text)
    except ValueError:
        return None
