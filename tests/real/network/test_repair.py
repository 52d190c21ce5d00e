"""The proxy and the kernel: rules that nobody touched are left alone, others are put right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.base.clock import SystemClock
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.proxy.conntrack import ConntrackFlows
from cluster.proxy.docker_user import DockerForwarding
from cluster.proxy.nft import NftApplier
from cluster.proxy.proxy import Proxy
from cluster.proxy.ruleset import NodeNetwork
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES
from tests.real.network.hosts import Host
from tests.unit.proxy.objects import endpoint, endpoint_slice, service
from tests.unit.proxy.parts import DictCache

pytestmark = pytest.mark.needs("root", "nft", "ip")

NETWORK = NodeNetwork("px", "rb-px", "10.244.0.0/16", "10.244.0.0/24")


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host("r")
    yield made
    made.close()


async def test_only_rules_that_others_changed_are_made_anew(host: Host) -> None:
    cache = DictCache()
    cache.put(SERVICES, service(sessionAffinity="ClientIP"))
    cache.put(ENDPOINT_SLICES, endpoint_slice("web", endpoint("10.244.0.5")))
    async with Supervisor(SystemClock()) as supervisor:
        proxy = Proxy(
            network=NETWORK,
            node_name="n1",
            cache=cache,
            applier=NftApplier(NETWORK.table, commands=host.commands),
            forwarding=DockerForwarding(NETWORK, commands=host.commands),
            flows=ConntrackFlows(host.commands),
            clock=SystemClock(),
            entropy=SeededEntropy(1),
            supervisor=supervisor,
        )
        await proxy.start()
        assert not await proxy.repair()
        cache.put(ENDPOINT_SLICES, endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6")))
        await proxy.sync()
        assert not await proxy.repair()
        table = ("ip", NETWORK.table)
        for interference in (
            ("flush", "ruleset"),
            ("add", "rule", *table, "forward", "drop"),
            ("flush", "chain", *table, "hash_64"),
            ("delete", "element", *table, "cluster_ips", "{ 10.96.0.7 }"),
            ("add", "element", *table, "ports", "{ tcp . 22 : goto port_spread_1 }"),
        ):
            host.run("nft", *interference)
            assert await proxy.repair()
            assert not await proxy.repair()
        assert proxy.resynced == 5
        await proxy.purge()
    assert host.run("nft", "list", "tables") == ""
