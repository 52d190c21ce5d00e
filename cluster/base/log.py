"""Where log records go: journald when the service manager connected us to it, otherwise a readable line and, asked, a file.

Records are a constant message plus keys.  Everything written passes `redacted` once, here: a credential that slipped into a
value does not leave the process.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import orjson
from loguru import logger

from cluster.base.journal import JournalSocket, entry_of, field_name, is_journal
from cluster.base.log_files import LogFile, begin_anew_when_full

if TYPE_CHECKING:
    from loguru import Message, Record

VALUE_LENGTH_MAX: Final = 4096
"""A longer value is cut: one record never floods the journal."""

LINES_UNTIL_LOOK: Final = 256
"""Lines between two looks whether the file that they go to is full."""

KEY_PREFIX: Final = "RECONCILER_"
"""Before a key's name in the journal."""
MESSAGE_FIELD: Final = "RECONCILER_MESSAGE"
"""The constant message without its keys."""
DROPPED_FIELD: Final = "RECONCILER_DROPPED"
"""How many entries before this one journald did not take in time."""
PART_FIELD: Final = "RECONCILER_PART"
"""Which half of the program speaks: its top package."""

_PRIORITY: Final = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "SUCCESS": 5, "INFO": 6, "DEBUG": 7, "TRACE": 7}
_CREDENTIALS: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@:]*:[^/\s@]*@"
    r"|(?P<auth>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<named>\b(?:password|passwd|token|secret|api[-_]?key)\s*[=:]\s*)[^\s,;&]+"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.IGNORECASE | re.DOTALL,
)


def redacted(text: str) -> str:
    """`text` with what looks like a credential replaced by `***`."""
    return _CREDENTIALS.sub(lambda m: f"{m['scheme'] or m['auth'] or m['named'] or ''}***", text)


def configure(*, level: str = "INFO", stream: TextIO | None = None, files: LogFiles | None = None) -> None:
    """Send every record, those of the standard library's logging too, to one sink.  Replaces earlier ones.

    `files` are kept where no journald keeps the records.
    """
    logger.remove()
    target = stream if stream is not None else sys.stderr
    to_journal = stream is None and is_journal(sys.stderr, os.environ.get("JOURNAL_STREAM", ""))
    sinks: list[tuple[Callable[[Message], None], str | None]] = []
    if to_journal:
        sinks.append((_journal_sink(), None))
    else:
        sinks.append((_line_sink(target, files.output if files is not None else None), None))
        if files is not None:
            sinks.append((_file_sink(files.records), files.part))
    for sink, part in sinks:
        # `diagnose` would print the values of local variables, secrets among them.
        logger.add(
            sink,
            level=level,
            filter=part,
            format="{message}",
            diagnose=False,
            backtrace=False,
            enqueue=False,
            catch=True,
        )
    logging.basicConfig(handlers=[_Intercept()], level=logging.WARNING, force=True)


@dataclass(frozen=True, slots=True)
class LogFiles:
    """`records` gets the records of the top package `part`, one JSON object a line; `output` is where the process's
    own output may go: it begins anew when it is full."""

    records: Path
    part: str
    output: Path


def line_of(record: Record) -> str:
    """One readable line: time, level, message, keys in the order they were given."""
    time = record["time"].astimezone().isoformat(timespec="milliseconds")
    keys = "".join(f" {name}={_quoted(value)}" for name, value in record["extra"].items())
    return redacted(f"{time} {record['level'].name:<7} {record['message']}{keys}")


def _line_sink(stream: TextIO, output: Path | None) -> Callable[[Message], None]:
    until_look = 0

    def write(message: Message) -> None:
        nonlocal until_look
        if output is not None and (until_look := until_look - 1) < 0:
            until_look = LINES_UNTIL_LOOK
            begin_anew_when_full(output)
        record = message.record
        stream.write(line_of(record) + "\n")
        if record["exception"] is not None:
            stream.write(redacted(_traceback(message)) + "\n")
        stream.flush()

    return write


def _file_sink(path: Path) -> Callable[[Message], None]:
    file = LogFile(path)

    def write(message: Message) -> None:
        file.write(orjson.dumps(json_record(message.record, _traceback(message))) + b"\n")

    return write


def json_record(record: Record, traceback: str = "") -> dict[str, str]:
    """The record for a file: time, level, message and its keys as text; nothing in it is a credential."""
    fields = {
        "time": record["time"].astimezone(UTC).isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "message": record["message"],
    }
    fields |= {name: redacted(_text(value)) for name, value in record["extra"].items()}
    return fields | ({"traceback": redacted(traceback)} if traceback else {})


def _journal_sink() -> Callable[[Message], None]:
    journal = JournalSocket()

    def write(message: Message) -> None:
        fields = journal_fields(message.record, _traceback(message))
        if journal.dropped:
            fields[DROPPED_FIELD] = str(journal.dropped)
        try:
            journal.send(entry_of(fields))
        except OSError:
            sys.stderr.write(line_of(message.record) + "\n")

    return write


def journal_fields(record: Record, traceback: str = "") -> dict[str, str]:
    """The record for journald: MESSAGE, PRIORITY and one RECONCILER_KEY for each key; nothing in it is a credential."""
    keys = "".join(f" {name}={_quoted(value)}" for name, value in record["extra"].items())
    fields = {
        "MESSAGE": redacted(f"{record['message']}{keys}" + (f"\n{traceback}" if traceback else "")),
        "PRIORITY": str(_PRIORITY.get(record["level"].name, 6)),
        "SYSLOG_IDENTIFIER": "reconciler",
        "CODE_FILE": record["file"].path,
        "CODE_LINE": str(record["line"]),
        MESSAGE_FIELD: record["message"],
        PART_FIELD: (record["name"] or "").partition(".")[0],
    }
    for name, value in record["extra"].items():
        fields[KEY_PREFIX + field_name(name)] = redacted(_text(value))
    return fields


def _traceback(message: Message) -> str:
    exception = message.record["exception"]
    return str(message).partition("\n")[2].rstrip() if exception is not None else ""


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= VALUE_LENGTH_MAX else text[:VALUE_LENGTH_MAX] + "..."


def _quoted(value: Any) -> str:
    text = _text(value)
    if text and not re.search(r'[\s"=]', text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class _Intercept(logging.Handler):
    """Libraries that use the standard library's logging come out like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).log(
            record.levelname if record.levelname in _PRIORITY else "INFO", "{}", record.getMessage(), source=record.name
        )
