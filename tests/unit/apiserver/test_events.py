"""Events go by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.apiserver.event_leases import EVENT_TTL_S, SHARED_FOR_S
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS, EVENTS, EVENTS_V1
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import config_map


def event(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Started",
        "type": "Normal",
    }


async def test_an_event_is_read_in_either_group_and_forgotten_after_an_hour() -> None:
    clock = SteppedClock()
    async with running(MemoryStore(clock), clock) as server:
        admin = server.transport(ADMIN)
        await admin.create(EVENTS, event("e"))
        await admin.create(CONFIG_MAPS, config_map("stays"))
        assert (await admin.get(EVENTS_V1, Key("default", "e")))["regarding"]["name"] == "p"
        await clock.step(EVENT_TTL_S)
        await admin.get(EVENTS, Key("default", "e"))
        await clock.step(SHARED_FOR_S + 1)
        with pytest.raises(NotFound):
            await admin.get(EVENTS, Key("default", "e"))
        await admin.get(CONFIG_MAPS, Key("default", "stays"))
