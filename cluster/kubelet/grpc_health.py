"""One gRPC health check (grpc.health.v1.Health/Check) over plain HTTP/2, by hand: a single request needs no library.

Bytes in, bytes out, no sockets.  Sources: RFC 9113, RFC 7541 (literals only), the gRPC health checking protocol.
"""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 0x1, 0x1, 0x4, 0x8
FRAME_MAX = 16_384
SERVING = 1


def request_bytes(authority: str, service: str) -> bytes:
    """Everything the client sends first: preface, settings, and the one request."""
    name = service.encode()
    message = (b"\x0a" + _varint(len(name)) + name) if name else b""
    headers = [
        (":method", "POST"), (":scheme", "http"), (":path", "/grpc.health.v1.Health/Check"), (":authority", authority),
        ("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "kube-probe/1.33"),
    ]  # fmt: skip
    block = b"".join(_literal(key, value) for key, value in headers)
    return (
        PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, b"\0" + struct.pack(">I", len(message)) + message)
    )


class HealthReader:
    """Reads the server's frames.  `replies` is to be sent back; `serving` is None until the answer is known."""

    def __init__(self) -> None:
        self._buffer = b""
        self._data = b""
        self.serving: bool | None = None
        self.replies = b""

    def feed(self, data: bytes) -> None:
        """More bytes; an empty call is the end of the connection."""
        if not data:
            self.serving = bool(self.serving)
            return
        self._buffer += data
        while self.serving is None and len(self._buffer) >= 9:
            size = int.from_bytes(self._buffer[:3], "big")
            if size > FRAME_MAX:
                self.serving = False
                return
            if len(self._buffer) < 9 + size:
                return
            kind, flags = self._buffer[3], self._buffer[4]
            payload, self._buffer = self._buffer[9 : 9 + size], self._buffer[9 + size :]
            self._take(kind, flags, payload)

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        match kind:
            case 4 if not flags & _ACK:
                self.replies += _frame(_SETTINGS, _ACK, 0, b"")
            case 6 if not flags & _ACK:
                self.replies += _frame(_PING, _ACK, 0, payload)
            case 0:
                if flags & _PADDED and payload:
                    payload = payload[1 : len(payload) - payload[0]]
                self._data = (self._data + payload)[:1024]
                if len(self._data) >= 5 and len(self._data) >= 5 + int.from_bytes(self._data[1:5], "big"):
                    self.serving = _status(self._data[5:]) == SERVING
                elif flags & _END_STREAM:
                    self.serving = False
            case 1 if flags & _END_STREAM:
                # Trailers without a message: an error status.
                self.serving = False
            case 3 | 7:
                self.serving = False


def _status(message: bytes) -> int:
    """Field 1 of HealthCheckResponse; absent is UNKNOWN (0)."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(key: str, value: str) -> bytes:
    """A header field without indexing and with a new name (RFC 7541 section 6.2.2)."""
    return b"\0" + _string(key) + _string(value)


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) < 127:
        return bytes((len(data),)) + data
    return b"\x7f" + _varint(len(data) - 127) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
