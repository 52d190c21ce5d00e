"""Names outside the cluster: ask the host's resolvers, remember the answers for a while.

Answers are accepted only from the resolver asked, with the query's random id and question (RFC 5452).
"""

from __future__ import annotations

import asyncio
import struct
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from dnslib import DNSRecord
from dnslib.dns import DNSError
from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy

TIMEOUT_S = 2.0
CACHE_MAX = 4096
CACHE_AGE_MAX_S = 300.0
NEGATIVE_AGE_S = 5.0
IN_FLIGHT_MAX = 512


def host_resolvers(
    *, own: Sequence[str], paths: Sequence[Path] = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
) -> tuple[str, ...]:
    """The host's IPv4 resolvers.  Our own addresses are left out (a loop), and so is systemd's stub where the file behind
    it names the real ones."""
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines]
        named = [word[1] for word in words if len(word) >= 2 and word[0] == "nameserver" and ":" not in word[1]]
        usable = tuple(address for address in named if address not in own and address != "127.0.0.53")
        if usable:
            return usable
    return ()


class Forwarder:
    def __init__(self, upstreams: Sequence[str], *, clock: Clock, entropy: Entropy, port: int = 53) -> None:
        self._upstreams = tuple(upstreams)
        self._clock = clock
        self._entropy = entropy
        self._port = port
        self._cache: OrderedDict[tuple[str, int], tuple[float, DNSRecord]] = OrderedDict()
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    async def ask(self, name: str, qtype: int) -> DNSRecord | None:
        """The first resolver's answer, or None when none answers."""
        key = (name, qtype)
        now = self._clock.monotonic()
        if (entry := self._cache.get(key)) is not None and entry[0] > now:
            return entry[1]
        async with self._slots:
            for upstream in self._upstreams:
                answer = await self._exchange(upstream, name, qtype)
                if answer is not None:
                    self._remember(key, answer, now)
                    return answer
        return None

    def _remember(self, key: tuple[str, int], answer: DNSRecord, now: float) -> None:
        if answer.header.rcode not in (0, 3):
            return
        age_s = min((record.ttl for record in answer.rr), default=NEGATIVE_AGE_S)
        self._cache[key] = (now + min(age_s, CACHE_AGE_MAX_S), answer)
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_MAX:
            self._cache.popitem(last=False)

    async def _exchange(self, upstream: str, name: str, qtype: int) -> DNSRecord | None:
        query = DNSRecord.question(name)
        query.q.qtype = qtype
        query.header.id = int.from_bytes(self._entropy.token_bytes(2), "big")
        data: bytes = query.pack()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = _matching(query, await self._over_udp(upstream, data))
                if answer is not None and answer.header.tc:
                    answer = _matching(query, await self._over_tcp(upstream, data))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            logger.debug("a resolver did not answer", resolver=upstream, error=str(error) or type(error).__name__)
            return None
        return answer

    async def _over_udp(self, upstream: str, data: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _OneReply(received), remote_addr=(upstream, self._port)
        )
        try:
            transport.sendto(data)
            return await received
        finally:
            transport.close()

    async def _over_tcp(self, upstream: str, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(upstream, self._port)
        try:
            writer.write(struct.pack("!H", len(data)) + data)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
        finally:
            writer.close()


class _OneReply(asyncio.DatagramProtocol):
    def __init__(self, received: asyncio.Future[bytes]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._received.done():
            self._received.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._received.done():
            self._received.set_exception(exc)


def _matching(query: DNSRecord, data: bytes) -> DNSRecord | None:
    """The reply, if it is one to this very query."""
    try:
        reply = DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError, UnicodeError):
        return None
    same = (
        reply.header.qr
        and reply.header.id == query.header.id
        and len(reply.questions) == 1
        and reply.q.qtype == query.q.qtype
        and str(reply.q.qname).lower() == str(query.q.qname).lower()
    )
    return reply if same else None
