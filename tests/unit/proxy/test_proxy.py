"""The loop: what it carries out, when, and what it does about failure and interference."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.proxy.conntrack import StaleFlow
from cluster.proxy.nft import Installed
from cluster.proxy.proxy import REPAIR_INTERVAL_S, Proxy
from cluster.proxy.ruleset import NodeNetwork, ruleset
from cluster.proxy.services import NodeFacts, service_map
from cluster.resources.builtin import ENDPOINT_SLICES, NODES, PODS, SERVICES
from tests.clocks import SteppedClock
from tests.unit.proxy.objects import endpoint, endpoint_slice, pod, service
from tests.unit.proxy.parts import DictCache, OpenForwarding, RecordingApplier, RecordingFlows, node

NETWORK = NodeNetwork("test", "rb-test", "10.244.0.0/16", "10.244.0.0/24")


class World:
    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.cache = DictCache()
        self.applier = RecordingApplier()
        self.forwarding = OpenForwarding()
        self.flows = RecordingFlows()
        self.supervisor = Supervisor(self.clock)
        self.cache.put(NODES, node("n1", "192.0.2.1"))
        self.cache.put(SERVICES, service())
        self.cache.put(ENDPOINT_SLICES, endpoint_slice("web", endpoint("10.244.0.5")))
        self.proxy = Proxy(
            network=NETWORK,
            node_name="n1",
            cache=self.cache,
            applier=self.applier,
            forwarding=self.forwarding,
            flows=self.flows,
            clock=self.clock,
            entropy=SeededEntropy(1),
            supervisor=self.supervisor,
        )

    @property
    def texts(self) -> list[str]:
        return [change.text for change in self.applier.applied]

    def install(self) -> None:
        """What reads back is what the cache asks for."""
        lists = [self.cache.list(one) for one in (SERVICES, ENDPOINT_SLICES, PODS)]
        wanted = ruleset(service_map(*lists, NodeFacts("n1", ("192.0.2.1",))), NETWORK)
        self.applier.restored = Installed(dict(wanted.elements), b"as applied")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.install()
    yield made
    await made.supervisor.stop()


async def test_the_rules_stand_when_start_returns(world: World) -> None:
    await world.proxy.start()
    assert len(world.texts) == 1
    assert "10.96.0.7 . tcp . 80 : goto spread_1" in world.texts[0]


async def test_the_first_change_is_carried_out_at_once_and_a_burst_together(world: World) -> None:
    await world.proxy.start()
    world.cache.put(ENDPOINT_SLICES, endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6")))
    await world.clock.step(0)
    assert len(world.texts) == 2
    assert "add element ip reconciler-test endpoints { 10.96.0.7 . tcp . 80 . 1 : 10.244.0.6 . 8080 }" in world.texts[1]
    for number in range(7, 12):
        world.cache.put(SERVICES, service(f"s{number}", cluster_ip=f"10.96.0.1{number}"))
    await world.clock.step(0.01)
    assert len(world.texts) == 2
    await world.clock.step(0.2)
    assert len(world.texts) == 3


async def test_pods_without_host_ports_and_other_nodes_pods_change_nothing(world: World) -> None:
    await world.proxy.start()
    world.cache.put(PODS, pod("plain"))
    world.cache.put(PODS, pod("elsewhere", node="n2", containerPort=1, hostPort=2))
    await world.clock.step(1)
    assert len(world.texts) == 1
    world.cache.put(PODS, pod("here", containerPort=8080, hostPort=9000))
    await world.clock.step(1)
    assert "add element ip reconciler-test ports { tcp . 9000 : goto port_spread_1 }" in world.texts[1]
    world.cache.drop(PODS, pod("here"))
    await world.clock.step(1)
    assert "delete element ip reconciler-test ports { tcp . 9000 : goto port_spread_1 }" in world.texts[2]


async def test_a_slice_that_is_gone_and_a_service_that_is_gone_leave_no_rules(world: World) -> None:
    await world.proxy.start()
    world.cache.drop(ENDPOINT_SLICES, endpoint_slice("web"))
    await world.clock.step(1)
    assert "add element ip reconciler-test rejected { 10.96.0.7 . tcp . 80 }" in world.texts[1]
    world.cache.drop(SERVICES, service())
    await world.clock.step(1)
    assert world.texts[2] == (
        "delete element ip reconciler-test cluster_ips { 10.96.0.7 }\n"
        "delete element ip reconciler-test rejected { 10.96.0.7 . tcp . 80 }\n"
    )


async def test_a_load_balancer_waits_for_the_nodes_address(world: World) -> None:
    world.cache.drop(NODES, node("n1"))
    world.cache.put(SERVICES, service(type="LoadBalancer", ingress=["192.0.2.1"]))
    await world.proxy.start()
    assert "192.0.2.1" not in world.texts[0]
    world.cache.put(NODES, node("n1", "192.0.2.1"))
    await world.clock.step(1)
    assert "192.0.2.1 . tcp . 80" in world.texts[1]


async def test_a_host_that_refuses_is_asked_again_with_the_whole_table(world: World) -> None:
    world.applier.refuses = "no such module"
    await world.proxy.start()
    assert world.texts == []
    await world.clock.step(0)
    world.applier.refuses = ""
    await world.clock.step(1)
    assert [change.is_full for change in world.applier.applied] == [True]


async def test_rules_changed_by_others_are_repaired_at_the_next_look(world: World) -> None:
    await world.proxy.start()
    await world.clock.step(REPAIR_INTERVAL_S)
    assert (len(world.texts), world.proxy.resynced) == (1, 0)
    right = world.applier.installed
    assert right is not None
    emptied = {**right.elements, "frontends": {}}
    for number, wrong in enumerate((None, replace(right, structure=b"a rule more"), replace(right, elements=emptied))):
        world.applier.installed = wrong
        await world.clock.step(REPAIR_INTERVAL_S)
        assert world.proxy.resynced == number + 1
        assert world.applier.applied[-1].is_full
    await world.clock.step(REPAIR_INTERVAL_S)
    assert (len(world.texts), world.proxy.resynced) == (4, 3)


async def test_a_stopped_proxy_leaves_its_rules_and_looks_no_more(world: World) -> None:
    await world.proxy.start()
    await world.proxy.stop()
    world.cache.drop(SERVICES, service())
    await world.clock.step(REPAIR_INTERVAL_S)
    assert len(world.texts) == 1
    assert world.forwarding.looks == 1


async def test_udp_flows_to_an_endpoint_that_is_gone_are_forgotten_but_none_at_the_start(world: World) -> None:
    dns = service("dns", cluster_ip="10.96.0.53", ports=[{"port": 53, "protocol": "UDP"}])
    world.cache.put(SERVICES, dns)
    both = (endpoint("10.244.0.8"), endpoint("10.244.0.9"))
    world.cache.put(ENDPOINT_SLICES, endpoint_slice("dns", *both, port=53, protocol="UDP"))
    await world.proxy.start()
    assert world.flows.forgotten == []
    world.cache.put(ENDPOINT_SLICES, endpoint_slice("dns", both[0], port=53, protocol="UDP"))
    await world.clock.step(1)
    assert world.flows.forgotten == [StaleFlow("10.96.0.53", 53, "10.244.0.9")]
