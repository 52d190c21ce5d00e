"""What every Transport promises, whatever carries it.  A subclass gives `transport`, whose identity may do everything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.client.transport import (
    DeleteOptions,
    EventType,
    Patch,
    PatchType,
    Query,
    Transport,
    WatchEvent,
    WriteOptions,
    list_all,
)
from cluster.machinery.errors import AlreadyExists, Conflict, Invalid, NotFound
from cluster.machinery.objects import Key, name_of, resource_version_of, uid_of, with_field
from cluster.resources.builtin import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, PODS, SERVICES


def config_map(name: str, namespace: str = "default", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }


def labelled(name: str, **labels: str) -> dict[str, Any]:
    return with_field(config_map(name), ("metadata", "labels"), labels)


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def deployment(name: str, *, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }


def service(name: str, **spec: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}], **spec},
    }


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
        assert names == ["kube-root-ca.crt", *(f"m{index}" for index in range(7))]

    async def test_all_pages_are_read(self, transport: Transport) -> None:
        for index in range(5):
            await transport.create(CONFIG_MAPS, config_map(f"m{index}"))
        whole = await list_all(transport, CONFIG_MAPS, Query("default"), page_size=2)
        assert [name_of(obj) for obj in whole.items] == ["kube-root-ca.crt", *(f"m{index}" for index in range(5))]

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
        await transport.create(PODS, pod("p"))
        await transport.delete(PODS, Key("default", "p"))
        with pytest.raises(NotFound):
            await transport.get(PODS, Key("default", "p"))

    async def test_a_namespace_waits_for_its_content_to_be_finalized(self, transport: Transport) -> None:
        await transport.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        await transport.delete(NAMESPACES, Key("", "team"))
        deleting = await transport.get(NAMESPACES, Key("", "team"))
        assert deleting["status"]["phase"] == "Terminating"

    async def test_a_merge_patch_changes_what_it_names(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a", x="1", y="2"))
        patched = await transport.patch(
            CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, {"data": {"x": "3", "y": None}})
        )
        assert patched["data"] == {"x": "3"}

    async def test_a_patch_that_names_an_old_version_conflicts(self, transport: Transport) -> None:
        created = await transport.create(CONFIG_MAPS, config_map("a"))
        await transport.patch(CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, {"data": {"x": "1"}}))
        named = {"metadata": {"resourceVersion": resource_version_of(created)}, "data": {"x": "2"}}
        with pytest.raises(Conflict):
            await transport.patch(CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, named))

    async def test_concurrent_patches_all_succeed(self, transport: Transport) -> None:
        await transport.create(CONFIG_MAPS, config_map("a"))
        patches = [Patch(PatchType.MERGE, {"data": {f"k{index}": "v"}}) for index in range(8)]
        await asyncio.gather(*(transport.patch(CONFIG_MAPS, Key("default", "a"), patch) for patch in patches))
        read = await transport.get(CONFIG_MAPS, Key("default", "a"))
        assert len(read["data"]) == 8

    async def test_a_json_patch_and_a_strategic_merge(self, transport: Transport) -> None:
        await transport.create(PODS, pod("p"))
        operations = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
        patched = await transport.patch(PODS, Key("default", "p"), Patch(PatchType.JSON, operations))
        assert patched["metadata"]["labels"] == {"a": "b"}
        image = {"spec": {"containers": [{"name": "c", "image": "other"}]}}
        patched = await transport.patch(PODS, Key("default", "p"), Patch(PatchType.STRATEGIC, image))
        assert [(c["name"], c["image"]) for c in patched["spec"]["containers"]] == [("c", "other")]

    async def test_apply_creates_then_changes_nothing_then_conflicts(self, transport: Transport) -> None:
        key = Key("default", "a")
        mine = Patch(PatchType.APPLY, config_map("a", x="1"))
        created = await transport.patch(CONFIG_MAPS, key, mine, options=WriteOptions(field_manager="mine"))
        again = await transport.patch(CONFIG_MAPS, key, mine, options=WriteOptions(field_manager="mine"))
        assert resource_version_of(again) == resource_version_of(created)
        other = Patch(PatchType.APPLY, config_map("a", x="2"))
        with pytest.raises(Conflict, match='conflict with "mine"'):
            await transport.patch(CONFIG_MAPS, key, other, options=WriteOptions(field_manager="other"))
        forced = Patch(PatchType.APPLY, config_map("a", x="2"), force=True)
        taken = await transport.patch(CONFIG_MAPS, key, forced, options=WriteOptions(field_manager="other"))
        assert taken["data"] == {"x": "2"}

    async def test_status_and_spec_are_written_apart(self, transport: Transport) -> None:
        created = await transport.create(DEPLOYMENTS, deployment("d", replicas=2))
        sent = {**with_field(created, ("spec", "replicas"), 5), "status": {"replicas": 1}}
        after_status = await transport.update(DEPLOYMENTS, sent, subresource="status")
        assert (after_status["spec"]["replicas"], after_status["status"]) == (2, {"replicas": 1})
        sent = with_field(with_field(after_status, ("spec", "replicas"), 3), ("status",), {})
        after_spec = await transport.update(DEPLOYMENTS, sent)
        assert (after_spec["spec"]["replicas"], after_spec["status"]) == (3, {"replicas": 1})
        assert after_spec["metadata"]["generation"] == created["metadata"]["generation"] + 1

    async def test_a_scale_is_read_and_written(self, transport: Transport) -> None:
        await transport.create(DEPLOYMENTS, deployment("d", replicas=2))
        scale = await transport.get(DEPLOYMENTS, Key("default", "d"), subresource="scale")
        assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 2, "app=d")
        patch = Patch(PatchType.MERGE, {"spec": {"replicas": 4}})
        patched = await transport.patch(DEPLOYMENTS, Key("default", "d"), patch, subresource="scale")
        assert patched["spec"]["replicas"] == 4
        assert (await transport.get(DEPLOYMENTS, Key("default", "d")))["spec"]["replicas"] == 4

    async def test_a_pod_is_bound_once(self, transport: Transport) -> None:
        await transport.create(PODS, pod("p"))
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": "p", "namespace": "default"},
            "target": {"kind": "Node", "name": "n1"},
        }
        await transport.create(PODS, binding, name="p", subresource="binding")
        bound = await transport.get(PODS, Key("default", "p"))
        assert bound["spec"]["nodeName"] == "n1"
        with pytest.raises(Conflict, match="already assigned"):
            await transport.create(PODS, binding, name="p", subresource="binding")

    async def test_a_bound_pod_is_deleted_when_its_node_says_so(self, transport: Transport) -> None:
        await transport.create(PODS, with_field(pod("p"), ("spec", "nodeName"), "n1"))
        await transport.delete(PODS, Key("default", "p"))
        deleting = await transport.get(PODS, Key("default", "p"))
        assert deleting["metadata"]["deletionGracePeriodSeconds"] == 30
        await transport.delete(PODS, Key("default", "p"), DeleteOptions(grace_period_s=0))
        with pytest.raises(NotFound):
            await transport.get(PODS, Key("default", "p"))

    async def test_a_service_gets_an_address_and_gives_it_back(self, transport: Transport) -> None:
        first = await transport.create(SERVICES, service("a", clusterIP="10.96.5.5"))
        assert first["spec"]["clusterIPs"] == ["10.96.5.5"]
        with pytest.raises(Invalid, match="provided IP is already allocated"):
            await transport.create(SERVICES, service("b", clusterIP="10.96.5.5"))
        await transport.delete(SERVICES, Key("default", "a"))
        await transport.create(SERVICES, service("b", clusterIP="10.96.5.5"))
        drawn = await transport.create(SERVICES, service("c", type="NodePort"))
        assert drawn["spec"]["clusterIP"].startswith("10.96.")
        assert 30000 <= drawn["spec"]["ports"][0]["nodePort"] <= 32767

    async def test_health_is_told_to_anyone(self, transport: Transport) -> None:
        assert (await transport.raw("GET", "/readyz")).body == b"ok"
