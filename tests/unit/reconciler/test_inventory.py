"""The inventory: chunked, written before what it names, surviving restarts and foreign hands."""

from __future__ import annotations

from typing import Any

from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS
from reconciler.apply.inventory import Inventory
from reconciler.crds.inventory import ENTRIES_MAX, INVENTORIES, INVENTORY_CRD
from reconciler.model import Owned, Ref
from tests.unit.reconciler.fake_api import FakeApi

APPLICATION: Obj = {
    "apiVersion": "gitops.reconciler.io/v1",
    "kind": "Application",
    "metadata": {"name": "web", "namespace": "default", "uid": "u"},
}


def entry(number: int, **fields: Any) -> Owned:
    return Owned(Ref("", "ConfigMap", "default", f"c{number:05}"), "v1", **fields)


def api() -> FakeApi:
    made = FakeApi()
    made.put(CUSTOM_RESOURCE_DEFINITIONS, INVENTORY_CRD)
    return made


def reopened(server: FakeApi) -> Inventory:
    return Inventory(server.as_user("operator"), APPLICATION, server.list(INVENTORIES))


async def test_what_was_recorded_is_there_after_a_restart() -> None:
    server = api()
    inventory = reopened(server)
    await inventory.record([entry(1), entry(2, uid="x", digest="d", projection="p")])
    await inventory.record([entry(1, uid="y")], forgotten=[entry(2).ref])
    assert dict(reopened(server).entries) == {entry(1).ref: entry(1, uid="y")}


async def test_many_entries_are_spread_and_a_change_writes_one_chunk() -> None:
    server = api()
    inventory = reopened(server)
    await inventory.record([entry(number) for number in range(ENTRIES_MAX * 2 + 1)])
    assert [len(chunk["entries"]) for chunk in server.list(INVENTORIES)] == [ENTRIES_MAX, ENTRIES_MAX, 1]
    before = len(server.requests)
    await inventory.record([entry(3, uid="x")])
    assert [request[1] for request in server.requests[before:]] == ["update"]


async def test_freed_places_are_used_again() -> None:
    server = api()
    inventory = reopened(server)
    await inventory.record([entry(number) for number in range(ENTRIES_MAX + 1)])
    await inventory.record([], forgotten=[entry(number).ref for number in range(10)])
    await inventory.record([entry(9000 + number) for number in range(10)])
    assert [len(chunk["entries"]) for chunk in server.list(INVENTORIES)] == [ENTRIES_MAX, 1]


async def test_nothing_new_writes_nothing() -> None:
    server = api()
    inventory = reopened(server)
    await inventory.record([entry(1)])
    before = len(server.requests)
    await inventory.record([entry(1)], forgotten=[entry(7).ref])
    assert len(server.requests) == before


async def test_a_label_that_somebody_added_does_not_stop_the_next_write() -> None:
    server = api()
    inventory = reopened(server)
    await inventory.record([entry(1)])
    chunk = dict(server.get(INVENTORIES, Key("default", "web-0")) or {})
    server.put(INVENTORIES, {**chunk, "metadata": {**chunk["metadata"], "labels": {"a": "b"}}})
    await inventory.record([entry(2)])
    assert set(reopened(server).entries) == {entry(1).ref, entry(2).ref}
    assert (server.get(INVENTORIES, Key("default", "web-0")) or {})["metadata"]["labels"] == {"a": "b"}


async def test_chunks_of_an_application_with_a_longer_name_are_not_ours() -> None:
    server = api()
    other = {**APPLICATION, "metadata": {**APPLICATION["metadata"], "name": "web-0"}}
    await Inventory(server.as_user("operator"), other, []).record([entry(1)])
    assert not reopened(server).entries
