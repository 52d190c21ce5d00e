"""Which pod answers whom, by the rules as the simulated packet filter reads them."""

from __future__ import annotations

import pytest

from cluster.proxy.diff import Transaction, transaction
from cluster.proxy.nft import RulesetRefused
from cluster.proxy.ruleset import NodeNetwork, ruleset
from cluster.proxy.services import Endpoint, Frontend, ServiceMap
from cluster.simulation.packets import Arrival, Fate, HostView, Packet, SimulatedPackets

NETWORK = NodeNetwork("test", "rb-test", "10.244.0.0/16", "10.244.0.0/24")
HOST = HostView(frozenset({"192.0.2.1", "10.244.0.1"}), (("10.244.0.0/24", "rb-test"), ("0.0.0.0/0", "eth0")))
A, B, FAR = Endpoint("10.244.0.5", 8080), Endpoint("10.244.0.6", 8080), Endpoint("10.244.7.7", 8080)
VIP, CLIENT = "10.96.0.7", "203.0.113.9"


async def node(*frontends: Frontend, slot: int = 0) -> SimulatedPackets:
    made = SimulatedPackets(NETWORK.table, HOST, pick=lambda count: slot % count)
    services = ServiceMap(tuple(sorted(frontends)), (VIP,))
    await made.apply(transaction(None, ruleset(services, NETWORK)))
    return made


def from_pod(destination: str, port: int = 80, *, source: str = "10.244.0.5", protocol: str = "tcp") -> Packet:
    return Packet(source, destination, port, protocol, arrives_on="rb-test")


def from_lan(destination: str, port: int) -> Packet:
    return Packet(CLIENT, destination, port, arrives_on="eth0")


async def test_a_pod_reaches_each_endpoint_of_a_service_under_its_own_address() -> None:
    for slot, endpoint in enumerate((B, FAR)):
        packets = await node(Frontend(VIP, "TCP", 80, (B, FAR)), slot=slot)
        assert packets.trace(from_pod(VIP)) == Arrival(Fate.DELIVERED, *endpoint)


async def test_a_pod_that_reaches_itself_is_masqueraded() -> None:
    packets = await node(Frontend(VIP, "TCP", 80, (A,)))
    assert packets.trace(from_pod(VIP)) == Arrival(Fate.DELIVERED, *A, masqueraded=True)


async def test_a_protocol_is_not_taken_for_another() -> None:
    packets = await node(Frontend(VIP, "UDP", 80, (B,)))
    assert packets.trace(from_pod(VIP, protocol="udp")).address == B.address
    assert packets.trace(from_pod(VIP)).fate is Fate.REJECTED


@pytest.mark.parametrize("endpoint", [A, FAR])
async def test_a_node_port_answers_the_lan_and_hides_the_client(endpoint: Endpoint) -> None:
    packets = await node(Frontend("", "TCP", 30080, (endpoint,), masquerade=True))
    assert packets.trace(from_lan("192.0.2.1", 30080)) == Arrival(Fate.DELIVERED, *endpoint, masqueraded=True)


async def test_a_local_node_port_keeps_the_client_but_never_a_loopback_source() -> None:
    packets = await node(Frontend("", "TCP", 30080, (A,)))
    assert packets.trace(from_lan("192.0.2.1", 30080)) == Arrival(Fate.DELIVERED, *A)
    assert packets.trace(Packet("127.0.0.1", "127.0.0.1", 30080)) == Arrival(Fate.DELIVERED, *A, masqueraded=True)


async def test_a_cluster_address_on_a_node_ports_number_is_not_masqueraded() -> None:
    packets = await node(Frontend("", "TCP", 30080, (B,), masquerade=True), Frontend(VIP, "TCP", 30080, (B,)))
    assert packets.trace(from_pod(VIP, 30080)) == Arrival(Fate.DELIVERED, *B)


async def test_what_has_no_endpoint_or_no_such_port_is_rejected() -> None:
    packets = await node(Frontend(VIP, "TCP", 80), Frontend("", "TCP", 30080), Frontend("192.0.2.1", "TCP", 443))
    for packet in (
        from_pod(VIP),
        from_pod(VIP, 81),
        Packet("192.0.2.1", VIP, 80),
        from_lan("192.0.2.1", 30080),
        from_lan("192.0.2.1", 443),
    ):
        assert packets.trace(packet).fate is Fate.REJECTED


async def test_traffic_that_is_none_of_ours_passes_untouched() -> None:
    packets = await node(Frontend("", "TCP", 30080, (A,), masquerade=True))
    for packet in (
        from_lan("192.0.2.1", 22),
        from_lan("198.51.100.1", 30080),
        Packet("192.0.2.1", "198.51.100.1", 443),
        from_pod(B.address, 8080),
        from_pod(FAR.address, 8080),
    ):
        assert packets.trace(packet) == Arrival(Fate.DELIVERED, packet.destination, packet.port)


async def test_pods_leave_for_the_outside_with_the_nodes_address() -> None:
    packets = await node()
    assert packets.trace(from_pod(CLIENT, 443)) == Arrival(Fate.DELIVERED, CLIENT, 443, masqueraded=True)


async def test_loopback_addresses_do_not_cross_the_pod_bridge() -> None:
    packets = await node(Frontend("", "TCP", 30080, (A,)))
    assert packets.trace(from_pod("127.0.0.1", 30080)).fate is Fate.DROPPED
    assert packets.trace(from_pod("192.0.2.1", 30080, source="127.0.0.1")).fate is Fate.DROPPED


async def test_a_client_stays_with_its_endpoint() -> None:
    for slot in range(4):
        packets = await node(Frontend(VIP, "TCP", 80, (A, B), affinity=True), slot=slot)
        found = packets.trace(from_pod(VIP, source="10.244.0.9"))
        again = packets.trace(from_pod(VIP, source="10.244.0.9"))
        assert found == again
        assert found.address in (A.address, B.address)


async def test_rules_it_does_not_know_are_refused() -> None:
    packets = await node()
    for text in ("add element ip other ports { a : b }\n", "flush ruleset\n"):
        with pytest.raises(RulesetRefused, match="not understood"):
            await packets.apply(Transaction(text, deleted=0, added=1, is_full=False))
