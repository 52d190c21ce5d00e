"""Where log records go: journald when the service manager connected us to it, a readable line otherwise.

Records are a constant message plus keys.  Everything written passes `redacted` once, here: a credential that slipped into a
value does not leave the process.  journald's native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TextIO

from loguru import logger

if TYPE_CHECKING:
    from loguru import Message, Record

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
VALUE_LENGTH_MAX: Final = 4096
"""A longer value is cut: one record never floods the journal."""

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


def configure(*, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send every record, those of the standard library's logging too, to one sink.  Replaces earlier ones."""
    logger.remove()
    target = stream if stream is not None else sys.stderr
    sink = _journal_sink() if stream is None and _is_journal(sys.stderr) else _line_sink(target)
    # `diagnose` would print the values of local variables, secrets among them.
    logger.add(sink, level=level, format="{message}", diagnose=False, backtrace=False, enqueue=False, catch=True)
    logging.basicConfig(handlers=[_Intercept()], level=logging.WARNING, force=True)


def line_of(record: Record) -> str:
    """One readable line: time, level, message, keys in the order they were given."""
    time = record["time"].astimezone().isoformat(timespec="milliseconds")
    keys = "".join(f" {name}={_quoted(value)}" for name, value in record["extra"].items())
    return redacted(f"{time} {record['level'].name:<7} {record['message']}{keys}")


def _line_sink(stream: TextIO) -> Callable[[Message], None]:
    def write(message: Message) -> None:
        record = message.record
        stream.write(line_of(record) + "\n")
        if record["exception"] is not None:
            stream.write(redacted(_traceback(message)) + "\n")
        stream.flush()

    return write


def _journal_sink() -> Callable[[Message], None]:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def write(message: Message) -> None:
        data = journal_entry(message.record, _traceback(message))
        try:
            connection.sendto(data, JOURNAL_SOCKET)
        except OSError:
            sys.stderr.write(line_of(message.record) + "\n")

    return write


def journal_entry(record: Record, traceback: str = "") -> bytes:
    """The record as journald fields: MESSAGE, PRIORITY and one RECONCILER_KEY for each key."""
    keys = "".join(f" {name}={_quoted(value)}" for name, value in record["extra"].items())
    text = redacted(f"{record['message']}{keys}" + (f"\n{traceback}" if traceback else ""))
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(_PRIORITY.get(record["level"].name, 6)),
        "SYSLOG_IDENTIFIER": "reconciler",
        "CODE_FILE": record["file"].path,
        "CODE_LINE": str(record["line"]),
    }
    for name, value in record["extra"].items():
        fields["RECONCILER_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())] = redacted(_text(value))
    return b"".join(_journal_field(name, value) for name, value in fields.items())


def _journal_field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" in data:
        return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


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


def _is_journal(stream: TextIO) -> bool:
    """systemd names the journal's stream by device and inode; stderr is it unless somebody redirected."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


class _Intercept(logging.Handler):
    """Libraries that use the standard library's logging come out like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        logger.opt(exception=record.exc_info).log(
            record.levelname if record.levelname in _PRIORITY else "INFO", "{}", record.getMessage(), source=record.name
        )
