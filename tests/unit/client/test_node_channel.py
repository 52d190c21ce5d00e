"""The node's channel when its peer is hostile, or gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.client.node_channel import ExecSession, LogOptions
from cluster.client.node_channel_agent import NodeChannelAgent
from cluster.client.node_channel_server import RemoteNodeChannel
from cluster.client.node_frames import (
    DATA_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    SESSIONS_MAX,
    WINDOW_BYTES,
    Frame,
    FrameDecoder,
    FrameType,
    credit_frame,
    data_frame,
    encode,
    exit_frame,
)
from cluster.client.node_session import ALIVE_S, SILENCE_MAX_S
from cluster.machinery.errors import Conflict, ServiceUnavailable, TooManyRequests
from tests.clocks import SteppedClock
from tests.contract.node_channel_suite import WEB, Programs
from tests.pipes import pipe

FRAMES = (
    Frame(FrameType.OPENED, 1),
    data_frame(1, 1, b"x" * 300),
    credit_frame(2**32 - 1, 7),
    exit_frame(3, -1),
    Frame(FrameType.ALIVE, 0),
)


# Their places, not themselves: hypothesis refuses to print so much data.
@settings(deadline=None)
@given(st.lists(st.integers(0, len(FRAMES) - 1), max_size=6), st.integers(1, 700))
def test_frames_are_the_same_however_their_bytes_were_cut(places: list[int], piece: int) -> None:
    frames = [FRAMES[place] for place in places]
    data = b"".join(encode(frame) for frame in frames)
    decoder = FrameDecoder()
    assert [f for at in range(0, len(data), piece) for f in decoder.feed(data[at : at + piece])] == frames


class HostileAgent:
    """The far end of a server's channel, by hand."""

    def __init__(self) -> None:
        near, self.end = pipe()
        self.clock = SteppedClock()
        self.channel = RemoteNodeChannel("n1", near, self.clock)
        self.near = near
        self.running = asyncio.create_task(self.channel.run())
        self._decoder = FrameDecoder()
        self._frames: list[Frame] = []

    async def say(self, *frames: Frame) -> None:
        await self.end.write(b"".join(encode(frame) for frame in frames))

    async def hear(self, kind: FrameType) -> Frame:
        while True:
            while self._frames:
                if (frame := self._frames.pop(0)).type is kind:
                    return frame
            self._frames += self._decoder.feed(await self.end.read())

    async def opened(self) -> ExecSession:
        opening = asyncio.create_task(self.channel.exec(WEB, ["cat"], stdin=True, stdout=True, stderr=True, tty=False))
        asked = await self.hear(FrameType.OPEN)
        await self.say(Frame(FrameType.OPENED, asked.session))
        return await opening


@pytest.fixture
async def agent() -> AsyncIterator[HostileAgent]:
    made = HostileAgent()
    yield made
    made.channel.close()
    await made.running


async def drained(session: ExecSession) -> bytes:
    return b"".join([chunk.data async for chunk in session.output()])


