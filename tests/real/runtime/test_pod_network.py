"""The pod network on a real kernel, with processes in network namespaces of their own for pods."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cluster.kubelet.network.bridge import BridgeNetwork, BridgeSettings, ranges_in_use
from cluster.kubelet.network.netlink import open_netlink
from cluster.kubelet.runtime.api import EngineError

pytestmark = pytest.mark.needs("root", "ip")
CIDR = "10.244.213.0/28"


@contextmanager
def namespace() -> Iterator[int]:
    """The pid of a process in a new network namespace."""
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


async def inside(pid: int, *command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        "nsenter", "-t", str(pid), "-n", *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


async def names() -> set[str]:
    async with open_netlink() as netlink:
        return {link.name for link in await netlink.links()}


@pytest.fixture
def settings() -> BridgeSettings:
    return BridgeSettings(f"rt-{uuid.uuid4().hex[:8]}", CIDR)


@pytest.fixture
async def network(settings: BridgeSettings) -> AsyncIterator[BridgeNetwork]:
    network = BridgeNetwork(settings)
    try:
        yield network
    finally:
        await network.purge()


async def test_a_pod_reaches_the_gateway_from_its_own_address(network: BridgeNetwork) -> None:
    await network.setup()
    with namespace() as pid:
        address = await network.attach("uid-1", pid=pid)
        assert address.ip == "10.244.213.2"
        code, output = await inside(pid, "ping", "-c1", "-W2", network.gateway_ip)
        assert code == 0, output
        assert "default via 10.244.213.1" in (await inside(pid, "ip", "route"))[1]
        assert "10.244.213.2/28" in (await inside(pid, "ip", "-o", "addr", "show", "eth0"))[1]
        assert "UP" in (await inside(pid, "ip", "-o", "link", "show", "lo"))[1]


async def test_setting_up_and_attaching_can_be_repeated(network: BridgeNetwork, settings: BridgeSettings) -> None:
    await network.setup()
    with namespace() as pid:
        first = await network.attach("uid-1", pid=pid)
        await network.setup()
        assert await network.attach("uid-1", pid=pid) == first
        assert (await inside(pid, "ping", "-c1", "-W2", network.gateway_ip))[0] == 0


async def test_a_pod_whose_sandbox_was_replaced_keeps_its_address(network: BridgeNetwork) -> None:
    await network.setup()
    with namespace() as old:
        first = await network.attach("uid-1", pid=old)
        with namespace() as new:
            assert await network.attach("uid-1", pid=new) == first
            assert (await inside(new, "ping", "-c1", "-W2", network.gateway_ip))[0] == 0
            assert "eth0" not in (await inside(old, "ip", "-o", "link"))[1]


async def test_the_bridge_lets_the_packet_filter_see_its_traffic_and_pods_reach_themselves(
    network: BridgeNetwork, settings: BridgeSettings
) -> None:
    await network.setup()
    with namespace() as pid:
        await network.attach("uid-1", pid=pid)
        bridge = Path("/sys/class/net") / network.bridge
        assert (bridge / "bridge/nf_call_iptables").read_text() == "1\n"
        assert (bridge / "brif" / settings.port("uid-1") / "hairpin_mode").read_text() == "1\n"
        assert Path(f"/proc/sys/net/ipv4/conf/{network.bridge}/route_localnet").read_text() == "1\n"
        assert Path("/proc/sys/net/ipv4/conf/all/route_localnet").read_text() == "0\n"


async def test_a_damaged_bridge_is_repaired(network: BridgeNetwork) -> None:
    await network.setup()
    with namespace() as pid:
        await network.attach("uid-1", pid=pid)
        for change in (["addr", "flush", "dev", network.bridge], ["link", "set", network.bridge, "down"]):
            ip(*change)
        await network.setup()
        assert (await inside(pid, "ping", "-c1", "-W2", network.gateway_ip))[0] == 0


async def test_adoption_keeps_what_runs_and_removes_the_rest(network: BridgeNetwork, settings: BridgeSettings) -> None:
    await network.setup()
    with namespace() as one, namespace() as two, namespace() as three:
        await network.attach("uid-1", pid=one)
        kept = await network.attach("uid-2", pid=two)
        restarted = BridgeNetwork(settings)
        await restarted.setup()
        await restarted.adopt({"uid-2": kept.ip})
        assert settings.port("uid-1") not in await names()
        assert (await inside(two, "ping", "-c1", "-W2", network.gateway_ip))[0] == 0
        assert (await restarted.attach("uid-3", pid=three)).ip != kept.ip


async def test_detaching_and_purging_leave_nothing(network: BridgeNetwork, settings: BridgeSettings) -> None:
    before = await names()
    await network.setup()
    with namespace() as pid:
        await network.attach("uid-1", pid=pid)
        await network.detach("uid-1")
        await network.detach("uid-1")
        assert settings.port("uid-1") not in await names()
        await network.attach("uid-1", pid=pid)
        await network.purge()
        await network.purge()
    assert {name for name in await names() if name.startswith(("rb-", settings.port_prefix))} <= before


async def test_the_hosts_own_namespace_and_dead_processes_are_refused(network: BridgeNetwork) -> None:
    await network.setup()
    with pytest.raises(EngineError):
        await network.attach("uid-1", pid=1)
    with namespace() as pid:
        pass
    with pytest.raises(EngineError):
        await network.attach("uid-1", pid=pid)


async def test_a_full_range_is_said_to_be_full(network: BridgeNetwork) -> None:
    await network.setup()
    with ExitStack() as stack:
        for number in range(13):
            await network.attach(f"uid-{number}", pid=stack.enter_context(namespace()))
        with pytest.raises(EngineError, match="in use"):
            await network.attach("one too many", pid=stack.enter_context(namespace()))


async def test_our_own_range_is_not_counted_as_taken(network: BridgeNetwork, settings: BridgeSettings) -> None:
    before = await ranges_in_use(settings)
    assert "127.0.0.0/8" in before
    await network.setup()
    assert CIDR not in await ranges_in_use(settings)
    assert CIDR in await ranges_in_use(BridgeSettings("rt-another", CIDR))
