"""Cluster DNS on this node: sockets and the decision whom to ask.  Answers from what it last knew while the API is away."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import cast

from dnslib import RR
from loguru import logger

from cluster.client.cache import Cache
from cluster.dns.forwarder import Forwarder
from cluster.dns.records import Kind, Zone
from cluster.dns.wire import NotAQuery, Query, failure_of, packed, parse_query, reply_of
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES

TCP_IDLE_S = 10.0
TCP_CONNECTIONS_MAX = 256
FORWARDS_MAX = 1024
"""Queries waiting for a resolver; beyond, they are dropped, and the asker tries again."""


class DnsServer:
    """Serves the zone of `domain` on every address of `listen`, UDP and TCP; other names go to `forwarder`."""

    def __init__(self, *, cache: Cache, domain: str, forwarder: Forwarder, listen: Sequence[tuple[str, int]]) -> None:
        self._cache = cache
        self._zone = Zone(domain)
        self._forwarder = forwarder
        self._listen = listen
        self._unsubscribe: list[Callable[[], None]] = []
        self._transports: list[asyncio.DatagramTransport] = []
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections = 0

    async def start(self) -> None:
        """Bind and answer.  Raises OSError when an address is taken."""
        loop = asyncio.get_running_loop()
        for resource in (SERVICES, ENDPOINT_SLICES):
            self._unsubscribe.append(self._cache.subscribe(resource, self._zone.apply))
        for host, port in self._listen:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._datagram), sock=_bound(socket.SOCK_DGRAM, host, port)
            )
            self._transports.append(transport)
            self._servers.append(
                await asyncio.start_server(self._serve_tcp, sock=_bound(socket.SOCK_STREAM, host, port))
            )
        logger.info("cluster dns answers", addresses=[f"{host}:{port}" for host, port in self._listen])

    async def stop(self) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        for transport in self._transports:
            transport.close()
        for server in self._servers:
            server.close()
        tasks = sorted(self._tasks, key=lambda task: task.get_name())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _datagram(self, data: bytes, peer: tuple[str, int], transport: asyncio.DatagramTransport) -> None:
        try:
            query = parse_query(data)
        except NotAQuery as refusal:
            if refusal.reply is not None:
                transport.sendto(refusal.reply, peer)
            return
        if (reply := self._from_zone(query, over_udp=True)) is not None:
            transport.sendto(reply, peer)
        elif len(self._tasks) < FORWARDS_MAX:
            task = asyncio.get_running_loop().create_task(self._forward_datagram(query, peer, transport))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward_datagram(
        self, query: Query, peer: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        reply = await self._forwarded(query, over_udp=True)
        if not transport.is_closing():
            transport.sendto(reply, peer)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= TCP_CONNECTIONS_MAX:
            writer.close()
            return
        self._connections += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                try:
                    query = parse_query(data)
                except NotAQuery as refusal:
                    if refusal.reply is None:
                        return
                    reply = refusal.reply
                else:
                    found = self._from_zone(query, over_udp=False)
                    reply = found if found is not None else await self._forwarded(query, over_udp=False)
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return
        finally:
            self._connections -= 1
            writer.close()

    def _from_zone(self, query: Query, *, over_udp: bool) -> bytes | None:
        """The zone's own answer; None when somebody else must be asked."""
        if not self._zone.covers(query.name):
            return None
        answer = self._zone.look_up(query.name)
        if answer.kind is Kind.CNAME and answer.records and query.type != "CNAME":
            return None
        return packed(query, reply_of(query, answer, domain=self._zone.domain), over_udp=over_udp)

    async def _forwarded(self, query: Query, *, over_udp: bool) -> bytes:
        if self._zone.covers(query.name):
            answer = self._zone.look_up(query.name)
            target = answer.records[0].target
            chased = self._zone_records(target, query) or await self._outside_records(target, query)
            reply = reply_of(query, answer, domain=self._zone.domain, chased=chased)
            return packed(query, reply, over_udp=over_udp)
        outside = await self._forwarder.ask(query.name, query.record.q.qtype)
        if outside is None:
            return failure_of(query)
        reply = query.record.reply(aa=0)
        reply.header.ra = 1
        reply.header.rcode = outside.header.rcode
        reply.add_answer(*outside.rr)
        reply.add_auth(*outside.auth)
        return packed(query, reply, over_udp=over_udp)

    def _zone_records(self, target: str, query: Query) -> tuple[RR, ...]:
        """Where an ExternalName points back into the cluster; one step only, so that two cannot chase each other."""
        if not self._zone.covers(target):
            return ()
        answer = self._zone.look_up(target)
        if answer.kind is not Kind.A or query.type != "A":
            return ()
        records = RR.fromZone("\n".join(f"{target}. 5 IN A {record.target}" for record in answer.records))
        return tuple(records)

    async def _outside_records(self, target: str, query: Query) -> tuple[RR, ...]:
        if self._zone.covers(target):
            return ()
        outside = await self._forwarder.ask(target, query.record.q.qtype)
        return tuple(outside.rr) if outside is not None else ()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, handle: Callable[[bytes, tuple[str, int], asyncio.DatagramTransport], None]) -> None:
        self._handle = handle
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._handle(data, addr, self._transport)


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A socket on an address that need not exist yet: it may come with the pod bridge (IP_FREEBIND)."""
    bound = socket.socket(socket.AF_INET, kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND, which the socket module does not name before 3.12
        bound.bind((host, port))
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
