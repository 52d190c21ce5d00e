"""The reconciliation log: records of Git's half of the program, from journald or from the state directory's file.

A record is what was logged, as text: time, level, message and keys.  Reading knows nothing of how it is shown.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import orjson

from cluster.base.log import DROPPED_FIELD, KEY_PREFIX, MESSAGE_FIELD, PART_FIELD
from cluster.base.log_files import older
from reconciler.cli.exit_codes import CommandError
from reconciler.cli.process import PART

UNIT = "reconciler-server.service"
LOOK_S = 0.2
"""Between two looks at a file that is followed."""
_LEVELS = {"2": "CRITICAL", "3": "ERROR", "4": "WARNING", "5": "SUCCESS", "6": "INFO", "7": "DEBUG"}
_OWN_FIELDS = frozenset({MESSAGE_FIELD, PART_FIELD, DROPPED_FIELD})


@dataclass(frozen=True, slots=True)
class Record:
    at: datetime
    level: str
    message: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records are wanted; empty is all.

    `app` is NAME or NAMESPACE/NAME, `object` KIND/NAME or KIND/NAMESPACE/NAME, KIND with or without its group, in any
    case; `commit` a commit id or how one begins.
    """

    app: str = ""
    object: str = ""
    commit: str = ""
    since: datetime | None = None

    def takes(self, record: Record) -> bool:
        return (
            (self.since is None or record.at >= self.since)
            and (not self.app or _is_app(record.keys.get("app", ""), self.app))
            and (not self.object or _is_object(record.keys.get("object", ""), self.object))
            and (not self.commit or _is_commit(record.keys.get("revision", ""), self.commit))
        )


def _is_app(key: str, asked: str) -> bool:
    return asked in (key, key.rpartition("/")[2])


def _is_object(text: str, asked: str) -> bool:
    """`text` is KIND.GROUP NAMESPACE/NAME, as references are written."""
    kind, _, name = text.partition(" ")
    asked_kind, _, asked_name = asked.partition("/")
    return name == asked_name and asked_kind.lower() in (kind.lower(), kind.partition(".")[0].lower())


def _is_commit(shortened: str, asked: str) -> bool:
    """Records shorten commits; who asks has the whole id, or a shorter one still."""
    asked = asked.lower().removeprefix("sha256:")
    return bool(shortened) and (shortened.startswith(asked) or asked.startswith(shortened))


class Records(Protocol):
    def newest(self, selection: Selection, count: int) -> Sequence[Record]:
        """The last `count` records that it takes, the oldest first; they are where `following` goes on."""
        ...

    def following(self, selection: Selection) -> Iterator[Record]:
        """What comes after `newest`, without end."""
        ...


class FileRecords:
    """What a daemon without journald keeps in its state directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self._offset = 0

    def newest(self, selection: Selection, count: int) -> Sequence[Record]:
        found: deque[Record] = deque(maxlen=count)
        for path in (older(self._path), self._path):
            for record in self._read(path, 0):
                if selection.takes(record):
                    found.append(record)
        return tuple(found)

    def following(self, selection: Selection) -> Iterator[Record]:
        while True:
            yield from filter(selection.takes, self._what_came())
            time.sleep(LOOK_S)

    def _what_came(self) -> Iterator[Record]:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return
        if inode != self._inode:
            if self._inode == _inode_of(older(self._path)):
                yield from self._read(older(self._path), self._offset)
            self._offset = 0
        yield from self._read(self._path, self._offset)

    def _read(self, path: Path, offset: int) -> Iterator[Record]:
        """The whole lines after `offset`.  A line that is no record is passed over: the file may be from a crash."""
        try:
            with path.open("rb") as file:
                file.seek(offset)
                lines = file.read().splitlines(keepends=True)
                self._inode = path.stat().st_ino
        except FileNotFoundError:
            return
        whole = [line for line in lines if line.endswith(b"\n")]
        self._offset = offset + sum(map(len, whole))
        for line in whole:
            if (record := record_of_line(line)) is not None:
                yield record


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def record_of_line(line: bytes) -> Record | None:
    try:
        fields = orjson.loads(line)
        at = datetime.fromisoformat(fields.pop("time"))
        return Record(at, fields.pop("level"), fields.pop("message"), fields)
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


class JournalRecords:
    """What journald keeps of the service.  Only the unit's own records: any process may call itself reconciler."""

    def __init__(self, unit: str = UNIT) -> None:
        self._matches = [f"_SYSTEMD_UNIT={unit}", f"{PART_FIELD}={PART}"]
        self._cursor = ""

    def newest(self, selection: Selection, count: int) -> Sequence[Record]:
        """Raises CommandError when journalctl cannot read."""
        found: list[Record] = []
        options = ["--reverse"]
        if selection.since is not None:
            options.append(f"--since=@{selection.since.timestamp():.6f}")
        for entry in self._entries(options):
            self._cursor = self._cursor or str(entry.get("__CURSOR", ""))
            record = record_of_entry(entry)
            if record is not None and selection.takes(record):
                found.append(record)
                if len(found) >= count:
                    break
        return tuple(reversed(found))

    def following(self, selection: Selection) -> Iterator[Record]:
        after = [f"--after-cursor={self._cursor}", "--lines=all"] if self._cursor else ["--lines=0"]
        for entry in self._entries(["--follow", *after]):
            record = record_of_entry(entry)
            if record is not None and selection.takes(record):
                yield record

    def _entries(self, options: Sequence[str]) -> Iterator[Mapping[str, object]]:
        if shutil.which("journalctl") is None:
            raise CommandError(
                "there is no log here: no state directory of `up`, and no journald on this host",
                hint="name a state directory with --state",
            )
        command = ["journalctl", "--output=json", "--all", "--no-pager", "--quiet", *options, *self._matches]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader:
            assert reader.stdout is not None and reader.stderr is not None
            try:
                for line in reader.stdout:
                    yield orjson.loads(line)
                if reader.wait():
                    message = reader.stderr.read().decode(errors="replace").strip()
                    raise CommandError(f"journalctl: {message}", hint="root and the group systemd-journal may read it")
            finally:
                reader.terminate()


def record_of_entry(entry: Mapping[str, object]) -> Record | None:
    """A journal entry as journalctl prints it in JSON, when it is one of ours."""
    try:
        at = datetime.fromtimestamp(int(str(entry["__REALTIME_TIMESTAMP"])) / 1e6, UTC)
    except (KeyError, ValueError):
        return None
    keys = {
        name.removeprefix(KEY_PREFIX).lower(): _text(value)
        for name, value in entry.items()
        if name.startswith(KEY_PREFIX) and name not in _OWN_FIELDS
    }
    return Record(at, _LEVELS.get(_text(entry.get("PRIORITY")), "INFO"), _text(entry.get(MESSAGE_FIELD)), keys)


def _text(value: object) -> str:
    """journalctl writes what is not plain text as a list of bytes, and a field that comes twice as a list of values."""
    if isinstance(value, list):
        if all(isinstance(each, int) for each in value):
            return bytes(value).decode("utf-8", "replace")
        return _text(value[0])
    return "" if value is None else str(value)
