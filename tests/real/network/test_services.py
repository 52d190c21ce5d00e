"""Packets through the kernel: which pod answers whom, and what is left afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cluster.proxy.conntrack import ConntrackFlows, stale_flows
from cluster.proxy.diff import transaction
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import purge
from cluster.proxy.ruleset import NodeNetwork, Ruleset, ruleset
from cluster.proxy.services import Endpoint, Frontend, ServiceMap
from tests.real.network.hosts import BRIDGE, CLIENT_IP, GATEWAY, NODE_IP, Site

pytestmark = pytest.mark.needs("root", "nft", "ip")

NETWORK = NodeNetwork("px", BRIDGE, "10.244.0.0/16", "10.244.0.0/24")
A, B = Endpoint("10.244.0.2", 8080), Endpoint("10.244.0.3", 8080)
VIP = "10.96.0.7"


class Node:
    """The applier at work on the site's node."""

    def __init__(self, site: Site) -> None:
        self.applier = NftApplier(NETWORK.table, commands=site.node.commands)
        self.forwarding = DockerForwarding(NETWORK, commands=site.node.commands)
        self.flows = ConntrackFlows(site.node.commands)
        self.applied: Ruleset | None = None
        self.served = ServiceMap()

    async def serve(self, *frontends: Frontend, cluster_ips: tuple[str, ...] = (VIP,)) -> None:
        services = ServiceMap(tuple(sorted(frontends)), cluster_ips)
        wanted = ruleset(services, NETWORK)
        await self.applier.apply(transaction(self.applied, wanted))
        await self.flows.forget(stale_flows(self.served, services))
        self.applied, self.served = wanted, services
        await self.forwarding.ensure()
        installed = await self.applier.read()
        assert installed is not None
        assert installed.elements == wanted.elements


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    made = Node(site)
    yield made
    asyncio.run(purge(made.applier, made.forwarding))


def names(answers: list[str]) -> set[str]:
    return {answer.split(" ")[0] for answer in answers}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_a_cluster_address_reaches_every_pod_from_pods_and_from_the_node(
    site: Site, node: Node, kind: str
) -> None:
    await node.serve(Frontend(VIP, kind.upper(), 80, (A, B)))
    assert names(site.node.ask(VIP, 80, kind=kind, count=40)) == {"a", "b"}
    answers = site.a.ask(VIP, 80, kind=kind, count=40)
    assert names(answers) == {"a", "b"}
    assert "b 10.244.0.2" in answers  # a neighbour sees the pod's own address


async def test_a_pod_reaches_itself_through_its_service(site: Site, node: Node) -> None:
    await node.serve(Frontend(VIP, "TCP", 80, (A,)))
    assert site.a.ask(VIP, 80, count=5) == [f"a {GATEWAY}"] * 5


async def test_a_node_port_answers_from_another_machine_under_forward_drop(site: Site, node: Node) -> None:
    await node.serve(Frontend("", "TCP", 30080, (A, B), masquerade=True))
    answers = site.client.ask(NODE_IP, 30080, count=20)
    assert set(answers) == {f"a {GATEWAY}", f"b {GATEWAY}"}


async def test_a_local_node_port_shows_the_client(site: Site, node: Node) -> None:
    await node.serve(Frontend("", "TCP", 30080, (A,)))
    assert site.client.ask(NODE_IP, 30080) == [f"a {CLIENT_IP}"]


@pytest.mark.parametrize("masquerade", [True, False])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
async def test_a_node_port_answers_on_the_nodes_loopback_and_to_pods(
    site: Site, node: Node, kind: str, masquerade: bool
) -> None:
    await node.serve(Frontend("", kind.upper(), 30080, (A,), masquerade=masquerade))
    for address in ("127.0.0.1", NODE_IP, GATEWAY):
        assert names(site.node.ask(address, 30080, kind=kind, count=3)) == {"a"}
        if address != "127.0.0.1":
            assert names(site.b.ask(address, 30080, kind=kind, count=3)) == {"a"}
            assert names(site.a.ask(address, 30080, kind=kind, count=3)) == {"a"}


async def test_a_load_balancer_answers_on_the_nodes_address(site: Site, node: Node) -> None:
    await node.serve(Frontend(NODE_IP, "TCP", 80, (B,), masquerade=True))
    assert names(site.client.ask(NODE_IP, 80)) == {"b"}
    assert names(site.node.ask(NODE_IP, 80)) == {"b"}
    assert names(site.a.ask(NODE_IP, 80)) == {"b"}


