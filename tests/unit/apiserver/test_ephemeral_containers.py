"""Containers added to a pod for debugging: added only, checked like others, and no obstacle to later changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.client.transport import Patch, PatchType, Transport, WriteOptions
from cluster.machinery.errors import Invalid
from cluster.machinery.objects import Key
from cluster.resources.builtin import PODS
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import pod

KEY = Key("default", "p")


@pytest.fixture
async def admin() -> AsyncIterator[Transport]:
    async with running() as server:
        transport = server.transport(ADMIN)
        await transport.create(PODS, pod("p"))
        yield transport


async def debug(admin: Transport, **container: Any) -> Any:
    body = {"spec": {"ephemeralContainers": [{"name": "d", "image": "debug", **container}]}}
    return await admin.patch(
        PODS, KEY, Patch(PatchType.STRATEGIC, body), subresource="ephemeralcontainers", options=WriteOptions()
    )


async def test_an_added_container_has_its_defaults(admin: Transport) -> None:
    made = await debug(admin)
    (container,) = made["spec"]["ephemeralContainers"]
    assert container["terminationMessagePolicy"] == "File"
    assert made["metadata"]["generation"] == 2


async def test_a_pod_that_was_debugged_can_still_be_changed(admin: Transport) -> None:
    await debug(admin)
    labelled = await admin.patch(PODS, KEY, Patch(PatchType.MERGE, {"metadata": {"labels": {"a": "b"}}}))
    assert labelled["metadata"]["labels"] == {"a": "b"}


async def test_an_added_container_is_checked_and_stays_as_it_is(admin: Transport) -> None:
    with pytest.raises(Invalid, match=r"ephemeralContainers\[0\]\.image"):
        await debug(admin, image="")
    with pytest.raises(Invalid, match="cannot be set for an Ephemeral Container"):
        await debug(admin, ports=[{"containerPort": 80}])
    await debug(admin)
    with pytest.raises(Invalid, match="may not be changed"):
        await debug(admin, image="other")
    with pytest.raises(Invalid, match="may only be changed through"):
        await admin.patch(PODS, KEY, Patch(PatchType.MERGE, {"spec": {"ephemeralContainers": []}}))
