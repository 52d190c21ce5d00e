"""The API server's sockets: TLS, HTTP/1.1, flow control.  The only module here that knows a socket exists.

It turns bytes into `ApiRequest`, asks the handler, and turns the `Reply` into bytes.  A reader that does not read stops its
own stream only: nothing is queued for it beyond one chunk.  Authentication alone is remembered, after parsing.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from asyncio import _enter_task, _leave_task
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
from loguru import logger

from cluster.apiserver.http import ApiRequest, Authenticator, ByteSource, Handler, Identity, RawConnection, Reply
from cluster.apiserver.request_parser import BadHttp, HttpRequest, RequestParser
from cluster.base.clock import Clock
from cluster.base.stream_socket import StreamSocket
from cluster.machinery.errors import ApiError, InternalError, Unauthorized

CONNECTIONS_MAX: Final = 4096
IP_FREEBIND: Final = 15
"""Of <linux/in.h>; the socket module does not name it before Python 3.12."""
HANDSHAKE_TIMEOUT_S: Final = 10.0
REQUEST_READ_TIMEOUT_S: Final = 32.0
IDLE_TIMEOUT_S: Final = 150.0
SWEEP_S: Final = 2.0
"""How late such a timeout may be."""
LINGER_TIMEOUT_S: Final = 1.0
LINGER_SIZE_MAX_BYTES: Final = 8 * 1024 * 1024
JSON_TYPE: Final = "application/json"
COALESCE_S: Final = 0.003
COALESCE_MAX_S: Final = 0.024
"""A stream that just sent waits this long before it sends again, and twice as long each time that there was more: events
alone leave at once, those of a long burst share a write."""
IDENTITY_TTL_S: Final = 10.0
IDENTITIES_MAX: Final = 1024


def serving_context(certificate_file: str, key_file: str, client_ca_file: str) -> ssl.SSLContext:
    """TLS 1.2+, HTTP/1.1 only, client certificates of our CA accepted but not demanded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    context.load_verify_locations(client_ca_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


class HttpsServer:
    """Serves one handler on any number of addresses."""

    def __init__(self, *, handler: Handler, authenticator: Authenticator, tls: ssl.SSLContext, clock: Clock) -> None:
        self._handler = handler
        self._identities = _Identities(authenticator, clock)
        self._tls = tls
        self._clock = clock
        self._listeners: list[socket.socket] = []
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def listen(self, host: str, port: int, *, may_come_later: bool = False) -> int:
        """Accept connections on an address; port 0 picks one.  Returns the port.  Raises OSError.

        With `may_come_later` the address need not be this host's yet: what comes to it is served once it is.
        """
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if may_come_later:
                listener.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
            listener.bind((host, port))
            listener.listen(512)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept, listener)
        self._listeners.append(listener)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """Stop accepting, end every connection."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(64):
            try:
                raw, _peer = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors: the backlog keeps them until some are free
                logger.warning("cannot accept connections", error=str(error))
                return
            if len(self._connections) >= CONNECTIONS_MAX:
                raw.close()
                continue
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tls = self._tls.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            stream = StreamSocket(tls, loop)
            connection = _Connection(stream, self._handler, self._identities)
            task = loop.create_task(connection.serve(), name="api-connection")
            self._connections[task] = connection
            task.add_done_callback(self._ended)
            if self._sweeping is None:
                self._sweeping = loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Close the connections whose peers were waited for long enough; runs while there are any."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._connections.values()):
            if connection.deadline < now:
                connection.close()
        self._sweeping = loop.call_later(SWEEP_S, self._sweep) if self._connections else None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.pop(task).close()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("an API connection ended with an unexpected error")


class _Identities:
    """Remembers who a (certificate, Authorization header) pair is, for a short while and bounded."""

    def __init__(self, authenticator: Authenticator, clock: Clock) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._known: OrderedDict[tuple[bytes | None, str], tuple[float, Identity]] = OrderedDict()

    def identify(self, headers: Mapping[str, str], peer_certificate: bytes | None) -> Identity | None:
        key = (peer_certificate, headers.get("authorization", ""))
        now = self._clock.monotonic()
        if (entry := self._known.get(key)) is not None and entry[0] > now:
            return entry[1]
        identity = self._authenticator.authenticate(headers, peer_certificate)
        if identity is not None:
            self._known[key] = (now + IDENTITY_TTL_S, identity)
            self._known.move_to_end(key)
            if len(self._known) > IDENTITIES_MAX:
                self._known.popitem(last=False)
        return identity


class _Connection:
    """One client: handshake, then requests one after another until either side ends it.

    Most requests are answered inside the event loop's callback (`_turn`), which saves the resumption of a task; what has to
    wait, for the store or for the peer, is left to the connection's own task.
    """

    def __init__(self, stream: StreamSocket, handler: Handler, identities: _Identities) -> None:
        self._stream = stream
        self._handler = handler
        self._identities = identities
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
        data = _rendered(request, reply)
        sent = self._stream.send_now(data)
        if sent < len(data):
            self._left = partial(self._send_rest, memoryview(data)[sent:], request.keep_alive, requests[behind:])
            return False
        return request.keep_alive

    async def _refuse(self, refusal: BadHttp) -> bool:
        body = orjson.dumps(_status_of(refusal))
        await self._stream.send(_head(refusal.status, len(body), "application/json", {}, close=True) + body)
        # Discard what the peer is still sending: closing on unread bytes would reset the answer away.
        self._stream.finish_sending()
        left = LINGER_SIZE_MAX_BYTES
        async with asyncio.timeout(LINGER_TIMEOUT_S):
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
            await self._stream.send(_switching(reply.headers))
            await reply.upgrade(_Upgraded(self._stream, self._parser.leftover))
            return False
        if reply.stream is not None:
            return await self._stream_reply(reply, reply.stream) and request.keep_alive
        await self._stream.send(_rendered(request, reply))
        return request.keep_alive

    def _asked(self, request: HttpRequest) -> ApiRequest | Reply:
        """The request as the handler takes it, or why it is not asked."""
        identity = self._identities.identify(request.headers, self._certificate)
        if identity is None:
            return _status_reply(Unauthorized("Unauthorized"))
        path, _, query = request.target.partition("?")
        parameters = _NO_PARAMETERS
        if query:
            try:
                parameters = parse_qs(query, keep_blank_values=True, max_num_fields=1000, errors="strict")
            except (ValueError, UnicodeDecodeError):
                return _plain(400, "the request's URL is not valid")
        return ApiRequest(request.method, path, identity, parameters, request.headers, request.body)

    async def _stream_reply(self, reply: Reply, source: ByteSource) -> bool:
        """Send a growing body in chunks; False when the peer left first."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        source.on_ready(ready.set)
        watcher = loop.create_task(self._peer_left(ready), name="api-stream-peer")
        try:
            await self._stream.send(_head(reply.status, None, reply.content_type, _headers_of(reply), close=False))
            continue_at, interval_s = 0.0, COALESCE_S
            while True:
                ready.clear()
                chunk = source.take()
                if chunk is None:
                    await self._stream.send(b"0\r\n\r\n")
                    return True
                if chunk:
                    # One take is bounded and may be the last: only an empty one says that there is something to wait for.
                    await self._stream.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    continue_at = loop.time() + interval_s
                else:
                    await ready.wait()
                    if (pause := continue_at - loop.time()) > 0:
                        interval_s = min(2 * interval_s, COALESCE_MAX_S)
                        await asyncio.sleep(pause)
                    else:
                        interval_s = COALESCE_S
                if watcher.done():
                    return False
        finally:
            source.close()
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _peer_left(self, ready: asyncio.Event) -> None:
        """Wait until the peer closes; what it sends meanwhile is not part of any request and ends the stream too."""
        try:
            await self._stream.receive()
        except OSError:
            pass
        finally:
            ready.set()


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


