"""journald's native protocol: a record as fields, in one datagram or, when it is too big for that, in a sealed memory file.

The format: systemd.io/JOURNAL_NATIVE_PROTOCOL.  Knows nothing of what the fields mean.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping
from typing import Final, TextIO

SOCKET: Final = "/run/systemd/journal/socket"
FIELD_NAME_MAX: Final = 64
"""journald drops a longer name without a word."""

WAIT_S: Final = 0.2
"""How long one entry waits for a journald that is busy; the following ones do not wait at all."""

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TOO_BIG: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def is_journal(stream: TextIO, named: str) -> bool:
    """`stream` is the one that systemd connected to the journal and `named` in $JOURNAL_STREAM: DEVICE:INODE."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def field_name(text: str) -> str:
    """`text` as journald takes a field's name: capital letters, digits and underscores."""
    return re.sub(r"[^A-Z0-9_]", "_", text.upper())[:FIELD_NAME_MAX]


def entry_of(fields: Mapping[str, str]) -> bytes:
    """One entry.  A value with a line break is sent with its length, so that no value can forge a field."""
    return b"".join(_field(name, value.encode("utf-8", "replace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


class JournalSocket:
    """Where entries are sent.  A journald that hangs costs entries, never the time of who logs: `dropped` counts them."""

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.dropped = 0

    def send(self, entry: bytes) -> None:
        """Raises OSError when there is no journald to take it."""
        self._socket.settimeout(0 if self.dropped else WAIT_S)
        try:
            try:
                self._socket.sendto(entry, self._path)
            except OSError as error:
                if error.errno not in _TOO_BIG:
                    raise
                self._send_as_file(entry)
        except (BlockingIOError, TimeoutError):
            self.dropped += 1
        else:
            self.dropped = 0

    def close(self) -> None:
        self._socket.close()

    def _send_as_file(self, entry: bytes) -> None:
        """journald reads a file that nobody can change any more in place of a datagram."""
        descriptor = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(entry)
            while view:
                view = view[file.write(view) :]
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = array.array("i", [descriptor])
            self._socket.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, passed)], 0, self._path)