BAD: dict[str, bytes] = {
    "an unknown type": b"\x63" + bytes(8),
    "a payload beyond its bound": b"\x08" + bytes(4) + (PAYLOAD_MAX_BYTES + 1).to_bytes(4, "big"),
    "data without a byte": encode(Frame(FrameType.DATA, 1, b"\x01")),
    "a stream nobody has": encode(data_frame(1, 7, b"x")),
    "input from an agent": encode(data_frame(1, 0, b"x")),
    "a session never opened": encode(data_frame(2, 1, b"x")),
    "no session": encode(data_frame(0, 1, b"x")),
    "a session opened by the agent": encode(Frame(FrameType.OPEN, 2, b"{}")),
    "a size from the agent": encode(Frame(FrameType.RESIZE, 1, bytes(4))),
    "more credit than was used": encode(credit_frame(1, 1)),
    "more data than the window": b"".join(
        encode(data_frame(1, 1, bytes(DATA_MAX_BYTES))) for _ in range(WINDOW_BYTES // DATA_MAX_BYTES)
    ),
    "tiny data for ever": b"".join(encode(data_frame(1, 1, b"x")) for _ in range(WINDOW_BYTES // 32)),
    "data after its end": encode(Frame(FrameType.END, 1)) + encode(data_frame(1, 1, b"x")),
    "a failure that is no JSON": encode(Frame(FrameType.FAILED, 1, b"{")),
    "a failure that is no Status": encode(Frame(FrameType.FAILED, 1, b'{"code":"1","reason":[],"message":1}')),
}


@pytest.mark.parametrize("what", sorted(BAD))
async def test_an_agent_that_breaks_the_protocol_is_cut_off(agent: HostileAgent, what: str) -> None:
    session = await agent.opened()
    await agent.end.write(BAD[what])
    assert "broke the protocol" in await agent.running
    assert agent.near.closed.is_set()
    with pytest.raises(ServiceUnavailable, match="n1"):
        await drained(session)


async def test_a_broken_connection_ends_sessions_and_refuses_new_ones(agent: HostileAgent) -> None:
    session = await agent.opened()
    await agent.say(data_frame(1, 1, b"so far"))
    agent.end.close()
    heard: list[bytes] = []
    with pytest.raises(ServiceUnavailable, match='agent of node "n1" broke'):
        async for chunk in session.output():
            heard.append(chunk.data)
    assert heard in ([], [b"so far"])
    with pytest.raises(ServiceUnavailable):
        await session.wait()
    with pytest.raises(ServiceUnavailable):
        await anext(agent.channel.logs(WEB, LogOptions()))


async def test_what_came_before_a_failure_is_read_first(agent: HostileAgent) -> None:
    session = await agent.opened()
    refusal = orjson.dumps({"code": 409, "reason": "Conflict", "message": "m" * 10_000})
    await agent.say(data_frame(1, 1, b"so far"), Frame(FrameType.FAILED, 1, refusal))
    output = session.output()
    assert (await anext(output)).data == b"so far"
    with pytest.raises(Conflict) as raised:
        await anext(output)
    assert len(raised.value.message) == 4096


async def test_what_arrives_for_a_session_that_was_let_go_is_dropped(agent: HostileAgent) -> None:
    session = await agent.opened()
    await session.close()
    assert (await agent.hear(FrameType.CLOSE)).session == 1
    await agent.say(data_frame(1, 1, b"late"), exit_frame(1, 0))
    assert await agent.opened()
    assert not agent.running.done()


async def test_sessions_are_bounded(agent: HostileAgent) -> None:
    for _ in range(SESSIONS_MAX):
        await agent.opened()
    with pytest.raises(TooManyRequests):
        await agent.channel.attach(WEB, stdin=False, stdout=True, stderr=True, tty=False)


async def test_who_gives_up_waiting_tells_the_agent(agent: HostileAgent) -> None:
    opening = asyncio.create_task(agent.channel.connect(WEB, 80))
    await agent.hear(FrameType.OPEN)
    opening.cancel()
    assert (await agent.hear(FrameType.CLOSE)).session == 1
    await asyncio.gather(opening, return_exceptions=True)


async def test_both_ends_say_that_they_are_there(agent: HostileAgent) -> None:
    assert ALIVE_S * 3 <= SILENCE_MAX_S
    await agent.opened()
    await agent.clock.step(ALIVE_S)
    assert (await agent.hear(FrameType.ALIVE)).session == 0


def opening(session: int, **fields: object) -> Frame:
    asked = {"kind": "connect", "container": WEB._asdict(), "port": 80} | fields
    return Frame(FrameType.OPEN, session, orjson.dumps(asked))


BAD_ASKS: dict[str, Callable[[], bytes]] = {
    "an unknown kind": lambda: encode(opening(1, kind="delete")),
    "a kind that is no name": lambda: encode(opening(1, kind=["logs"])),
    "a port that is no number": lambda: encode(opening(1, port="80")),
    "one field too many": lambda: encode(opening(1, more=1)),
    "no container": lambda: encode(opening(1, container={})),
    "no JSON": lambda: encode(Frame(FrameType.OPEN, 1, b"\xff")),
    "an old number": lambda: encode(opening(1)) + encode(opening(1)),
    "an unknown session": lambda: encode(Frame(FrameType.CLOSE, 5)),
    "an exit": lambda: encode(opening(1)) + encode(exit_frame(1, 0)),
}


@pytest.mark.parametrize("what", sorted(BAD_ASKS))
async def test_an_agent_lets_go_of_a_server_that_breaks_the_protocol(what: str) -> None:
    near, far = pipe()
    programs = Programs()
    running = asyncio.create_task(NodeChannelAgent(programs.channel(), far, SteppedClock()).run())
    await near.write(BAD_ASKS[what]())
    assert "broke the protocol" in await running
    programs.listener.close()


async def test_a_connection_that_breaks_ends_the_programs_sessions() -> None:
    near, far = pipe()
    programs = Programs()
    channel = RemoteNodeChannel("n1", near, SteppedClock())
    serving = asyncio.create_task(channel.run())
    running = asyncio.create_task(NodeChannelAgent(programs.channel(), far, SteppedClock()).run())
    await channel.exec(WEB, ["sleep"], stdin=False, stdout=True, stderr=True, tty=False)
    channel.close()
    await asyncio.gather(serving, running)
    assert programs.started[0].closed.is_set()
    programs.listener.close()