_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


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


def _rendered(request: HttpRequest, reply: Reply) -> bytes:
    """The whole answer, for replies that are no streams."""
    body = reply.body if reply.body is not None else orjson.dumps(reply.obj)
    head = _head(reply.status, len(body), reply.content_type, _headers_of(reply), close=not request.keep_alive)
    return head if request.method == "HEAD" else head + body


def _failure(request: HttpRequest, error: Exception) -> Reply:
    if isinstance(error, ApiError):
        return _status_reply(error)
    path = request.target.partition("?")[0]
    logger.opt(exception=error).error("a request failed unexpectedly", method=request.method, path=path)
    return _status_reply(InternalError("the server failed to answer; its log has the details"))


def _headers_of(reply: Reply) -> Mapping[str, str]:
    if not reply.warnings:
        return reply.headers
    return {**reply.headers, "Warning": ", ".join(f'299 - "{_quoted(text)}"' for text in reply.warnings)}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")


_START: Final = "HTTP/1.1 {status} {reason}\r\nCache-Control: no-cache, private\r\nContent-Type: {content_type}\r\n"
_USUAL_HEAD: Final = (_START.format(status=200, reason="OK", content_type=JSON_TYPE) + "Content-Length: ").encode()


def _head(status: int, length: int | None, content_type: str, headers: Mapping[str, str], *, close: bool) -> bytes:
    """A response's head; no length means a chunked body."""
    if status == 200 and not headers and not close and length is not None and content_type == JSON_TYPE:
        return b"%b%d\r\n\r\n" % (_USUAL_HEAD, length)
    lines = [_START.format(status=status, reason=_REASONS.get(status, "Status"), content_type=content_type)]
    lines.append("Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n")
    for name, value in headers.items():
        lines.append(f"{name}: {value}\r\n")
    if close:
        lines.append("Connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", "replace")


def _switching(headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1")


_STATUS_REASONS: Mapping[int, str] = {
    400: "BadRequest",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
}


def _status_of(refusal: BadHttp) -> Mapping[str, Any]:
    """A refused request as the Status that every other refusal is, so that clients say why."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": refusal.why}
    return {**status, "reason": _STATUS_REASONS.get(refusal.status, ""), "code": refusal.status}


def _status_reply(error: ApiError) -> Reply:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Reply(status=error.code, obj=error.to_status(), headers=headers)


def _plain(status: int, text: str) -> Reply:
    return Reply(status=status, body=text.encode(), content_type="text/plain")
