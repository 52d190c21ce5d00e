"""Connections that the API server itself opens: to webhooks, aggregated servers and pods; how, and which are kept.

An address is dialled from this host.  A pod that this host cannot reach is reached through its node's channel.  Knows
nothing of what is said on the connections.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from cluster.apiserver.service_resolver import Endpoint
from cluster.base.http_client import HttpClient, Limits
from cluster.base.http_connection import HttpConnection
from cluster.client.node_channel import ByteStream, NodeChannels
from cluster.machinery.errors import ApiError

DIRECT_TIMEOUT_S: Final = 3.0
"""How long a pod's address is tried before its node's channel is."""
CLIENTS_MAX: Final = 64
"""Servers to which connections are kept; beyond it those of the one used least recently are closed, if it is at rest."""
TUNNELS_MAX: Final = 512
TUNNEL_READ_BYTES: Final = 65_536


class Tunnels:
    """Byte streams through nodes as sockets, for what speaks TLS or HTTP over them.  `close` ends them all."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], None] = {}

    def socket_to(self, stream: ByteStream) -> socket.socket:
        """A socket whose other end is `stream`; either side's end ends the other.  Raises OSError at the bound."""
        if len(self._tasks) >= TUNNELS_MAX:
            raise OSError(f"{TUNNELS_MAX} connections through nodes are open already")
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setblocking(False)
        self._start(self._carry(theirs, stream))
        return ours

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="api-tunnel")
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _carry(self, local: socket.socket, stream: ByteStream) -> None:
        loop = asyncio.get_running_loop()

        async def outward() -> None:
            while data := await loop.sock_recv(local, TUNNEL_READ_BYTES):
                await stream.write(data)

        async def inward() -> None:
            while data := await stream.read():
                await loop.sock_sendall(local, data)
            local.shutdown(socket.SHUT_WR)

        pumps = [loop.create_task(outward()), loop.create_task(inward())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            local.close()
            await stream.close()


class Dialer:
    """Opens connections to endpoints.  Without `pods_are_routable` pods are only reached through their nodes."""

    def __init__(self, node_channels: NodeChannels, *, pods_are_routable: bool) -> None:
        self._node_channels = node_channels
        self._pods_are_routable = pods_are_routable
        self._tunnels = Tunnels()

    async def connect(
        self,
        endpoint: Endpoint,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        server_name: str,
    ) -> None:
        """Raises OSError (ssl.SSLError among them)."""
        loop = asyncio.get_running_loop()
        name = server_name if tls is not None else None
        if endpoint.pod is None:
            await loop.create_connection(
                protocol, endpoint.address, endpoint.port, ssl=tls, server_hostname=name or None
            )
            return
        connected = await self._connect_to_pod(endpoint)
        try:
            await loop.create_connection(protocol, sock=connected, ssl=tls, server_hostname=name)
        except BaseException:
            connected.close()
            raise

    async def close(self) -> None:
        await self._tunnels.close()

    async def _connect_to_pod(self, endpoint: Endpoint) -> socket.socket:
        failure: OSError | None = None
        if self._pods_are_routable:
            try:
                return await _direct(endpoint)
            except ConnectionRefusedError:
                raise
            except (OSError, TimeoutError) as error:
                failure = OSError(str(error) or "timed out")
        try:
            if endpoint.pod is None or not endpoint.node:
                raise OSError("the pod is on no node")
            channel = self._node_channels.channel(endpoint.node)
            return self._tunnels.socket_to(await channel.connect(endpoint.pod, endpoint.port))
        except ApiError as error:
            raise failure or OSError(error.message) from None


async def _direct(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        async with asyncio.timeout(DIRECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(connection, (endpoint.address, endpoint.port))
    except BaseException:
        connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True)
class Security:
    """How a server is verified and who we are to it.

    `ca_pem` empty: this host's authorities.  `client_files`: certificate and key to show.
    """

    server_name: str
    ca_pem: str = ""
    verify: bool = True
    client_files: tuple[str, str] | None = field(default=None, repr=False)

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, HTTP/1.1.  Raises OSError (ssl.SSLError among them) for certificates that cannot be read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_pem:
            context.load_verify_locations(cadata=self.ca_pem)
            # As Go has it: whatever the bundle holds is trusted, an intermediate or the server's own certificate too.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        else:
            context.load_default_certs()
        context.hostname_checks_common_name = False
        if self.client_files is not None:
            context.load_cert_chain(*self.client_files)
        return context


@dataclass(frozen=True, slots=True)
class EndpointConnector:
    """See `http_client.Connector`."""

    dialer: Dialer
    endpoint: Endpoint
    tls: ssl.SSLContext | None
    server_name: str
    host: str

    async def connect(self, connection: HttpConnection) -> None:
        await self.dialer.connect(self.endpoint, lambda: connection, tls=self.tls, server_name=self.server_name)


class _Entry:
    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.users = 0


class ClientPool:
    """One HTTP client for each server that is talked to."""

    def __init__(self, dialer: Dialer, *, limits: Limits) -> None:
        self._dialer = dialer
        self._limits = limits
        self._entries: OrderedDict[tuple[Endpoint, Security | None, str], _Entry] = OrderedDict()

    def borrow(self, endpoint: Endpoint, security: Security | None, *, host: str = "") -> Borrowed:
        """`security` None is plain TCP.  `host` is the Host header, by default the endpoint.

        Raises OSError for certificates that cannot be read.
        """
        key = (endpoint, security, host)
        entry = self._entries.get(key)
        if entry is None:
            connector = EndpointConnector(
                self._dialer,
                endpoint,
                security.context() if security is not None else None,
                security.server_name if security is not None else "",
                host or host_of(endpoint),
            )
            entry = self._entries[key] = _Entry(HttpClient(connector, limits=self._limits))
        self._entries.move_to_end(key)
        return Borrowed(self, entry)

    async def close(self) -> None:
        for entry in self._entries.values():
            await entry.client.close()
        self._entries.clear()

    async def trim(self) -> None:
        """Close what is beyond the bound and at rest."""
        for key in [key for key, entry in self._entries.items() if not entry.users]:
            if len(self._entries) <= CLIENTS_MAX:
                return
            await self._entries.pop(key).client.close()


class Borrowed:
    """A client in use: it is not closed meanwhile.  An async context manager."""

    def __init__(self, pool: ClientPool, entry: _Entry) -> None:
        self._pool = pool
        self._entry = entry

    async def __aenter__(self) -> HttpClient:
        self._entry.users += 1
        return self._entry.client

    async def __aexit__(self, *exception: object) -> None:
        self._entry.users -= 1
        await self._pool.trim()


def host_of(endpoint: Endpoint) -> str:
    """An endpoint as the Host header has it."""
    address = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
    return f"{address}:{endpoint.port}"
