"""Numbers that Services draw: kept, given back, never handed out twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import Invalid
from cluster.machinery.objects import Key
from cluster.resources.builtin import SERVICES
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import service


@pytest.fixture
async def admin() -> AsyncIterator[Transport]:
    async with running() as server:
        yield server.transport(ADMIN)


def node_ports(obj: Any) -> list[int]:
    return [port["nodePort"] for port in obj["spec"]["ports"] if "nodePort" in port]


async def test_concurrent_services_never_share_a_number(admin: Transport) -> None:
    made = await asyncio.gather(*(admin.create(SERVICES, service(f"s{index}", type="NodePort")) for index in range(40)))
    assert len({obj["spec"]["clusterIP"] for obj in made}) == 40
    assert len({port for obj in made for port in node_ports(obj)}) == 40


async def test_a_service_keeps_its_numbers_when_it_changes(admin: Transport) -> None:
    made = await admin.create(SERVICES, service("a", type="NodePort"))
    patch = Patch(PatchType.MERGE, {"spec": {"selector": {"app": "other"}}})
    patched = await admin.patch(SERVICES, Key("default", "a"), patch)
    assert patched["spec"]["clusterIP"] == made["spec"]["clusterIP"]
    assert node_ports(patched) == node_ports(made)


async def test_a_service_that_needs_no_node_ports_any_more_gives_them_back(admin: Transport) -> None:
    made = await admin.create(SERVICES, service("a", type="NodePort"))
    (port,) = node_ports(made)
    patched = await admin.patch(
        SERVICES, Key("default", "a"), Patch(PatchType.STRATEGIC, {"spec": {"type": "ClusterIP"}})
    )
    assert node_ports(patched) == []
    taken = {**service("b", type="NodePort")}
    taken["spec"] = {**taken["spec"], "ports": [{"port": 80, "nodePort": port}]}
    assert node_ports(await admin.create(SERVICES, taken)) == [port]


async def test_a_headless_service_draws_nothing(admin: Transport) -> None:
    assert (await admin.create(SERVICES, service("a", clusterIP="None")))["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("address", ["10.97.0.1", "nonsense"])
async def test_an_address_outside_the_pool_is_refused(admin: Transport, address: str) -> None:
    with pytest.raises(Invalid):
        await admin.create(SERVICES, service("a", clusterIP=address))


async def test_a_port_outside_the_pool_is_refused(admin: Transport) -> None:
    wanted = service("a", type="NodePort")
    wanted["spec"]["ports"] = [{"port": 80, "nodePort": 80}]
    with pytest.raises(Invalid, match="30000-32767"):
        await admin.create(SERVICES, wanted)


async def test_what_is_in_use_is_known_after_a_restart() -> None:
    store = MemoryStore(SteppedClock())
    async with running(store) as server:
        await server.transport(ADMIN).create(SERVICES, service("a", clusterIP="10.96.7.7"))
    async with running(store) as again:
        with pytest.raises(Invalid, match="already allocated"):
            await again.transport(ADMIN).create(SERVICES, service("b", clusterIP="10.96.7.7"))
