"""Warm and cold sandboxes on a real Docker engine."""

from __future__ import annotations

import os

import pytest

from cluster.kubelet.runtime import namespaces
from cluster.kubelet.runtime.api import SandboxNeeds, State
from tests.real.runtime.conftest import Host

pytestmark = pytest.mark.needs("docker", "root", "busybox")
PLAIN = SandboxNeeds()


async def test_a_pod_in_a_warm_sandbox_sees_its_own_host_name_from_its_first_line(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    warm = [one.id for one in await host.engine.list()]
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    assert [sandbox.id] == warm
    for number in range(5):
        container_id = await host.run(pool, sandbox, f"hostname; echo $FROM_IMAGE {number}; pwd")
        assert await host.output(container_id) == f"web-0\nyes {number}\n/bin\n"
    assert namespaces.hostname_of(sandbox.pid) == "web-0"
    assert os.uname().nodename != "web-0"


async def test_a_pod_with_needs_starts_cold_with_the_same_view(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    needs = SandboxNeeds(sysctls={"net.ipv4.ip_unprivileged_port_start": "0"})
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=needs)
    script = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
    assert await host.output(await host.run(pool, sandbox, script)) == "web-0\n0\n"
    assert len(await host.engine.list()) == 3  # the warm one is still there


async def test_an_empty_pool_gives_a_cold_sandbox_and_grows(host: Host) -> None:
    pool = host.pool(warm_min=0, warm_max=1)
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    assert await host.output(await host.run(pool, sandbox, "hostname")) == "web-0\n"
    await pool.fill()
    assert sum("-warm-" in one.name for one in await host.engine.list()) == 1


async def test_a_host_network_pod_has_the_hosts_interfaces_and_name(host: Host) -> None:
    pool = host.pool()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="", needs=SandboxNeeds(host_network=True))
    name = os.uname().nodename
    output = await host.output(await host.run(pool, sandbox, "hostname; ip -o link", host_network=True))
    assert output.startswith(f"{name}\n")
    assert "docker0" in output


async def test_a_restarted_agent_adopts_warm_and_claimed_sandboxes(host: Host) -> None:
    before = host.pool(warm_min=2)
    await before.fill()
    sandbox = await before.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    after = host.pool(warm_min=2)
    assert await after.adopt() == [sandbox]
    assert await after.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN) == sandbox
    assert await host.output(await host.run(after, sandbox, "hostname")) == "web-0\n"
    await after.acquire("uid-2", "ns", "web2", hostname="web-1", needs=PLAIN)
    assert sum("-warm-" in one.name for one in await host.engine.list()) == 0


async def test_a_container_whose_agent_died_before_naming_it_is_named_at_adoption(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    named: list[int] = []
    host.engine._set_hostname = lambda pid, name: named.append(pid)
    container_id = await host.run(pool, sandbox, "hostname")
    assert named
    assert (await host.engine.inspect(container_id)).state is State.RUNNING
    await host.pool().adopt()
    assert await host.output(container_id) == "web-0\n"


async def test_a_dead_sandbox_is_replaced_under_a_new_attempt(host: Host) -> None:
    pool = host.pool(warm_min=0)
    first = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    await host.engine.stop(first.id, grace_s=0)
    second = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    assert second.id != first.id
    assert [one.id for one in await host.engine.list()] == [second.id]
    await pool.release("uid-1")
    await pool.release("uid-1")
    assert await host.engine.list() == []


async def test_a_dead_warm_sandbox_is_passed_over(host: Host) -> None:
    pool = host.pool(warm_min=2)
    await pool.fill()
    for one in await host.engine.list():
        await host.engine.stop(one.id, grace_s=0)
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    assert await host.output(await host.run(pool, sandbox, "hostname")) == "web-0\n"


async def test_containers_of_a_pod_share_network_and_ipc_and_not_files(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    script = "touch /dev/shm/mark; ip link set lo up; echo ready; exec sleep 60"
    first = await host.run(pool, sandbox, script, capabilities_add=("NET_ADMIN",))
    async for chunk in host.streams.logs(first, follow=True, since=None, tail_lines=None, timestamps=False):
        assert chunk.data == b"ready\n"
        break
    assert "LOOPBACK,UP" in await host.output(await host.run(pool, sandbox, "ip -o link"))
    assert await host.output(await host.run(pool, sandbox, "cat /dev/shm/mark && echo shared")) == "shared\n"


async def test_a_command_that_does_not_exist_ends_with_127_and_says_so(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    container_id = await host.run(pool, sandbox, "exec /no/such")
    assert "not found" in await host.output(container_id)
    assert (await host.engine.inspect(container_id)).exit_code == 127


async def test_purge_leaves_nothing(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    await pool.purge()
    assert await host.engine.list() == []
    assert list(host.directory.iterdir()) == []


async def test_a_container_that_shares_our_own_name_space_is_never_renamed() -> None:
    with pytest.raises(PermissionError):
        namespaces.set_hostname(os.getpid(), "stolen")


async def test_the_sandbox_reaps_the_orphans_of_a_shared_pid_namespace(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    script = "(sh -c 'sleep 0.1 & exit' &); echo made"
    first = await host.run(pool, sandbox, script, share_pid_with=sandbox.id)
    assert await host.output(first) == "made\n"
    # an orphan that nobody reaped would be a zombie, state Z, of process 1
    count = "sleep 0.5; cat /proc/[0-9]*/stat"
    output = await host.output(await host.run(pool, sandbox, count, share_pid_with=sandbox.id))
    assert "1 (sandbox) S 0" in output
    assert " Z " not in output


async def test_a_container_without_rights_starts_through_the_program_too(host: Host) -> None:
    pool = host.pool(warm_min=1)
    await pool.fill()
    sandbox = await pool.acquire("uid-1", "ns", "web", hostname="web-0", needs=PLAIN)
    container_id = await host.run(
        pool,
        sandbox,
        "hostname; touch /x",
        user="1000:1000",
        read_only_root=True,
        no_new_privileges=True,
        capabilities_drop=("ALL",),
    )
    output = await host.output(container_id)
    assert "web-0\n" in output
    assert "Read-only file system" in output
