"""Cron schedules: what is one, what it says is wrong, and when it comes next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.cron import Every, Schedule, ScheduleError, parse_schedule, zone_stripped

NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)  # a Wednesday
ZURICH = ZoneInfo("Europe/Zurich")


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ("* * * * *", "2025-01-01T12:01"),
        ("*/15 * * * *", "2025-01-01T12:15"),
        ("0 12 * * *", "2025-01-02T12:00"),
        ("30 4 1,15 * *", "2025-01-15T04:30"),
        ("0 0 * * mon-fri", "2025-01-02T00:00"),
        ("0 0 ? feb SUN", "2025-02-02T00:00"),
        ("0 0 13 * 5", "2025-01-03T00:00"),
        ("5/20 * * * *", "2025-01-01T12:05"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@hourly", "2025-01-01T13:00"),
        ("@weekly", "2025-01-05T00:00"),
        ("@yearly", "2026-01-01T00:00"),
        ("@every 90m", "2025-01-01T13:30"),
        ("@every 1h0.5s", "2025-01-01T13:00"),
    ],
)
def test_what_comes_after_new_year_noon(schedule: str, after: str) -> None:
    assert parse_schedule(schedule).next_after(NOON) == datetime.fromisoformat(after).replace(tzinfo=UTC)


def test_a_day_that_never_comes() -> None:
    assert parse_schedule("0 0 30 2 *").next_after(NOON) is None


def test_clocks_that_change() -> None:
    skipped, repeated = parse_schedule("30 2 * * *"), parse_schedule("30 2 * * *")
    spring = datetime(2025, 3, 29, 12, tzinfo=UTC)
    assert skipped.next_after(spring, ZURICH) == datetime(2025, 3, 31, 0, 30, tzinfo=UTC)
    autumn = datetime(2025, 10, 25, 12, tzinfo=UTC)
    first = repeated.next_after(autumn, ZURICH)
    assert first == datetime(2025, 10, 26, 0, 30, tzinfo=UTC)
    assert repeated.next_after(first, ZURICH) == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("0 * * * * *", "expected exactly 5 fields, found 6"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@never", "unrecognized descriptor: @never"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
        ("* " * 2000, "longer than 1024 characters"),
    ],
)
def test_what_is_no_schedule(schedule: str, why: str) -> None:
    with pytest.raises(ScheduleError) as raised:
        parse_schedule(schedule)
    assert str(raised.value).startswith(why)


def test_a_zone_before_the_fields_is_set_aside() -> None:
    assert zone_stripped("CRON_TZ=Europe/Zurich 0 0 * * *") == zone_stripped("TZ=UTC 0 0 * * *") == "0 0 * * *"
    assert zone_stripped("0 0 * * *") == "0 0 * * *"


NUMBERS = st.tuples(st.integers(0, 59), st.integers(0, 23), st.integers(1, 28), st.integers(1, 12))


@given(NUMBERS, st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)))
def test_the_next_time_is_later_matches_and_leaves_none_out(
    numbers: tuple[int, int, int, int], start: datetime
) -> None:
    minute, hour, day, month = numbers
    instant = start.replace(tzinfo=UTC)
    found = parse_schedule(f"{minute} {hour} {day} {month} *").next_after(instant)
    assert found is not None
    assert instant < found <= instant + timedelta(days=366)
    assert (found.minute, found.hour, found.day, found.month, found.second) == (minute, hour, day, month, 0)


@given(st.text(max_size=40))
def test_no_text_does_worse_than_being_refused(text: str) -> None:
    try:
        parsed = parse_schedule(text)
    except ScheduleError:
        return
    assert isinstance(parsed, Schedule | Every)
