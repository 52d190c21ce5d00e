"""Watches and lists as the wire has them: frames, tables, bookmarks, what is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, ByteSource, Reply
from cluster.client.cache import Change
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.objects import Key, name_of, with_field
from cluster.machinery.selectors import parse_selector
from cluster.resources.builtin import CONFIG_MAPS, PODS, REPLICA_SETS
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import config_map, labelled, pod

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(SteppedClock())


@pytest.fixture
async def server(store: MemoryStore) -> AsyncIterator[ApiServer]:
    async with running(store, ring_events_max=8) as server:
        yield server


@pytest.fixture
def admin(server: ApiServer) -> Transport:
    return server.transport(ADMIN)


async def ask(server: ApiServer, path: str, accept: str = "", **query: str) -> Reply:
    parameters = {name.replace("continue_", "continue"): [value] for name, value in query.items()}
    return await server(ApiRequest("GET", path, ADMIN, parameters, {"accept": accept} if accept else {}))


async def watching(server: ApiServer, path: str = MAPS, accept: str = "", **query: str) -> ByteSource:
    reply = await ask(server, path, accept, watch="true", **query)
    assert reply.stream is not None, reply.body
    return reply.stream


async def frames(source: ByteSource, count: int) -> list[Any]:
    """The next `count` frames; fewer when the stream ends."""
    ready = asyncio.Event()
    source.on_ready(ready.set)
    found: list[Any] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            ready.clear()
            data = source.take()
            if data is None:
                break
            found += [orjson.loads(line) for line in data.splitlines()]
            if not data:
                await ready.wait()
    return found


async def test_a_version_that_the_ring_forgot_is_an_error_in_the_stream(server: ApiServer, admin: Transport) -> None:
    created = await admin.create(CONFIG_MAPS, config_map("a"))
    for index in range(10):
        await admin.patch(CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, {"data": {"n": str(index)}}))
    stream = await watching(server, resourceVersion=created["metadata"]["resourceVersion"])
    (event,) = await frames(stream, 2)
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_a_watcher_that_does_not_read_is_told_that_it_is_too_late(server: ApiServer, admin: Transport) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    stream = await watching(server, fieldSelector="metadata.name=a")
    assert [event["type"] for event in await frames(stream, 1)] == ["ADDED"]
    for index in range(20):
        await admin.patch(CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, {"data": {"n": str(index)}}))
    assert [event["type"] for event in await frames(stream, 2)] == ["ERROR"]


async def test_initial_events_end_with_a_marked_bookmark(server: ApiServer, admin: Transport) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    parameters = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    events = await frames(await watching(server, **parameters), 3)
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[2]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (await ask(server, MAPS, watch="true", sendInitialEvents="true")).status == 422


async def test_a_watch_ends_when_its_time_is_up_with_a_bookmark(server: ApiServer) -> None:
    stream = await watching(server, resourceVersion="", timeoutSeconds="1", allowWatchBookmarks="true")
    events = await frames(stream, 99)
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert int(events[1]["object"]["metadata"]["resourceVersion"]) > 0


async def test_a_table_watch_carries_its_columns_once(server: ApiServer, admin: Transport) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    first, second = await frames(await watching(server, accept=TABLE), 2)
    assert [column["name"] for column in first["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["object"]["columnDefinitions"] is None
    assert len(second["object"]["rows"]) == 1


async def test_frames_are_shared_by_watchers_of_one_form(server: ApiServer, admin: Transport) -> None:
    streams = [await watching(server, resourceVersion=str(server.state.revision)) for _ in range(2)]
    await admin.create(CONFIG_MAPS, config_map("a"))
    first, second = (stream.take() for stream in streams)
    assert first is second and first is not None and b'"ADDED"' in first


async def test_a_list_can_be_a_table_or_metadata(server: ApiServer, admin: Transport) -> None:
    await admin.create(CONFIG_MAPS, labelled("a", team="red"))
    table = orjson.loads((await ask(server, MAPS, TABLE, labelSelector="team=red")).body or b"")
    assert (table["kind"], table["rows"][0]["cells"][0]) == ("Table", "a")
    metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    partial = orjson.loads((await ask(server, MAPS, metadata, labelSelector="team=red")).body or b"")
    assert (partial["kind"], partial["items"][0]["kind"]) == ("PartialObjectMetadataList", "PartialObjectMetadata")
    assert "data" not in partial["items"][0]
    assert (await ask(server, MAPS, "text/html")).status == 406


async def test_an_expired_page_offers_a_token_to_go_on_with(
    server: ApiServer, admin: Transport, store: MemoryStore
) -> None:
    for index in range(4):
        await admin.create(CONFIG_MAPS, config_map(f"m{index}"))
    page = orjson.loads((await ask(server, MAPS, limit="2")).body or b"")
    assert page["metadata"]["remainingItemCount"] == 3
    await admin.delete(CONFIG_MAPS, Key("default", "m3"))
    await store.compact(store.revision)
    reply = await ask(server, MAPS, limit="2", continue_=page["metadata"]["continue"])
    status = orjson.loads(reply.body or b"")
    assert (reply.status, status["reason"]) == (410, "Expired")
    rest = orjson.loads((await ask(server, MAPS, continue_=status["metadata"]["continue"])).body or b"")
    assert [item["metadata"]["name"] for item in rest["items"]] == ["m1", "m2"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"fieldSelector": "spec.nope=1"}, 400),
        ({"labelSelector": "=="}, 400),
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersion": "x"}, 400),
        ({"continue_": "garbage"}, 400),
        ({"limit": "-1"}, 400),
        ({"limit": "²"}, 400),
        ({"resourceVersion": "9" * 5000}, 400),
        ({"watch": "1", "timeoutSeconds": "nan"}, 400),
        ({"watch": "1", "timeoutSeconds": "inf"}, 400),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(server: ApiServer, query: dict[str, str], code: int) -> None:
    assert (await ask(server, MAPS, **query)).status == code


async def test_the_view_is_indexed_and_tells_of_changes(server: ApiServer, admin: Transport) -> None:
    cache = server.cache()
    seen: list[Change] = []
    stop = cache.subscribe(PODS, seen.append)
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": "r", "namespace": "default", "uid": "u"},
    }
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
    owned = with_field(labelled("p", app="x"), ("metadata", "ownerReferences"), [reference])
    made = {**pod("p"), "metadata": owned["metadata"]}
    await admin.create(PODS, with_field(made, ("spec", "nodeName"), "n1"))
    assert [name_of(obj) for obj in cache.on_node("n1", PODS)] == ["p"]
    assert [name_of(obj) for obj in cache.owned_by(owner, PODS)] == ["p"]
    assert [name_of(obj) for obj in cache.list(PODS, selector=parse_selector("app=x"))] == ["p"]
    assert cache.list(PODS, namespace="kube-system") == []
    assert cache.get(REPLICA_SETS, Key("default", "r")) is None
    await admin.delete(PODS, Key("default", "p"))
    stop()
    assert (seen[0].old is None, seen[0].new is None) == (True, False)
    assert seen[-1].new is not None and seen[-1].new["metadata"]["deletionTimestamp"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}', 'duplicate field "data.x"'),
        (b'{"metadata":{"name":"a"},"dato":{}}', 'unknown field "dato"'),
    ],
)
async def test_a_strict_write_refuses_what_a_lenient_one_warns_of(server: ApiServer, body: bytes, problem: str) -> None:
    strict = ApiRequest("POST", MAPS, ADMIN, {"fieldValidation": ["Strict"]}, {}, body)
    refused = await server(strict)
    assert refused.status == 400 and problem in orjson.loads(refused.body or b"")["message"]
    warned = await server(ApiRequest("POST", MAPS, ADMIN, {}, {}, body))
    assert (warned.status, list(warned.warnings)) == (201, [problem])


@pytest.mark.parametrize(
    ("body", "media_type", "code"),
    [
        (b"[1]", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"[" * 50_000, "application/yaml", 400),
        (b'{"metadata":{"name":1}}', "application/json", 400),
        (b'{"kind":"Pod","apiVersion":"v1"}', "application/json", 400),
        (b"x", "text/csv", 415),
        (b" " * (3 * 1024 * 1024 + 1), "application/json", 413),
    ],
)
async def test_a_body_that_is_no_object_is_refused(server: ApiServer, body: bytes, media_type: str, code: int) -> None:
    reply = await server(ApiRequest("POST", MAPS, ADMIN, {}, {"content-type": media_type}, body))
    assert reply.status == code, reply.body


async def test_yaml_is_read_and_written(server: ApiServer) -> None:
    body = b"metadata:\n  name: a\ndata:\n  x: 'yes'\n"
    headers = {"content-type": "application/yaml", "accept": "application/yaml"}
    reply = await server(ApiRequest("POST", MAPS, ADMIN, {}, headers, body))
    assert reply.status == 201 and b"kind: ConfigMap" in (reply.body or b"")
