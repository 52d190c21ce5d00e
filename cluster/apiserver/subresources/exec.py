"""`pods/NAME/exec` and `/attach` over WebSockets: one channel per stream, numbered by each message's first byte.

0 stdin, 1 stdout, 2 stderr, 3 how it ended, 4 terminal size; version 5 adds 255: the peer has closed a channel.
Upstream: apimachinery/pkg/util/remotecommand, KEP-4006.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from loguru import logger

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import RawConnection, Reply
from cluster.apiserver.subresources.pods import connection_target
from cluster.apiserver.websocket import WebSocket, accepted_protocol, handshake
from cluster.client.node_channel import ExecSession
from cluster.machinery.errors import ApiError, BadRequest, InternalError
from cluster.machinery.objects import Obj

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4, "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STDIN, ERROR, RESIZE, CLOSE = 0, 3, 4, 255
TERMINAL_SIZE_MAX = 65_535

Opener = Callable[[], Awaitable[ExecSession]]


async def exec_in_container(backend: Backend, call: Call) -> Result:
    command = list(call.request.query.get("command", ()))
    if not command:
        raise BadRequest("you must specify at least one command")
    streams = _streams_of(call)
    options = {"kind": "PodExecOptions", **_options_of(call, streams), "command": command}
    target = await connection_target(backend, call, options)
    return _upgraded(call, lambda: target.channel.exec(target.container, command, **streams))


async def attach_to_container(backend: Backend, call: Call) -> Result:
    streams = _streams_of(call)
    target = await connection_target(backend, call, {"kind": "PodAttachOptions", **_options_of(call, streams)})
    return _upgraded(call, lambda: target.channel.attach(target.container, **streams))


def _streams_of(call: Call) -> dict[str, bool]:
    streams = {name: call.is_set(name) for name in ("stdin", "stdout", "stderr", "tty")}
    if not (streams["stdin"] or streams["stdout"] or streams["stderr"]):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    if streams["tty"]:
        # A terminal has one output.
        streams["stderr"] = False
    return streams


def _options_of(call: Call, streams: Mapping[str, bool]) -> Obj:
    container = call.request.parameter("container")
    named = {"container": container} if container else {}
    return {**{name: True for name, is_set in streams.items() if is_set}, **named}


def _upgraded(call: Call, opener: Opener) -> Reply:
    protocol = accepted_protocol(call.request.headers, PROTOCOLS)

    async def serve(connection: RawConnection) -> None:
        await _serve(WebSocket(connection), opener, protocol)

    return Reply(101, upgrade=serve, headers=handshake(call.request.headers, protocol))


async def _serve(socket: WebSocket, opener: Opener, protocol: str) -> None:
    """Carry one session; whatever happens, the peer is told how it ended and the socket is closed."""
    session: ExecSession | None = None
    try:
        session = await opener()
        status = await _session_status(socket, session)
    except ApiError as error:
        status = error.to_status()
    except OSError as error:
        logger.warning("a session broke", reason=str(error))
        status = InternalError("the connection to the container broke").to_status()
    finally:
        if session is not None:
            await session.close()
    try:
        await socket.send(bytes((ERROR,)) + _ending(status, protocol))
    finally:
        await socket.close()


async def _session_status(socket: WebSocket, session: ExecSession) -> Any:
    """Both directions at once, until the process ends or the peer goes away."""
    reading = asyncio.create_task(_read_from(socket, session))
    writing = asyncio.create_task(_write_to(socket, session))
    try:
        # What comes from the peer may end first (its stdin is closed); only its leaving ends the session.
        await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        if not writing.done() and reading.exception() is None and reading.result():
            return InternalError("the client went away").to_status()
        return await writing
    finally:
        reading.cancel()
        writing.cancel()
        await asyncio.gather(reading, writing, return_exceptions=True)


async def _read_from(socket: WebSocket, session: ExecSession) -> bool:
    """Returns True when the peer has gone."""
    async for message in socket.messages():
        if not message:
            continue
        channel, data = message[0], message[1:]
        if channel == STDIN and data:
            await session.send(data)
        elif channel == RESIZE:
            await _resize(session, data)
        elif channel == CLOSE and data[:1] == bytes((STDIN,)):
            await session.close_stdin()
    return True


async def _resize(session: ExecSession, data: bytes) -> None:
    try:
        size = orjson.loads(data)
        width, height = int(size["Width"]), int(size["Height"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return  # a size that says nothing leaves the terminal as it is
    if 0 < width <= TERMINAL_SIZE_MAX and 0 < height <= TERMINAL_SIZE_MAX:
        await session.resize(width, height)


async def _write_to(socket: WebSocket, session: ExecSession) -> Any:
    async for chunk in session.output():
        await socket.send(bytes((chunk.stream,)) + chunk.data)
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


def _ending(status: Any, protocol: str) -> bytes:
    if protocol in (V5, V4):
        return orjson.dumps(status)
    # Older versions carry plain text, and nothing for success.
    return b"" if status.get("status") == "Success" else str(status.get("message", "")).encode()
