"""Instants and ages read as kubectl shows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from cluster.machinery.timestamps import age_of, format_micro_time, format_time, human_duration, parse_time


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"), (10799, "179m"),
        (10800, "3h"), (14700, "4h5m"), (28800, "8h"), (172799, "47h"), (172800, "2d"), (360000, "4d4h"),
        (192 * 3600, "8d"), (729 * 86400, "729d"), (730 * 86400, "2y"), (831 * 86400, "2y101d"), (2920 * 86400, "8y"),
    ],
)  # fmt: skip
def test_durations_are_short(seconds, shown):
    assert human_duration(seconds) == shown


def test_times_are_utc_whole_seconds():
    at = datetime(2024, 1, 2, 3, 4, 5, 678900, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(at) == "2024-01-02T01:04:05Z"
    assert format_micro_time(at) == "2024-01-02T01:04:05.678900Z"
    assert parse_time("2024-01-02T03:04:05.6789+02:00") == at
    assert parse_time("2024-01-02T01:04:05.123456789Z").microsecond == 123456


@pytest.mark.parametrize("text", ["", "2024-01-02", "2024-13-02T00:00:00Z", "2024-01-02T00:00:00", "now"])
def test_other_texts_are_no_times(text):
    with pytest.raises(ValueError, match=r"."):
        parse_time(text)


def test_an_age_needs_a_creation_time():
    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert age_of("2023-12-31T23:56:40Z", now) == "3m20s"
    assert age_of("", now) == "<unknown>"
