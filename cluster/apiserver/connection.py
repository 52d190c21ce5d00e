"""One client's connection: requests to the handler, replies to the socket.

Knows the socket only as `StreamSocket`, HTTP only as `request_parser` and `responses` have it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from asyncio import _enter_task, _leave_task
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import orjson
from loguru import logger

from cluster.apiserver.feeding import Feed, Feeder
from cluster.apiserver.http import ApiRequest, Handler, Identity, RawConnection, Reply
from cluster.apiserver.request_parser import BadHttp, HttpRequest, RequestParser
from cluster.apiserver.responses import (
    head_of,
    headers_of,
    plain_reply,
    rendered,
    status_of_refusal,
    status_reply,
    switching,
)
from cluster.base.stream_socket import StreamSocket
from cluster.machinery.errors import ApiError, InternalError, Unauthorized

HANDSHAKE_TIMEOUT_S: Final = 10.0
REQUEST_READ_TIMEOUT_S: Final = 32.0
IDLE_TIMEOUT_S: Final = 150.0
LINGER_TIMEOUT_S: Final = 5.0
LINGER_PAUSE_S: Final = 0.1
"""A peer that is refused and sends nothing for this long has finished, or waits for the end."""
LINGER_SIZE_MAX_BYTES: Final = 8 * 1024 * 1024


class Identities(Protocol):
    def identify(self, headers: Mapping[str, str], peer_certificate: bytes | None) -> Identity | None:
        """Who asks; None: the credentials are bad."""
        ...


class Connection:
    """One client: handshake, then requests one after another until either side ends it.

    Most requests are answered inside the event loop's callback (`_turn`), which saves the resumption of a task; what has to
    wait, for the store or for the peer, is left to the connection's own task.
    """

    def __init__(
        self,
        stream: StreamSocket,
        handler: Handler,
        identities: Identities,
        feeder: Feeder,
        *,
        source: str,
        refused: Callable[[ApiRequest], None],
    ) -> None:
        self._stream = stream
        self._feeder = feeder
        self._handler = handler
        self._identities = identities
        self._source = source
        self._refused = refused
        self._parser = RequestParser()
        self._certificate: bytes | None = None
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any]
        self._left: Callable[[], Awaitable[bool]] | None = None
        self._reads_request = False
        self.deadline = math.inf
        """When waiting for the peer becomes too long, by the event loop's clock."""

    def close(self) -> None:
        self._stream.close()

    async def serve(self) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await self._stream.handshake()
            if self._stream.tls is not None:
                self._certificate = self._stream.tls.getpeercert(binary_form=True)
            self._task = _current_task()
            goes_on = True
            while goes_on:
                self._wait_for_more()
                await self._stream.take_turns(self._turn)
                self.deadline = math.inf
                left, self._left = self._left, None
                goes_on = left is not None and await left()
        except (OSError, TimeoutError):
            pass  # the peer is gone or too slow; there is nobody to tell
        finally:
            self._stream.close()

    def _wait_for_more(self) -> None:
        # The server's sweep closes the socket then: a timer of its own for each request would cost more than the rest.
        if not self._parser.in_message:
            self._reads_request = False
            self.deadline = self._loop.time() + IDLE_TIMEOUT_S
        elif not self._reads_request:
            self._reads_request = True
            self.deadline = self._loop.time() + REQUEST_READ_TIMEOUT_S

    def _turn(self) -> bool:
        """Answer what has arrived as far as nothing has to be waited for; False: `_left` is what remains, None the end."""
        try:
            data = self._stream.receive_now()
            if data is None:
                return True
            requests = self._parser.feed(data)
            if not data:
                return False
            for number, request in enumerate(requests):
                if not self._answer_now(request, requests, number + 1):
                    return False
            if self._parser.wants_continue:
                self._parser.wants_continue = False
                self._left = partial(self._send_rest, b"HTTP/1.1 100 Continue\r\n\r\n", True, [])
                return False
        except BadHttp as refusal:
            self._left = partial(self._refuse, refusal)
            return False
        except OSError:
            return False
        self._wait_for_more()
        return True

    def _answer_now(self, request: HttpRequest, requests: Sequence[HttpRequest], behind: int) -> bool:
        """Answer one of `requests`, those from `behind` on come after it; False: what remains is in `_left`."""
        asked = self._asked(request)
        if isinstance(asked, Reply):
            reply = asked
        else:
            handling = self._handler(asked)
            # A timeout that the handler sets is the task's, which goes on with what is begun here.
            _enter_task(self._loop, self._task)
            try:
                awaited = handling.send(None)
            except StopIteration as finished:
                reply = finished.value
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the server
                reply = _failure(request, error)
            else:
                self._left = partial(self._go_on, request, _Begun(handling, awaited), requests[behind:])
                return False
            finally:
                _leave_task(self._loop, self._task)
        if reply.stream is not None or reply.upgrade is not None:
            self._left = partial(self._go_on, request, reply, requests[behind:])
            return False
        data = rendered(request, reply)
        sent = self._stream.send_now(data)
        if sent < len(data):
            self._left = partial(self._send_rest, memoryview(data)[sent:], request.keep_alive, requests[behind:])
            return False
        return request.keep_alive

    async def _refuse(self, refusal: BadHttp) -> bool:
        body = orjson.dumps(status_of_refusal(refusal))
        await self._stream.send(head_of(refusal.status, len(body), "application/json", {}, close=True) + body)
        # Discard what the peer is still sending: closing on unread bytes would reset the answer away, and a peer that is
        # told of the end while it sends may take that for a failure and never read the answer.
        left = LINGER_SIZE_MAX_BYTES
        async with asyncio.timeout(LINGER_TIMEOUT_S):
            with contextlib.suppress(TimeoutError):
                while left > 0:
                    async with asyncio.timeout(LINGER_PAUSE_S):
                        data = await self._stream.receive()
                    if not data:
                        return False
                    left -= len(data)
            self._stream.finish_sending()
            while left > 0 and (data := await self._stream.receive()):
                left -= len(data)
        return False

    async def _send_rest(self, data: bytes | memoryview, keep_alive: bool, behind: Sequence[HttpRequest]) -> bool:
        await self._stream.send(data)
        return keep_alive and await self._answer_all(behind)

    async def _go_on(self, request: HttpRequest, begun: _Begun | Reply, behind: Sequence[HttpRequest]) -> bool:
        if isinstance(begun, Reply):
            reply = begun
        else:
            try:
                reply = await begun
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the server
                reply = _failure(request, error)
        return await self._deliver(request, reply) and await self._answer_all(behind)

    async def _answer_all(self, requests: Sequence[HttpRequest]) -> bool:
        """Answer requests one after another; False when the connection must end."""
        for request in requests:
            asked = self._asked(request)
            try:
                reply = asked if isinstance(asked, Reply) else await self._handler(asked)
            except Exception as error:  # noqa: BLE001 - one request's fault must not end the server
                reply = _failure(request, error)
            if not await self._deliver(request, reply):
                return False
        return True

    async def _deliver(self, request: HttpRequest, reply: Reply) -> bool:
        if reply.upgrade is not None:
            await self._stream.send(switching(reply.headers))
            await reply.upgrade(_Upgraded(self._stream, self._parser.leftover))
            return False
        if reply.stream is not None:
            await self._stream.send(head_of(reply.status, None, reply.content_type, headers_of(reply), close=False))
            return await Feed(self._stream, reply.stream, self._feeder).run() and request.keep_alive
        await self._stream.send(rendered(request, reply))
        return request.keep_alive

    def _asked(self, request: HttpRequest) -> ApiRequest | Reply:
        """The request as the handler takes it, or why it is not asked."""
        identity = self._identities.identify(request.headers, self._certificate)
        path, _, query = request.target.partition("?")
        if identity is None:
            self._refused(ApiRequest(request.method, path, NOBODY, headers=request.headers, source=self._source))
            return status_reply(Unauthorized("Unauthorized"))
        parameters = _NO_PARAMETERS
        if query:
            try:
                parameters = parse_qs(query, keep_blank_values=True, max_num_fields=1000, errors="strict")
            except (ValueError, UnicodeDecodeError):
                return plain_reply(400, "the request's URL is not valid")
        return ApiRequest(request.method, path, identity, parameters, request.headers, request.body, None, self._source)


