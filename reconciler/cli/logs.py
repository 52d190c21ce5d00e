"""`reconciler logs`: the reconciliation log: what changed, why, and which commit asked for it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from reconciler.cli.columns import clean
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.process import RECORDS_FILE
from reconciler.cli.records import FileRecords, JournalRecords, Record, Records, Selection

LINES = 100
_IN_FRONT = ("app", "repository", "revision")
_IN_THE_TEXT = ("action", "object", "result", "reason", "author", "subject")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", default="", help="of one application: NAME or NAMESPACE/NAME")
    parser.add_argument("--object", default="", help="about one object: KIND/NAME or KIND/NAMESPACE/NAME")
    parser.add_argument("--commit", default="", help="what a commit asked for; its id, or how that begins")
    parser.add_argument("--since", default="", help="from then on: 90s, 10m, 24h, or a date and time (ISO 8601)")
    parser.add_argument("-n", "--lines", type=int, default=LINES, help="the newest so many (default: %(default)s)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: time, level, message and keys")
    parser.add_argument(
        "--state",
        type=Path,
        help="the state directory (default: .reconciler if a log is there, else the service's journal)",
    )


def run(args: argparse.Namespace) -> int:
    if args.lines < 0:
        raise CommandError("--lines cannot be negative", code=Exit.USAGE)
    since = since_of(args.since, datetime.now(UTC)) if args.since else None
    selection = Selection(app=args.app, object=args.object, commit=args.commit, since=since)
    records = _records(args.state)
    show = json_line if args.json else line_of
    try:
        for record in records.newest(selection, args.lines):
            print(show(record))
        sys.stdout.flush()
        if args.follow:
            for record in records.following(selection):
                print(show(record), flush=True)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough
    return Exit.OK


def _records(state_dir: Path | None) -> Records:
    path = (state_dir or Path(".reconciler")) / RECORDS_FILE
    if path.exists():
        return FileRecords(path)
    if state_dir is not None:
        raise CommandError(f"{state_dir} has no {RECORDS_FILE}", hint="without --state the service's journal is read")
    return JournalRecords()


def since_of(text: str, now: datetime) -> datetime:
    """An instant: a duration before `now`, or a date, or a date and time; local unless it says otherwise."""
    from reconciler.daemon.spec import seconds_of
    from reconciler.errors import StageError

    try:
        return now - timedelta(seconds=seconds_of(text))
    except (StageError, OverflowError):
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(
            f"--since {text}: neither a duration such as 10m nor a time such as 2026-01-31T12:00", code=Exit.USAGE
        ) from None


def line_of(record: Record) -> str:
    """One printable line: when, whose, which commit, what, why, and who asked."""
    keys = record.keys
    front = [record.at.astimezone().isoformat(sep=" ", timespec="seconds")[:19]]
    if record.level != "INFO":
        front.append(record.level)
    front += [keys[name] for name in _IN_FRONT if keys.get(name)]
    what = " ".join(keys[name] for name in ("action", "object", "result") if keys.get(name) and keys[name] != "done")
    rest = [
        f"{name}={value}" for name, value in keys.items() if name not in (*_IN_FRONT, *_IN_THE_TEXT) and value != "0"
    ]
    text = record.message + (f": {what}" if what else "") + (f" ({keys['reason']})" if keys.get("reason") else "")
    asked = ", ".join(
        part
        for part in (keys.get("author", "").partition(" <")[0], f'"{keys["subject"]}"' if keys.get("subject") else "")
        if part
    )
    return clean("  ".join([*front, " ".join([text, *rest]), *([f"[{asked}]"] if asked else [])]))


def json_line(record: Record) -> str:
    import orjson

    shown = {
        "time": record.at.isoformat(timespec="milliseconds"),
        "level": record.level,
        "message": record.message,
        **record.keys,
    }
    return orjson.dumps(shown).decode()
