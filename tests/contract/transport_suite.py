"""What every Transport promises, whatever carries it.  A subclass gives `transport`, whose identity may do everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.client.transport import (
    DeleteOptions,
    EventType,
    Query,
    Transport,
    WatchEvent,
    WriteOptions,
    list_all,
)
from cluster.machinery.errors import AlreadyExists, Conflict, Expired, Invalid, NotFound
from cluster.machinery.objects import Key, name_of, resource_version_of, uid_of, with_field
from cluster.resources.builtin import CONFIG_MAPS, NAMESPACES, PODS


def config_map(name: str, namespace: str = "default", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def labelled(name: str, **labels: str) -> dict[str, Any]:
    return with_field(config_map(name), ("metadata", "labels"), labels)


async def take(transport: Transport, query: Query, count: int) -> list[WatchEvent]:
    """The next `count` events that are no bookmarks."""
    events: list[WatchEvent] = []
    stream = transport.watch(CONFIG_MAPS, query)
    async with asyncio.timeout(10):
        async for event in stream:
            if event.type is not EventType.BOOKMARK:
                events.append(event)
            if len(events) == count:
                break
    await stream.aclose()  # type: ignore[attr-defined]
    return events


class TransportSuite:
    async def test_what_is_created_is_read(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a", x="1"))
        read = await transport.get(CONFIG_MAPS, Key("default", "a"))
        assert read == created
        assert read["data"] == {"x": "1"}
        assert uid_of(read) and resource_version_of(read)
        assert read["metadata"]["creationTimestamp"]

    async def test_an_absent_object_is_not_found(self, transport: Transport) -> None:
        with pytest.raises(NotFound, match='configmaps "nope" not found'):
            await transport.get(CONFIG_MAPS, Key("default", "nope"))

    async def test_a_name_is_taken_once(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a"))
        with pytest.raises(AlreadyExists):
            await transport.create(CONFIG_MAPS, config_map("a"))

    async def test_a_name_is_generated_from_its_beginning(self, transport: Transport) -> None:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "job-", "namespace": "default"}}
        first = await transport.create(CONFIG_MAPS, obj)
        second = await transport.create(CONFIG_MAPS, obj)
        assert name_of(first).startswith("job-") and len(name_of(first)) == 9
        assert name_of(first) != name_of(second)

    async def test_nothing_is_created_in_an_absent_namespace(self, transport: Transport) -> None:
        with pytest.raises(NotFound, match='namespaces "elsewhere" not found'):
            await transport.create(CONFIG_MAPS, config_map("a", "elsewhere"))

    async def test_a_bad_name_is_invalid(self, transport: Transport) -> None:
        with pytest.raises(Invalid, match=r"metadata\.name"):
            await transport.create(CONFIG_MAPS, config_map("Not_A_Name"))

    async def test_an_update_replaces_and_raises_the_version(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a", x="1"))
        updated = await transport.update(CONFIG_MAPS, with_field(created, ("data",), {"x": "2"}))
        assert updated["data"] == {"x": "2"}
        assert int(resource_version_of(updated)) > int(resource_version_of(created))
        assert uid_of(updated) == uid_of(created)

    async def test_an_update_of_an_old_version_conflicts(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a", x="1"))
        await transport.update(CONFIG_MAPS, with_field(created, ("data",), {"x": "2"}))
        with pytest.raises(Conflict, match="the object has been modified"):
            await transport.update(CONFIG_MAPS, with_field(created, ("data",), {"x": "3"}))

    async def test_an_update_that_changes_nothing_writes_nothing(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a", x="1"))
        assert await transport.update(CONFIG_MAPS, created) == created

    async def test_a_dry_run_writes_nothing(self, transport: Transport) -> None:
        answer = await transport.create(CONFIG_MAPS, config_map("a"), options=WriteOptions(dry_run=True))
        assert name_of(answer) == "a"
        with pytest.raises(NotFound):
            await transport.get(CONFIG_MAPS, Key("default", "a"))

    async def test_what_is_deleted_is_gone(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a"))
        await transport.delete(CONFIG_MAPS, Key("default", "a"))
        with pytest.raises(NotFound):
            await transport.get(CONFIG_MAPS, Key("default", "a"))

    async def test_a_deletion_of_another_incarnation_conflicts(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a"))
        with pytest.raises(Conflict, match="UID in precondition"):
            await transport.delete(CONFIG_MAPS, Key("default", "a"), DeleteOptions(uid="other"))

    async def test_a_finalizer_holds_a_deletion_until_it_is_removed(self, transport: Transport) -> None:
        held = with_field(config_map("a"), ("metadata", "finalizers"), ["example.com/hold"])
        await transport.create(CONFIG_MAPS, held)
        await transport.delete(CONFIG_MAPS, Key("default", "a"))
        deleting = await transport.get(CONFIG_MAPS, Key("default", "a"))
        assert deleting["metadata"]["deletionTimestamp"]
        await transport.update(CONFIG_MAPS, with_field(deleting, ("metadata", "finalizers"), []))
        with pytest.raises(NotFound):
            await transport.get(CONFIG_MAPS, Key("default", "a"))

    async def test_a_list_has_what_its_selector_matches(self, transport: Transport) -> None:
        for name, team in (("a", "red"), ("b", "blue"), ("c", "red")):
            await transport.create(CONFIG_MAPS, labelled(name, team=team))
        found = await transport.list(CONFIG_MAPS, Query("default", label_selector="team=red"))
        assert [name_of(obj) for obj in found.items] == ["a", "c"]
        named = await transport.list(CONFIG_MAPS, Query("default", field_selector="metadata.name=b"))
        assert [name_of(obj) for obj in named.items] == ["b"]

    async def test_pages_are_one_consistent_list(self, transport: Transport) -> None:
        for index in range(7):
            await transport.create(CONFIG_MAPS, config_map(f"m{index}"))
        first = await transport.list(CONFIG_MAPS, Query("default", limit=3))
        await transport.create(CONFIG_MAPS, config_map("m55"))
        await transport.delete(CONFIG_MAPS, Key("default", "m6"))
        names = [name_of(obj) for obj in first.items]
        token = first.continue_token
        while token:
            page = await transport.list(CONFIG_MAPS, Query("default", limit=3, continue_token=token))
            names += [name_of(obj) for obj in page.items]
            assert page.resource_version == first.resource_version
            token = page.continue_token
        assert names == [f"m{index}" for index in range(7)]

    async def test_all_pages_are_read(self, transport: Transport) -> None:
        for index in range(5):
            await transport.create(CONFIG_MAPS, config_map(f"m{index}"))
        whole = await list_all(transport, CONFIG_MAPS, Query("default"), page_size=2)
        assert [name_of(obj) for obj in whole.items] == [f"m{index}" for index in range(5)]

    async def test_a_watch_tells_what_happened_after_its_version(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a", x="1"))
        updated = await transport.update(CONFIG_MAPS, with_field(created, ("data",), {"x": "2"}))
        await transport.delete(CONFIG_MAPS, Key("default", "a"))
        events = await take(transport, Query("default", resource_version=resource_version_of(created)), 2)
        assert [event.type for event in events] == [EventType.MODIFIED, EventType.DELETED]
        assert events[0].object == updated
        assert int(resource_version_of(events[1].object)) > int(resource_version_of(updated))

    async def test_a_watch_without_version_begins_with_what_is_there(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a"))
        await transport.create(CONFIG_MAPS, config_map("b"))
        events = await take(transport, Query("default"), 2)
        assert [(event.type, name_of(event.object)) for event in events] == [
            (EventType.ADDED, "a"),
            (EventType.ADDED, "b"),
        ]

    async def test_a_watch_hears_of_a_write_that_comes_later(self, transport: Transport) -> None:
        listed = await transport.list(CONFIG_MAPS, Query("default"))
        waiting = asyncio.create_task(take(transport, Query("default", resource_version=listed.resource_version), 1))
        await transport.create(CONFIG_MAPS, config_map("late"))
        assert [name_of(event.object) for event in await waiting] == ["late"]

    async def test_leaving_a_selection_is_a_deletion_and_entering_it_an_addition(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, labelled("a", team="red"))
        left = await transport.update(CONFIG_MAPS, with_field(created, ("metadata", "labels"), {"team": "blue"}))
        await transport.update(CONFIG_MAPS, with_field(left, ("metadata", "labels"), {"team": "red"}))
        query = Query("default", label_selector="team=red", resource_version=resource_version_of(created))
        events = await take(transport, query, 2)
        assert [event.type for event in events] == [EventType.DELETED, EventType.ADDED]
        assert resource_version_of(events[0].object) == resource_version_of(left)
        assert events[0].object["metadata"]["labels"] == {"team": "red"}

    async def test_a_pod_bound_to_no_node_is_deleted_at_once(self, transport: Transport) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        await transport.create(PODS, pod)
        await transport.delete(PODS, Key("default", "p"))
        with pytest.raises(NotFound):
            await transport.get(PODS, Key("default", "p"))

    async def test_a_namespace_waits_for_its_content_to_be_finalized(self, transport: Transport) -> None:
        await transport.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await transport.delete(NAMESPACES, Key("", "team"))
        deleting = await transport.get(NAMESPACES, Key("", "team"))
        assert deleting["status"]["phase"] == "Terminating"

    async def test_a_forgotten_version_is_expired(self, transport: Transport) -> None:
        with pytest.raises(Expired):
            await take(transport, Query("default", resource_version="1"), 1)
