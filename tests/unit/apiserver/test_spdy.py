"""SPDY framing: what a Go client sends, cut anywhere."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.apiserver.spdy import DICTIONARY, Data, Opened, Ping, SpdyError, SpdyServer
from cluster.apiserver.subresources.session import Input, InputEnded, Resized
from cluster.apiserver.subresources.session_spdy import PROTOCOLS, SpdyPeer, spdy_protocol
from cluster.machinery.errors import BadRequest


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


class Wire:
    """A RawConnection: what the client says is given, what it is told is kept."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)
        self.told = b""
        self.closed = False

    async def read(self) -> bytes:
        return self._said.pop(0) if self._said else b""

    async def write(self, data: bytes) -> None:
        self.told += data

    def close(self) -> None:
        self.closed = True


def openings(*types: str) -> bytes:
    """SYN_STREAMs with odd numbers, their headers compressed one after another as a client does."""
    compressor = zlib.compressobj(zdict=DICTIONARY)
    wire = b""
    for index, name in enumerate(types):
        block = struct.pack(">I", 1)
        for text in (b"streamtype", name.encode()):
            block += struct.pack(">I", len(text)) + text
        packed = compressor.compress(block) + compressor.flush(zlib.Z_SYNC_FLUSH)
        body = struct.pack(">IIH", 2 * index + 1, 0, 0) + packed
        wire += struct.pack(">HHI", 0x8003, 1, len(body)) + body
    return wire


def data(stream: int, content: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (1 << 24 if fin else 0) | len(content)) + content


async def test_a_session_begins_when_its_streams_are_there_and_tells_what_comes() -> None:
    said = (
        openings("error", "stdin", "resize")
        + data(5, b'{"Width":1,"Height":2}\n')
        + data(3, b"in")
        + data(3, b"", fin=True)
    )
    peer = SpdyPeer(Wire(said[:30], said[30:]), ("error", "stdin", "resize"), "v4.channel.k8s.io")
    await peer.opened()
    events = [event async for event in peer.events()]
    assert events == [Resized(b'{"Width":1,"Height":2}'), Input(b"in"), InputEnded()]


async def test_a_session_whose_streams_never_come_is_refused() -> None:
    peer = SpdyPeer(Wire(openings("error")), ("error", "stdout"), "v4.channel.k8s.io")
    with pytest.raises(BadRequest, match="did not open the streams"):
        await peer.opened()


@pytest.mark.parametrize(
    ("protocol", "ending"), [("v4.channel.k8s.io", b'"reason":"Gone"'), ("channel.k8s.io", b"went")]
)
async def test_the_ending_is_told_as_the_protocol_has_it(protocol: str, ending: bytes) -> None:
    wire = Wire(openings("error", "stdout"))
    peer = SpdyPeer(wire, ("error", "stdout"), protocol)
    await peer.opened()
    await peer.send(1, b"out")
    await peer.end({"status": "Failure", "reason": "Gone", "message": "it went"})
    assert data(3, b"out") in wire.told
    assert data(3, b"", fin=True) in wire.told
    assert ending in wire.told
    assert wire.closed


def test_protocols_are_agreed_upon() -> None:
    assert spdy_protocol({"x-stream-protocol-version": "v9, v4.channel.k8s.io"}, PROTOCOLS) == "v4.channel.k8s.io"
    assert spdy_protocol({}, PROTOCOLS) == "channel.k8s.io"
    with pytest.raises(BadRequest):
        spdy_protocol({"x-stream-protocol-version": "v9"}, PROTOCOLS)


@given(st.lists(st.integers(1, 50), max_size=20), st.binary(max_size=200))
def test_no_bytes_however_cut_do_more_than_end_the_connection(cuts: list[int], noise: bytes) -> None:
    wire, server, events = openings("error", "stdin") + data(3, b"abc"), SpdyServer(), []
    at = 0
    for cut in [*cuts, len(wire)]:
        events += list(server.receive(wire[at : at + cut]))
        at += cut
    assert [type(event).__name__ for event in events] == ["Opened", "Opened", "Data"]
    with contextlib.suppress(SpdyError):
        list(server.receive(noise))
