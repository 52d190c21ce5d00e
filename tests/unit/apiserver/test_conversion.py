"""Custom resources in several versions, converted by a webhook."""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Reply
from cluster.client.transport import EventType, Query, Transport, WatchEvent
from cluster.machinery.errors import InternalError, Invalid
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.https_servers import Answered, HttpsPeer, Received, https_peer

V1 = Resource("example.com", "v1", "Tab", "tabs", namespaced=True, subresources=("scale", "status"))
V2 = Resource("example.com", "v2", "Tab", "tabs", namespaced=True, subresources=("scale", "status"))
PATHS = {"v1": "/apis/example.com/v1/namespaces/default/tabs", "v2": "/apis/example.com/v2/namespaces/default/tabs"}


def _version(name: str, *, storage: bool, **fields: Any) -> Obj:
    spec = {"type": "object", "properties": {**fields, "size": {"type": "integer", "default": 1}}}
    status = {"type": "object", "properties": {"size": {"type": "integer"}}}
    return {
        "name": name,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"},
        },
        "selectableFields": [{"jsonPath": f".spec.{field}"} for field in fields],
    }


TEXT = {"type": "string"}


def definition(peer: HttpsPeer, *, stored: str = "v1") -> Obj:
    config = {
        "url": f"https://127.0.0.1:{peer.port}/convert",
        "caBundle": base64.b64encode(peer.ca_pem.encode()).decode(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "tabs.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"},
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
            },
            "versions": [
                _version("v1", storage=stored == "v1", hostPort=TEXT),
                _version("v2", storage=stored == "v2", host=TEXT, port=TEXT),
            ],
        },
    }


def converted(obj: Obj, api_version: str) -> Any:
    """v1 has `hostPort`, v2 `host` and `port`."""
    made: Any = {**copy.deepcopy(obj), "apiVersion": api_version}
    spec = made.setdefault("spec", {})
    if api_version.endswith("v2") and "hostPort" in spec:
        spec["host"], _, spec["port"] = spec.pop("hostPort").partition(":")
    elif api_version.endswith("v1") and "host" in spec:
        spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port', '')}"
    return made


def tab(name: str, version: str = "v1", **spec: Any) -> Obj:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": f"example.com/{version}", "kind": "Tab", "metadata": meta, "spec": spec}


