"""The reconciliation log: which records are taken, from which store, and how a line reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from cluster.base.log_files import older
from reconciler.cli.exit_codes import CommandError
from reconciler.cli.logs import line_of, since_of
from reconciler.cli.records import FileRecords, Record, Selection, record_of_entry, record_of_line

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
KEYS = {
    "app": "shop/web",
    "revision": "de728985",
    "author": "Ada <ada@example.org>",
    "subject": "Three pods",
    "action": "Update",
    "object": "Deployment.apps default/web",
    "result": "done",
    "reason": "changed in the source",
}


def record(**keys: str) -> Record:
    return Record(NOW, "INFO", "object applied", {**KEYS, **keys})


def line(number: int, **keys: str) -> bytes:
    return orjson.dumps({"time": NOW.isoformat(), "level": "INFO", "message": f"m{number}", **keys}) + b"\n"


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        (Selection(), True),
        (Selection(app="web"), True),
        (Selection(app="shop/web"), True),
        (Selection(app="eb"), False),
        (Selection(app="other/web"), False),
        (Selection(object="deployment/default/web"), True),
        (Selection(object="Deployment.apps/default/web"), True),
        (Selection(object="deployment.other/default/web"), False),
        (Selection(object="deployment/web"), False),
        (Selection(commit="de728985aa00"), True),
        (Selection(commit="DE72"), True),
        (Selection(commit="de72898500"), True),
        (Selection(commit="ffff"), False),
        (Selection(since=NOW), True),
        (Selection(since=NOW + timedelta(seconds=1)), False),
        (Selection(app="web", commit="ffff"), False),
    ],
)
def test_what_a_selection_takes(selection, taken):
    assert selection.takes(record()) is taken


def test_records_that_name_no_commit_are_of_no_commit():
    assert not Selection(commit="de728985").takes(record(revision=""))


def test_a_line_says_when_whose_which_commit_what_why_and_who():
    when = NOW.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    assert line_of(record()) == (
        f"{when}  shop/web  de728985  object applied: Update Deployment.apps default/web (changed in the source)"
        '  [Ada, "Three pods"]'
    )


def test_a_failure_is_seen_and_a_terminal_is_never_steered_by_a_commit():
    shown = line_of(
        Record(NOW, "WARNING", "object not applied", {**KEYS, "subject": "\x1b[2Jgone", "result": "failed"})
    )
    assert "  WARNING  " in shown and " failed " in shown and "\x1b" not in shown


def test_the_newest_are_read_over_both_generations_and_what_is_no_record_is_passed_over(tmp_path):
    path = tmp_path / "log"
    older(path).write_bytes(line(1) + line(2))
    path.write_bytes(b"hal\n[]\n{}\n" + line(3) + line(4))
    assert [each.message for each in FileRecords(path).newest(Selection(), 3)] == ["m2", "m3", "m4"]
    assert FileRecords(path).newest(Selection(), 0) == ()


def test_following_goes_on_after_the_newest_and_over_a_new_generation(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(line(1))
    records = FileRecords(path)
    records.newest(Selection(), 0)
    coming = records.following(Selection())
    with path.open("ab") as file:
        file.write(line(2)[:-5])
    with path.open("ab") as file:
        file.write(line(2)[-5:] + line(3))
    assert [next(coming).message, next(coming).message] == ["m2", "m3"]
    with path.open("ab") as file:
        file.write(line(4))
    path.replace(older(path))
    path.write_bytes(line(5))
    assert [next(coming).message, next(coming).message] == ["m4", "m5"]


def test_an_entry_of_the_journal_is_the_record_that_was_logged():
    entry = {
        "__REALTIME_TIMESTAMP": str(int(NOW.timestamp() * 1e6)),
        "PRIORITY": "4",
        "MESSAGE": "object not applied app=shop/web",
        "RECONCILER_MESSAGE": "object not applied",
        "RECONCILER_PART": "reconciler",
        "RECONCILER_APP": "shop/web",
        "RECONCILER_REASON": list("é\n".encode()),
        "RECONCILER_DURATION_MS": ["3", "4"],
    }
    keys = {"app": "shop/web", "reason": "é\n", "duration_ms": "3"}
    assert record_of_entry(entry) == Record(NOW, "WARNING", "object not applied", keys)
    assert record_of_entry({"MESSAGE": "no time"}) is None


def test_a_line_without_its_time_is_no_record():
    assert record_of_line(b'{"level": "INFO", "message": "m"}') is None


@pytest.mark.parametrize(
    ("text", "since"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("2026-01-30T10:00:00+00:00", datetime(2026, 1, 30, 10, tzinfo=UTC)),
    ],
)
def test_since_is_a_duration_or_an_instant(text, since):
    assert since_of(text, NOW) == since


@pytest.mark.parametrize("text", ["yesterday", "10", "99999999999999h", "-5m"])
def test_any_other_since_is_wrong_usage(text):
    with pytest.raises(CommandError) as caught:
        since_of(text, NOW)
    assert caught.value.code == 2
