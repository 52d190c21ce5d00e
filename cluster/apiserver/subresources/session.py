"""One exec or attach session, whichever way its peer speaks: input in, output out, and how it ended.

Upstream: apimachinery/pkg/util/remotecommand.  Knows neither WebSockets nor SPDY: a `SessionPeer` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import orjson
from loguru import logger

from cluster.client.node_channel import ExecSession
from cluster.machinery.errors import ApiError, InternalError

TERMINAL_SIZE_MAX = 65_535

Opener = Callable[[], Awaitable[ExecSession]]


@dataclass(frozen=True, slots=True)
class Input:
    data: bytes


@dataclass(frozen=True, slots=True)
class InputEnded:
    pass


@dataclass(frozen=True, slots=True)
class Resized:
    """A terminal's new size, as JSON: `{"Width": …, "Height": …}`."""

    text: bytes


PeerEvent: TypeAlias = Input | InputEnded | Resized


class SessionPeer(Protocol):
    """The client's end."""

    def events(self) -> AsyncIterator[PeerEvent]:
        """What it says, until it goes away."""
        ...

    async def send(self, stream: int, data: bytes) -> None:
        """Output: 1 is stdout, 2 stderr."""
        ...

    async def end(self, status: Any) -> None:
        """Tell how the session ended (a metav1.Status), and close."""
        ...


async def serve_session(peer: SessionPeer, opener: Opener) -> None:
    """Carry one session; whatever happens, the peer is told how it ended."""
    session: ExecSession | None = None
    try:
        session = await opener()
        status = await _session_status(peer, session)
    except ApiError as error:
        status = error.to_status()
    except OSError as error:
        logger.warning("a session broke", reason=str(error))
        status = InternalError("the connection to the container broke").to_status()
    finally:
        if session is not None:
            await session.close()
    await peer.end(status)


async def _session_status(peer: SessionPeer, session: ExecSession) -> Any:
    """Both directions at once, until the process ends or the peer goes away."""
    reading = asyncio.create_task(_read_from(peer, session))
    writing = asyncio.create_task(_write_to(peer, session))
    try:
        # What comes from the peer may end first (its stdin is closed); only its leaving ends the session.
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done() and reading.exception() is None:
            return InternalError("the client went away").to_status()
        return await writing
    finally:
        reading.cancel()
        writing.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read_from(peer: SessionPeer, session: ExecSession) -> None:
    """Returns when the peer has gone."""
    async for event in peer.events():
        match event:
            case Input(data):
                await session.send(data)
            case InputEnded():
                await session.close_stdin()
            case Resized(text):
                await _resize(session, text)


async def _resize(session: ExecSession, text: bytes) -> None:
    try:
        size = orjson.loads(text)
        width, height = int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return  # a size that says nothing leaves the terminal as it is
    if 0 < width <= TERMINAL_SIZE_MAX and 0 < height <= TERMINAL_SIZE_MAX:
        await session.resize(width, height)


async def _write_to(peer: SessionPeer, session: ExecSession) -> Any:
    async for chunk in session.output():
        await peer.send(chunk.stream, chunk.data)
    return _exit_status(await session.wait())


def _exit_status(code: int) -> Any:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def ending_of(status: Any, *, structured: bool) -> bytes:
    """How a session ended as the last message says it: older protocols carry plain text, and nothing for success."""
    if structured:
        return orjson.dumps(status)
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()