@dataclass
class World:
    api: ApiServer
    peer: HttpsPeer
    convert: Callable[[Obj, str], Any] = converted
    respond: Callable[[Obj], Obj] = lambda response: response
    asked: list[Obj] = field(default_factory=list)

    @property
    def admin(self) -> Transport:
        return self.api.transport(ADMIN)

    async def answer(self, request: Received) -> Answered:
        review = orjson.loads(request.body)
        asked = review["request"]
        self.asked.append(asked)
        objects = [self.convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
        response = {"uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
        return Answered(
            body=orjson.dumps(
                {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": self.respond(response)}
            )
        )

    async def request(self, method: str, path: str, obj: Any = None, **headers: str) -> Reply:
        path, _, query = path.partition("?")
        parameters = {name: [value] for name, _, value in (part.partition("=") for part in query.split("&") if part)}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.api(ApiRequest(method, path, ADMIN, parameters, named, b"", obj))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    worlds: list[World] = []

    async def forward(request: Received) -> Answered:
        return await worlds[0].answer(request)

    async with https_peer(tmp_path, forward, "127.0.0.1") as peer, running() as api:
        worlds.append(World(api, peer))
        await worlds[0].admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition(peer))
        yield worlds[0]


async def test_what_is_written_in_one_version_is_read_in_the_other(world: World) -> None:
    made = await world.admin.create(V2, tab("a", "v2", host="h", port="1"))
    assert made["spec"] == {"host": "h", "port": "1", "size": 1}
    stored = await world.admin.get(V1, Key("default", "a"))
    assert (stored["apiVersion"], stored["spec"]) == ("example.com/v1", {"hostPort": "h:1", "size": 1})
    seen = await world.admin.get(V2, Key("default", "a"))
    assert seen == made
    review = world.asked[0]
    assert review["desiredAPIVersion"] == "example.com/v1"
    assert review["objects"][0]["metadata"]["uid"] == made["metadata"]["uid"]


async def test_the_stored_version_asks_nobody(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    await world.admin.list(V1, Query())
    await world.request("PUT", PATHS["v1"] + "/a", (await world.admin.get(V1, Key("default", "a"))))
    assert world.asked == []


async def test_a_page_is_converted_in_one_review_and_remembered(world: World) -> None:
    for name in ("a", "b", "c"):
        await world.admin.create(V1, tab(name, hostPort=f"{name}:1"))
    listed = await world.admin.list(V2, Query(limit=2))
    assert [obj["spec"]["host"] for obj in listed.items] == ["a", "b"]
    assert [len(review["objects"]) for review in world.asked] == [2]
    reply = await world.request("GET", PATHS["v2"])
    assert [obj["spec"]["host"] for obj in orjson.loads(reply.body or b"")["items"]] == ["a", "b", "c"]
    assert [len(review["objects"]) for review in world.asked] == [2, 1]


async def test_a_field_selector_reads_the_version_it_names(world: World) -> None:
    for name in ("a", "b"):
        await world.admin.create(V1, tab(name, hostPort=f"{name}:1"))
    found = await world.admin.list(V2, Query(field_selector="spec.host=b"))
    assert [obj["metadata"]["name"] for obj in found.items] == ["b"]


async def test_patch_apply_update_and_scale_work_in_the_version_of_the_request(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    patched = await world.request(
        "PATCH", PATHS["v2"] + "/a", {"spec": {"port": "2"}}, content_type="application/merge-patch+json"
    )
    assert orjson.loads(patched.body or b"")["spec"] == {"host": "h", "port": "2", "size": 1}
    assert (await world.admin.get(V1, Key("default", "a")))["spec"]["hostPort"] == "h:2"
    applied = await world.request(
        "PATCH",
        PATHS["v2"] + "/a?fieldManager=me&force=true",
        tab("a", "v2", host="k"),
        content_type="application/apply-patch+yaml",
    )
    assert orjson.loads(applied.body or b"")["spec"]["host"] == "k"
    scaled = await world.request(
        "PATCH", PATHS["v2"] + "/a/scale", {"spec": {"replicas": 3}}, content_type="application/merge-patch+json"
    )
    assert orjson.loads(scaled.body or b"")["spec"] == {"replicas": 3}
    status = await world.request(
        "PATCH", PATHS["v2"] + "/a/status", {"status": {"size": 3}}, content_type="application/merge-patch+json"
    )
    assert orjson.loads(status.body or b"")["status"] == {"size": 3}
    assert (await world.admin.get(V1, Key("default", "a")))["spec"] == {"hostPort": "k:2", "size": 3}


async def test_an_update_that_changes_nothing_writes_nothing(world: World) -> None:
    made = await world.admin.create(V2, tab("a", "v2", host="h", port="1"))
    again = await world.admin.update(V2, made)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def _take(events: AsyncIterator[WatchEvent], count: int) -> list[tuple[EventType, Any]]:
    async with asyncio.timeout(10):
        return [(event.type, event.object["spec"].get("host")) for _ in range(count) for event in [await anext(events)]]


async def test_watchers_see_every_event_in_their_version(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    begin = (await world.admin.list(V2, Query())).resource_version
    await world.admin.create(V1, tab("b", hostPort="i:1"))
    late = aiter(world.admin.watch(V2, Query(resource_version=begin)))
    whole = aiter(world.admin.watch(V2, Query()))
    chosen = aiter(world.admin.watch(V2, Query(field_selector="spec.host=i")))
    assert await _take(late, 1) == [(EventType.ADDED, "i")]
    assert await _take(whole, 2) == [(EventType.ADDED, "h"), (EventType.ADDED, "i")]
    assert await _take(chosen, 1) == [(EventType.ADDED, "i")]
    await world.request(
        "PATCH", PATHS["v1"] + "/b", {"spec": {"hostPort": "j:1"}}, content_type="application/merge-patch+json"
    )
    await world.request("DELETE", PATHS["v1"] + "/a")
    for watch in (late, whole):
        assert await _take(watch, 2) == [(EventType.MODIFIED, "j"), (EventType.DELETED, "h")]
    assert await _take(chosen, 1) == [(EventType.DELETED, "i")]


async def test_a_watch_whose_events_cannot_be_converted_ends_and_the_list_says_why(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    reply = await world.request("GET", PATHS["v2"] + "?watch=true")
    assert reply.stream is not None
    ready = asyncio.Event()
    reply.stream.on_ready(ready.set)
    assert b'"host":"h"' in (reply.stream.take() or b"")
    world.respond = lambda response: {**response, "result": {"status": "Failure", "message": "no idea"}}
    await world.admin.create(V1, tab("b", hostPort="i:1"))
    async with asyncio.timeout(10):
        await ready.wait()
    assert b'"reason":"Expired"' in (reply.stream.take() or b"")
    with pytest.raises(InternalError, match=r"conversion webhook for example\.com/v1, Kind=Tab failed: no idea"):
        await world.admin.list(V2, Query())


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (lambda r: {**r, "uid": "other"}, r'failed: expected response.uid=".*", got "other"'),
        (
            lambda r: {**r, "result": {"status": "Failure"}},
            "failed: response.result.status was 'Failure', not 'Success'",
        ),
        (lambda r: {**r, "convertedObjects": []}, "returned 0 objects, expected 1"),
        (lambda r: {**r, "convertedObjects": [7]}, "invalid converted object at index 0: it is not an object"),
        (lambda r: {**r, "convertedObjects": [tab("a")]}, r"invalid groupVersion \(expected example.com/v2"),
    ],
)
async def test_a_broken_answer_is_an_error_that_says_what_is_wrong(
    world: World, respond: Callable[[Obj], Obj], why: str
) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    world.respond = respond
    with pytest.raises(InternalError, match=why):
        await world.admin.get(V2, Key("default", "a"))


@pytest.mark.parametrize(("field_", "named"), [("name", "name"), ("namespace", "namespace"), ("uid", "UID")])
async def test_a_conversion_may_not_change_who_an_object_is(world: World, field_: str, named: str) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))

    def convert(obj: Obj, api_version: str) -> Any:
        made = converted(obj, api_version)
        made["metadata"][field_] = "other"
        return made

    world.convert = convert
    with pytest.raises(InternalError, match=f"must have the same {named}"):
        await world.admin.get(V2, Key("default", "a"))


async def test_of_metadata_only_labels_and_annotations_are_converted(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))

    def convert(obj: Obj, api_version: str) -> Any:
        made = converted(obj, api_version)
        made["metadata"] |= {"labels": {"l": "1"}, "finalizers": ["x/y"], "generation": 7}
        made["spec"]["unknown"] = "x"
        return made

    world.convert = convert
    seen = await world.admin.get(V2, Key("default", "a"))
    assert seen["metadata"]["labels"] == {"l": "1"}
    assert "finalizers" not in seen["metadata"]
    assert seen["metadata"]["generation"] == 1
    assert "unknown" not in seen["spec"]


async def test_rows_of_an_earlier_storage_version_are_converted_and_migrated_by_a_write(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    live = await world.admin.get(CUSTOM_RESOURCE_DEFINITIONS, Key("", "tabs.example.com"))
    moved = {**live, "spec": {**definition(world.peer, stored="v2")["spec"]}}
    await world.admin.update(CUSTOM_RESOURCE_DEFINITIONS, moved)
    before = await world.admin.get(V2, Key("default", "a"))
    assert before["spec"]["host"] == "h"
    after = await world.admin.update(V2, before)
    assert after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]
    asked = len(world.asked)
    assert (await world.admin.get(V2, Key("default", "a")))["spec"]["host"] == "h"
    assert len(world.asked) == asked


async def test_a_definition_goes_though_its_webhook_is_gone(world: World) -> None:
    await world.admin.create(V1, tab("a", hostPort="h:1"))
    world.respond = lambda response: {}
    await world.admin.delete(CUSTOM_RESOURCE_DEFINITIONS, Key("", "tabs.example.com"))
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if not (await world.admin.list(CUSTOM_RESOURCE_DEFINITIONS, Query())).items:
                break
            await asyncio.sleep(0)


async def test_a_webhook_of_another_version_is_asked_in_its_own(world: World) -> None:
    seen: list[Obj] = []
    plain = world.answer

    async def answer(request: Received) -> Answered:
        if not request.target.startswith("/admit"):
            return await plain(request)
        review = orjson.loads(request.body)
        seen.append(review["request"])
        change = [{"op": "replace", "path": "/spec/port", "value": "9"}]
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(orjson.dumps(change)).decode(),
        }
        return Answered(body=orjson.dumps({**review, "response": response}))

    world.answer = answer  # type: ignore[method-assign]
    config = definition(world.peer)["spec"]["conversion"]["webhook"]["clientConfig"]
    webhook = {
        "name": "tabs.example.com",
        "clientConfig": {**config, "url": config["url"].replace("convert", "admit")},
        "rules": [
            {"operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["tabs"]}
        ],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    assert (await world.request("POST", path, {"metadata": {"name": "w"}, "webhooks": [webhook]})).status == 201
    made = await world.admin.create(V1, tab("a", hostPort="h:1"))
    assert seen[0]["object"]["spec"] == {"host": "h", "port": "1", "size": 1}
    assert seen[0]["requestKind"]["version"] == "v1"
    assert made["spec"]["hostPort"] == "h:9"


@pytest.mark.parametrize(
    ("conversion", "field_"),
    [
        ({"strategy": "Webhook"}, "spec.conversion.webhook.clientConfig"),
        ({"strategy": "Other"}, "spec.conversion.strategy"),
        ({"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}, "spec.conversion.webhook"),
        (
            {
                "strategy": "Webhook",
                "webhook": {"clientConfig": {"url": "https://x/"}, "conversionReviewVersions": ["v1beta1"]},
            },
            "spec.conversion.webhook.conversionReviewVersions",
        ),
    ],
)
async def test_what_cannot_be_asked_is_refused(conversion: Obj, field_: str) -> None:
    async with running(clock=SteppedClock()) as api:
        crd = definition(HttpsPeer(1, "", []))
        crd = {**crd, "spec": {**crd["spec"], "conversion": conversion}}
        with pytest.raises(Invalid) as refused:
            await api.transport(ADMIN).create(CUSTOM_RESOURCE_DEFINITIONS, crd)
    assert next(cause.field for cause in refused.value.causes) == field_
