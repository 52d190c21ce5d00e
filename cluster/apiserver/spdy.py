"""SPDY/3.1 framing, the server's end, as far as port-forward uses it: bytes in, events out; frames out.  No I/O.

Source: the SPDY protocol draft 3.1.  Flow control is not kept: the Go peer (moby/spdystream) neither sends nor heeds it, and
back-pressure comes from the connection below.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

FRAME_SIZE_MAX_BYTES = 1024 * 1024
HEADERS_SIZE_MAX_BYTES = 64 * 1024
FLAG_FIN = 1

_VERSION = 0x8003
_SYN_REPLY, _RST_STREAM, _PING = 2, 3, 6
_STREAM_ID = 0x7FFFFFFF

_HEADER_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_WORDS = (
    *_HEADER_NAMES.split(" "),
    *("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"),
)
_PHRASES = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
    "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch"
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = b"".join(len(word).to_bytes(4, "big") + word.encode() for word in _WORDS) + _PHRASES.encode()
"""What header blocks are compressed with; its checksum is part of every first block."""


class SpdyError(Exception):
    """The peer broke the protocol; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream; header names are lower case."""

    stream: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `fin`: the peer will send no more on it."""

    stream: int
    data: bytes
    fin: bool


@dataclass(frozen=True, slots=True)
class Reset:
    stream: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be answered with the same number."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    pass


SpdyEvent: TypeAlias = Opened | Data | Reset | Ping | GoAway


class SpdyServer:
    """One connection.  `receive` takes bytes cut anywhere; the other methods return frames to send."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def receive(self, data: bytes) -> Iterator[SpdyEvent]:
        """The events that `data` completes, in order.  Raises SpdyError."""
        self._buffer += data
        while len(self._buffer) >= 8:
            head, tail = struct.unpack(">II", self._buffer[:8])
            flags, size = tail >> 24, tail & 0xFFFFFF
            if size > FRAME_SIZE_MAX_BYTES:
                raise SpdyError(f"a frame of {size} bytes is too large")
            if len(self._buffer) < 8 + size:
                return
            body = bytes(self._buffer[8 : 8 + size])
            del self._buffer[: 8 + size]
            if head & 0x80000000:
                yield from self._control(head, flags, body)
            else:
                yield Data(head & _STREAM_ID, body, bool(flags & FLAG_FIN))

    def accept(self, stream: int) -> bytes:
        """The SYN_REPLY to a stream the peer opened, without headers."""
        block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return _frame(_SYN_REPLY, struct.pack(">I", stream) + block)

    def data(self, stream: int, data: bytes, *, fin: bool = False) -> bytes:
        return struct.pack(">II", stream, (FLAG_FIN << 24 if fin else 0) | len(data)) + data

    def reset(self, stream: int) -> bytes:
        internal_error = 6
        return _frame(_RST_STREAM, struct.pack(">II", stream, internal_error))

    def pong(self, number: int) -> bytes:
        return _frame(_PING, struct.pack(">I", number))

    def _control(self, head: int, flags: int, body: bytes) -> Iterator[SpdyEvent]:
        if head >> 16 != _VERSION:
            raise SpdyError("not SPDY/3")
        try:
            match head & 0xFFFF:
                case 1:
                    (stream,) = struct.unpack(">I", body[:4])
                    headers = self._headers(body[10:])
                    yield Opened(stream & _STREAM_ID, headers)
                    if flags & FLAG_FIN:
                        yield Data(stream & _STREAM_ID, b"", True)
                case 8:
                    # Later headers say nothing here, but their block advances the shared compression state.
                    self._headers(body[4:])
                case 3:
                    (stream,) = struct.unpack(">I", body[:4])
                    yield Reset(stream & _STREAM_ID)
                case 6:
                    (number,) = struct.unpack(">I", body[:4])
                    yield Ping(number)
                case 7:
                    yield GoAway()
                case _:
                    return
        except (struct.error, zlib.error, UnicodeDecodeError) as error:
            raise SpdyError(f"a frame is malformed: {error}") from None

    def _headers(self, block: bytes) -> Mapping[str, str]:
        data = self._inflate.decompress(block, HEADERS_SIZE_MAX_BYTES)
        if self._inflate.unconsumed_tail:
            raise SpdyError("a header block is too large")
        (count,) = struct.unpack(">I", data[:4])
        at, headers = 4, {}
        for _ in range(count):
            texts: list[str] = []
            for _ in range(2):
                (size,) = struct.unpack(">I", data[at : at + 4])
                texts.append(data[at + 4 : at + 4 + size].decode())
                at += 4 + size
            headers[texts[0].lower()] = texts[1]
        return headers


def _frame(kind: int, body: bytes) -> bytes:
    return struct.pack(">HHI", _VERSION, kind, len(body)) + body
