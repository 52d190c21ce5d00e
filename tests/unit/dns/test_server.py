"""The server on loopback: UDP, TCP, forwarding, and packets meant to hurt."""

from __future__ import annotations

import asyncio
import struct

import pytest
from dnslib import QTYPE, RR, DNSRecord
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.base.clock import SystemClock
from cluster.base.entropy import SystemEntropy
from cluster.client.cache import Change
from cluster.dns.forwarder import Forwarder, host_resolvers
from cluster.dns.server import DnsServer
from cluster.dns.wire import NotAQuery, parse_query
from cluster.machinery.objects import key_of
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES


class Services:
    """A cache that knows a fixed set of objects."""

    def __init__(self, objects):
        self._objects = objects

    def subscribe(self, resource, handler):
        for found, obj in self._objects:
            if found == resource:
                handler(Change(resource, key_of(obj), None, obj))
        return lambda: None


def headless(addresses):
    meta = {"namespace": "shop", "name": "big"}
    return [
        (SERVICES, {"metadata": meta, "spec": {"clusterIP": "None"}}),
        (
            ENDPOINT_SLICES,
            {
                "metadata": meta | {"labels": {"kubernetes.io/service-name": "big"}},
                "endpoints": [{"addresses": [address]} for address in addresses],
            },
        ),
    ]


OBJECTS = [
    (SERVICES, {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"clusterIP": "10.96.0.7"}}),
    (
        SERVICES,
        {
            "metadata": {"namespace": "shop", "name": "away"},
            "spec": {"type": "ExternalName", "externalName": "out.test"},
        },
    ),
    *headless([f"10.244.{i // 250}.{i % 250}" for i in range(300)]),
]


class Upstream(asyncio.DatagramProtocol):
    """A resolver that knows out.test and counts what it is asked."""

    def __init__(self):
        self.asked = 0

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.asked += 1
        query = DNSRecord.parse(data)
        reply = query.reply()
        if str(query.q.qname) == "out.test." and query.q.qtype == QTYPE.A:
            reply.add_answer(*RR.fromZone("out.test. 60 IN A 192.0.2.1"))
        self.transport.sendto(reply.pack(), addr)


@pytest.fixture
async def dns():
    loop = asyncio.get_running_loop()
    transport, upstream = await loop.create_datagram_endpoint(Upstream, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    clock = SystemClock()
    forwarder = Forwarder(["127.0.0.1"], clock=clock, entropy=SystemEntropy(), port=port)
    server = DnsServer(
        cache=Services(OBJECTS), domain="cluster.local", forwarder=forwarder, listen=[("127.0.0.53", 15353)]
    )
    await server.start()
    yield upstream
    await server.stop()
    transport.close()


async def ask_udp(name: str, kind: str = "A", *, edns: bool = False) -> DNSRecord:
    query = DNSRecord.question(name, kind)
    if edns:
        from dnslib import EDNS0

        query.add_ar(EDNS0(udp_len=4096))
    received = asyncio.get_running_loop().create_future()

    class Client(asyncio.DatagramProtocol):
        def datagram_received(self, data, addr):
            received.set_result(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Client, remote_addr=("127.0.0.53", 15353))
    transport.sendto(query.pack())
    async with asyncio.timeout(5):
        reply = DNSRecord.parse(await received)
    transport.close()
    assert reply.header.id == query.header.id
    return reply


async def test_a_service_is_found_authoritatively(dns):
    reply = await ask_udp("Web.Shop.svc.cluster.LOCAL")
    assert [str(rr.rdata) for rr in reply.rr] == ["10.96.0.7"] and reply.header.aa
    assert dns.asked == 0


async def test_a_type_that_is_not_there_is_an_empty_answer_and_a_name_nxdomain(dns):
    empty = await ask_udp("web.shop.svc.cluster.local", "AAAA")
    assert (empty.header.rcode, len(empty.rr), empty.auth[0].rtype) == (0, 0, QTYPE.SOA)
    missing = await ask_udp("nope.shop.svc.cluster.local")
    assert missing.header.rcode == 3
    assert dns.asked == 0


async def test_other_names_are_forwarded_and_remembered(dns):
    for _ in range(2):
        assert [str(rr.rdata) for rr in (await ask_udp("out.test")).rr] == ["192.0.2.1"]
    assert dns.asked == 1


async def test_an_external_name_is_chased(dns):
    reply = await ask_udp("away.shop.svc.cluster.local")
    assert [(rr.rtype, str(rr.rdata)) for rr in reply.rr] == [(QTYPE.CNAME, "out.test."), (QTYPE.A, "192.0.2.1")]


async def test_an_answer_too_large_for_udp_is_cut_and_whole_over_tcp(dns):
    cut = await ask_udp("big.shop.svc.cluster.local", edns=True)
    assert cut.header.tc and not cut.rr
    reader, writer = await asyncio.open_connection("127.0.0.53", 15353)
    data = DNSRecord.question("big.shop.svc.cluster.local").pack()
    writer.write(struct.pack("!H", len(data)) + data)
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    assert len(DNSRecord.parse(await reader.readexactly(length)).rr) == 300
    writer.close()


BEGINNING = DNSRecord.question("web.shop.svc.cluster.local").pack()[:6]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=600), st.binary(max_size=80).map(lambda end: BEGINNING + end)))
def test_no_packet_does_more_than_being_refused(data):
    try:
        parse_query(data)
    except NotAQuery as refusal:
        assert refusal.reply is None or DNSRecord.parse(refusal.reply).header.qr


def test_our_own_address_and_the_stub_are_not_asked(tmp_path):
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("nameserver 127.0.0.53\n")
    real.write_text("# c\nnameserver 10.96.0.10\nnameserver 192.0.2.9\nnameserver fe80::1\nnameserver\n")
    assert host_resolvers(own=["10.96.0.10"], paths=[stub, real]) == ("192.0.2.9",)
    assert host_resolvers(own=[], paths=[tmp_path / "absent"]) == ()
