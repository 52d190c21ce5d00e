"""The API server's sockets: where it listens, TLS, who a connection's caller is.  `connection` does the rest.

A reader that does not read stops its own stream only: nothing is queued for it beyond one chunk.  Authentication alone is
remembered, after parsing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from loguru import logger

from cluster.apiserver.connection import Connection
from cluster.apiserver.feeding import Feeder
from cluster.apiserver.http import ApiRequest, Authenticator, Handler, Identity
from cluster.base.clock import Clock
from cluster.base.stream_socket import StreamSocket

CONNECTIONS_MAX: Final = 4096
IP_FREEBIND: Final = 15
"""Of <linux/in.h>; the socket module does not name it before Python 3.12."""
SWEEP_S: Final = 2.0
"""How late such a timeout may be."""
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
    """Serves one handler on any number of addresses; `refused` hears of requests whose credentials are bad."""

    def __init__(
        self,
        *,
        handler: Handler,
        authenticator: Authenticator,
        tls: ssl.SSLContext,
        clock: Clock,
        refused: Callable[[ApiRequest], None],
    ) -> None:
        self._handler = handler
        self._feeder = Feeder()
        self._identities = _Identities(authenticator, clock)
        self._tls = tls
        self._refused = refused
        self._clock = clock
        self._listeners: list[socket.socket] = []
        self._connections: dict[asyncio.Task[None], Connection] = {}
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
                raw, peer = listener.accept()
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
            connection = Connection(
                stream, self._handler, self._identities, self._feeder, source=str(peer[0]), refused=self._refused
            )
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
        if (entry := self._known.get(key)) is not None and entry[0] > now and self._authenticator.is_current(entry[1]):
            return entry[1]
        identity = self._authenticator.authenticate(headers, peer_certificate)
        if identity is not None:
            self._known[key] = (now + IDENTITY_TTL_S, identity)
            self._known.move_to_end(key)
            if len(self._known) > IDENTITIES_MAX:
                self._known.popitem(last=False)
        return identity
