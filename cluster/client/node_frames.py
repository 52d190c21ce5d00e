"""The wire of a node's channel: sessions of logs, exec, attach and port-forward, numbered, on one byte stream.  Sans-I/O.

A frame is its type (1 byte), its session (4), its payload's length (4), the payload; integers are big-endian.  The server opens
sessions and numbers them upwards; a number is never used again.  What each type carries, and who sends it:

    OPEN     server  JSON, see `Opening`            DATA    both    stream (1 byte), then bytes: 0 input, 1 and 2 output
    OPENED   agent   nothing: it runs               CREDIT  both    so many more bytes may be sent (4)
    RESIZE   server  width, height (2 and 2)        END     both    nothing: no more DATA from here
    EXIT     agent   exit code (4): the last frame  FAILED  agent   JSON Status: the last frame
    CLOSE    server  nothing: let go of it          ALIVE   both    nothing, session 0: the sender is there

A sender may have WINDOW_BYTES of DATA under way in a session, each frame counted as its payload and FRAME_COST_BYTES: a reader
that does not read holds up its own session and no other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

PROTOCOL = "node-channel.reconciler.io/v1"
PATH = "/node-channel/v1/"
"""Of the API server; the node's name follows."""

PAYLOAD_MAX_BYTES = 65_536
DATA_MAX_BYTES = 32_768
WINDOW_BYTES = 262_144
FRAME_COST_BYTES = 32
SESSIONS_MAX = 256
"""At once, of one node."""

_HEAD = struct.Struct("!BII")
_NUMBER = struct.Struct("!I")
_SIZE = struct.Struct("!HH")
_CODE = struct.Struct("!i")


class FrameType(IntEnum):
    OPEN = 1
    OPENED = 2
    DATA = 3
    CREDIT = 4
    END = 5
    RESIZE = 6
    EXIT = 7
    FAILED = 8
    CLOSE = 9
    ALIVE = 10


_LENGTHS = {
    FrameType.OPENED: (0, 0),
    FrameType.DATA: (2, DATA_MAX_BYTES + 1),
    FrameType.CREDIT: (_NUMBER.size, _NUMBER.size),
    FrameType.END: (0, 0),
    FrameType.RESIZE: (_SIZE.size, _SIZE.size),
    FrameType.EXIT: (_CODE.size, _CODE.size),
    FrameType.CLOSE: (0, 0),
    FrameType.ALIVE: (0, 0),
}
"""The least and the greatest length of a payload; any up to the bound where a type is not named."""


class BadFrame(Exception):
    """The peer does not speak the protocol: the connection is of no use any more."""


class Frame(NamedTuple):
    type: FrameType
    session: int
    payload: bytes = b""


class Size(NamedTuple):
    width: int
    height: int


def encode(frame: Frame) -> bytes:
    return _HEAD.pack(frame.type, frame.session, len(frame.payload)) + frame.payload


def data_frame(session: int, stream: int, data: bytes) -> Frame:
    return Frame(FrameType.DATA, session, bytes((stream,)) + data)


def credit_frame(session: int, size_bytes: int) -> Frame:
    return Frame(FrameType.CREDIT, session, _NUMBER.pack(size_bytes))


def resize_frame(session: int, size: Size) -> Frame:
    return Frame(FrameType.RESIZE, session, _SIZE.pack(*size))


def exit_frame(session: int, code: int) -> Frame:
    return Frame(FrameType.EXIT, session, _CODE.pack(code))


def credit_of(frame: Frame) -> int:
    return int(_NUMBER.unpack(frame.payload)[0])


def size_of(frame: Frame) -> Size:
    return Size(*_SIZE.unpack(frame.payload))


def code_of(frame: Frame) -> int:
    return int(_CODE.unpack(frame.payload)[0])


class FrameDecoder:
    """Frames out of bytes, however these were cut."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Sequence[Frame]:
        """The frames that `data` completes.  Raises BadFrame; at most one frame's bytes are kept."""
        pending = self._pending
        pending += data
        frames: list[Frame] = []
        at = 0
        while len(pending) - at >= _HEAD.size:
            number, session, length = _HEAD.unpack_from(pending, at)
            kind = _checked(number, length)
            end = at + _HEAD.size + length
            if len(pending) < end:
                break
            frames.append(Frame(kind, session, bytes(pending[at + _HEAD.size : end])))
            at = end
        del pending[:at]
        return frames


def _checked(number: int, length: int) -> FrameType:
    try:
        kind = FrameType(number)
    except ValueError as error:
        raise BadFrame(f"type {number} is not known") from error
    least, most = _LENGTHS.get(kind, (0, PAYLOAD_MAX_BYTES))
    if not least <= length <= most:
        raise BadFrame(f"{kind.name} with {length} bytes")
    return kind
