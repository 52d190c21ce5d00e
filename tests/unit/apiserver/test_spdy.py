"""SPDY framing: what a Go client sends, cut anywhere."""

from __future__ import annotations

import struct
import zlib

import pytest

from cluster.apiserver.spdy import DICTIONARY, Data, Opened, Ping, SpdyError, SpdyServer


def opening(stream: int, **headers: str) -> bytes:
    compressor = zlib.compressobj(zdict=DICTIONARY)
    block = struct.pack(">I", len(headers))
    for name, value in headers.items():
        for text in (name.encode(), value.encode()):
            block += struct.pack(">I", len(text)) + text
    packed = compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)
    body = struct.pack(">IIH", stream, 0, 0) + packed
    return struct.pack(">HHI", 0x8003, 1, len(body)) + body


def test_the_dictionary_is_the_one_that_was_standardised() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_frames_are_read_however_they_are_cut(cut: int) -> None:
    wire = opening(1, streamtype="data", port="80", requestid="0")
    wire += struct.pack(">II", 1, 5) + b"hello" + struct.pack(">HHII", 0x8003, 6, 4, 9)
    wire += struct.pack(">II", 1, 1 << 24)
    server = SpdyServer()
    events = [event for at in range(0, len(wire), cut) for event in server.receive(wire[at : at + cut])]
    assert events == [
        Opened(1, {"streamtype": "data", "port": "80", "requestid": "0"}),
        Data(1, b"hello", False),
        Ping(9),
        Data(1, b"", True),
    ]


@pytest.mark.parametrize(
    "wire",
    [
        struct.pack(">HHI", 0x8002, 1, 0),
        struct.pack(">II", 1, 0xFFFFFF),
        struct.pack(">HHI", 0x8003, 1, 14) + bytes(14),
    ],
)
def test_what_is_no_spdy_is_refused(wire: bytes) -> None:
    with pytest.raises(SpdyError):
        list(SpdyServer().receive(wire))
