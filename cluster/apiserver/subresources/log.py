"""`pods/NAME/log`, as a body that grows or over a WebSocket.

Upstream: registry/core/pod/rest/log.go, apiserver/pkg/util/wsstream.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator

from loguru import logger

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.http import RawConnection, Reply
from cluster.apiserver.streams import IteratedSource
from cluster.apiserver.subresources.pods import target_of
from cluster.apiserver.websocket import WebSocket, accepted_protocol, handshake, is_upgrade
from cluster.client.node_channel import LogOptions
from cluster.machinery.errors import ApiError, BadRequest
from cluster.machinery.numbers import whole_number

BASE64 = "base64.binary.k8s.io"
PROTOCOLS = ("binary.k8s.io", BASE64)


async def read_log(backend: Backend, call: Call) -> Result:
    target = target_of(backend, call)
    chunks = target.channel.logs(target.container, _options_of(call))
    if is_upgrade(call.request.headers):
        return _over_websocket(call, chunks)
    source = IteratedSource(chunks)
    await source.started()
    return Reply(stream=source, content_type="text/plain")


def _over_websocket(call: Call, chunks: AsyncIterator[bytes]) -> Reply:
    protocol = accepted_protocol(call.request.headers, PROTOCOLS)

    async def serve(connection: RawConnection) -> None:
        socket = WebSocket(connection)
        sending = asyncio.create_task(_send(socket, chunks, in_base64=protocol == BASE64))
        listening = asyncio.create_task(_ignore(socket))
        try:
            # A client that leaves ends a log that is followed.
            await asyncio.wait((sending, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            listening.cancel()
            await asyncio.gather(sending, listening, return_exceptions=True)
            await socket.close()

    return Reply(101, upgrade=serve, headers=handshake(call.request.headers, protocol))


async def _send(socket: WebSocket, chunks: AsyncIterator[bytes], *, in_base64: bool) -> None:
    try:
        async for chunk in chunks:
            await socket.send(base64.b64encode(chunk) if in_base64 else chunk, text=in_base64)
    except ApiError as error:
        logger.warning("a stream from a node broke", reason=error.message)


async def _ignore(socket: WebSocket) -> None:
    async for _ in socket.messages():
        pass


def _options_of(call: Call) -> LogOptions:
    since_s, since_time = _number(call, "sinceSeconds"), call.request.parameter("sinceTime")
    if since_s is not None and since_time:
        raise BadRequest("at most one of `sinceTime` or `sinceSeconds` may be specified")
    return LogOptions(
        follow=call.is_set("follow"),
        previous=call.is_set("previous"),
        timestamps=call.is_set("timestamps"),
        since_s=since_s,
        since_time=since_time,
        tail_lines=_number(call, "tailLines"),
        limit_bytes=_number(call, "limitBytes"),
    )


def _number(call: Call, name: str) -> int | None:
    text = call.request.parameter(name)
    if not text:
        return None
    if (number := whole_number(text)) is None:
        raise BadRequest(f'{name}: Invalid value: "{text}": must be a number that is not negative')
    return number