async def test_affinity_keeps_a_client_with_its_pod_until_that_pod_goes(site: Site, node: Node) -> None:
    await node.serve(Frontend(VIP, "TCP", 80, (A, B), affinity=True))
    first = names(site.node.ask(VIP, 80, count=30))
    assert len(first) == 1
    left, other = (B, "b") if first == {"a"} else (A, "a")
    await node.serve(Frontend(VIP, "TCP", 80, (left,), affinity=True))
    assert names(site.node.ask(VIP, 80, count=3)) == {other}
    await node.serve(Frontend(VIP, "TCP", 80, (A, B), affinity=True))
    assert names(site.node.ask(VIP, 80, count=30)) == first


async def test_connections_are_refused_when_the_last_endpoint_is_gone(site: Site, node: Node) -> None:
    ports = ((VIP, 80), (NODE_IP, 30080))
    await node.serve(Frontend(VIP, "TCP", 80, (A,)), Frontend("", "TCP", 30080, (A,)))
    for address, port in ports:
        assert names(site.node.ask(address, port)) == {"a"}
    await node.serve(Frontend(VIP, "TCP", 80), Frontend("", "TCP", 30080))
    for address, port in ports:
        assert site.node.ask(address, port) == ["refused"]
        assert site.a.ask(address, port) == ["refused"]
    assert site.client.ask(NODE_IP, 30080) == ["refused"]
    assert site.a.ask(VIP, 81) == ["refused"]  # a port that the Service does not have


@pytest.mark.needs("conntrack")
async def test_a_udp_client_that_keeps_its_port_follows_the_endpoints(site: Site, node: Node) -> None:
    await node.serve(Frontend(VIP, "UDP", 80, (A,)))
    assert site.b.ask(VIP, 80, kind="udp", source="10.244.0.3:5000", count=2) == ["a 10.244.0.3"] * 2
    await node.serve(Frontend(VIP, "UDP", 80, (B,)))
    assert site.a.ask(VIP, 80, kind="udp", source="10.244.0.2:5000") == ["b 10.244.0.2"]
    await node.serve(Frontend(VIP, "UDP", 80, (A,)))
    # The flow of the same client port went to `b` a moment ago.
    assert site.a.ask(VIP, 80, kind="udp", source="10.244.0.2:5000") == [f"a {GATEWAY}"]


async def test_pods_reach_the_outside_with_the_nodes_address(site: Site, node: Node) -> None:
    site.client.serve("outside", 9090)
    await node.serve()
    assert site.a.ask(CLIENT_IP, 9090) == [f"outside {NODE_IP}"]
    assert site.a.ask("10.244.0.3", 8080) == ["b 10.244.0.2"]


async def test_a_pod_cannot_reach_what_listens_on_the_nodes_loopback(site: Site, node: Node) -> None:
    await node.serve()
    site.node.serve("secret", 7070)
    site.a.run("ip", "route", "add", "127.0.0.5/32", "via", GATEWAY, "dev", "eth0", "table", "local")
    site.a.set_sysctl("ipv4/conf/all/route_localnet", "1")
    site.a.run("ip", "rule", "add", "pref", "0", "to", "127.0.0.5", "lookup", "99")
    site.a.run("ip", "route", "add", "127.0.0.5/32", "via", GATEWAY, "dev", "eth0", "table", "99")
    assert site.a.ask("127.0.0.5", 7070, source="10.244.0.2") == ["timeout"]


async def test_a_purge_leaves_the_host_as_it_was(site: Site, node: Node) -> None:
    def state() -> tuple[str, list[str]]:
        saved = site.node.run("iptables-save")
        return site.node.run("nft", "list", "tables"), [line for line in saved.splitlines() if line[:1] in "-*"]

    site.node.run("nft", "add", "table", "ip", "foreign")
    before = state()
    await node.serve(Frontend(VIP, "TCP", 80, (A, B)), Frontend("", "TCP", 30080, (A,), masquerade=True))
    assert state() != before
    await purge(node.applier, node.forwarding)
    assert state() == before
    await purge(node.applier, node.forwarding)


async def test_two_clusters_on_one_host_do_not_touch_each_other(site: Site, node: Node) -> None:
    await node.serve(Frontend(VIP, "TCP", 80, (A,)))
    network = NodeNetwork("px2", "rb-px2", "10.245.0.0/16", "10.245.0.0/24")
    other = NftApplier(network.table, commands=site.node.commands)
    forwarding = DockerForwarding(network, commands=site.node.commands)
    await other.apply(transaction(None, ruleset(ServiceMap(), network)))
    await forwarding.ensure()
    await purge(other, forwarding)
    assert names(site.node.ask(VIP, 80)) == {"a"}
    assert await node.forwarding.ensure() is False
