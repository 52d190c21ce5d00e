"""Node ports: ours among Services, and never taken from another program of the host."""

from __future__ import annotations

import pytest

from cluster.machinery.errors import Invalid
from cluster.resources.builtin import SERVICES
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import service


@pytest.fixture
async def transport():
    async with running(port_in_use=lambda port: port == 30999) as server:
        yield server.transport(ADMIN)


def with_node_port(name: str, number: int):
    made = service(name, type="NodePort")
    made["spec"]["ports"][0]["nodePort"] = number
    return made


async def test_a_port_that_another_program_listens_on_is_refused_by_name(transport):
    with pytest.raises(Invalid, match=r"spec\.ports\[0\]\.nodePort: Invalid value: 30999: another program"):
        await transport.create(SERVICES, with_node_port("a", 30999))


async def test_a_service_that_has_a_port_keeps_it_whoever_listens_later(transport):
    made = await transport.create(SERVICES, with_node_port("a", 30998))
    changed = {**made, "metadata": {**made["metadata"], "labels": {"x": "y"}}}
    assert (await transport.update(SERVICES, changed))["spec"]["ports"][0]["nodePort"] == 30998
    with pytest.raises(Invalid, match="already allocated"):
        await transport.create(SERVICES, with_node_port("b", 30998))