NOBODY = Identity("")
"""Who could not prove to be anybody."""


class _Upgraded(RawConnection):
    """The connection as a byte pipe."""

    def __init__(self, stream: StreamSocket, leftover: bytes) -> None:
        self._stream = stream
        self._leftover = leftover

    async def read(self) -> bytes:
        if self._leftover:
            data, self._leftover = self._leftover, b""
            return data
        try:
            return await self._stream.receive()
        except OSError:
            return b""

    async def write(self, data: bytes) -> None:
        await self._stream.send(data)

    def close(self) -> None:
        self._stream.close()


_NO_PARAMETERS: Mapping[str, Sequence[str]] = {}


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a connection is served by a task of its own")
    return task


class _Begun:
    """A handler that has run to its first wait outside of any task; awaited, it goes on from there."""

    def __init__(self, handling: Coroutine[Any, Any, Reply], awaited: Any) -> None:
        self._handling = handling
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Reply]:
        handling, awaited = self._handling, self._awaited
        while True:
            try:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001 - cancellation too is the handler's to see
                    awaited = handling.throw(error)
                else:
                    awaited = handling.send(value)
            except StopIteration as finished:
                reply: Reply = finished.value
                return reply


def _failure(request: HttpRequest, error: Exception) -> Reply:
    if isinstance(error, ApiError):
        return status_reply(error)
    path = request.target.partition("?")[0]
    logger.opt(exception=error).error("a request failed unexpectedly", method=request.method, path=path)
    return status_reply(InternalError("the server failed to answer; its log has the details"))
