"""Custom resources: served as soon as they are defined, gone with their definition."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest
from cluster.client.transport import Patch, PatchType, Transport, WriteOptions
from cluster.machinery.conditions import is_condition_true
from cluster.machinery.errors import BadRequest, Invalid, NotFound, UnsupportedMediaType
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CUSTOM_RESOURCE_DEFINITIONS
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock

WIDGETS = Resource("example.com", "v1", "Widget", "widgets", namespaced=True, subresources=("status",))
NAME = "widgets.example.com"


def definition() -> dict[str, Any]:
    spec = {
        "type": "object",
        "required": ["size"],
        "properties": {"size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}},
    }
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


def widget(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "w", "namespace": "default"}
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": spec}


async def until(transport: Transport, condition: Callable[[Obj], bool]) -> None:
    """Wait until the definition fulfils the condition."""
    async with asyncio.timeout(10):
        for _ in itertools.count():
            if condition(await transport.get(CUSTOM_RESOURCE_DEFINITIONS, Key("", NAME))):
                return
            await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with running() as server:
        yield server


@pytest.fixture
def admin(server: ApiServer) -> Transport:
    return server.transport(ADMIN)


async def test_a_definition_is_served_at_once_and_becomes_established(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    made = await admin.create(WIDGETS, widget(size=3))
    assert made["spec"] == {"size": 3, "colour": "red"}
    assert made["metadata"]["generation"] == 1
    await until(admin, lambda crd: is_condition_true(crd, "Established"))
    with pytest.raises(Invalid, match=r"spec\.size"):
        await admin.patch(WIDGETS, Key("default", "w"), Patch(PatchType.MERGE, {"spec": {"size": 0}}))
    with pytest.raises(UnsupportedMediaType):
        await admin.patch(WIDGETS, Key("default", "w"), Patch(PatchType.STRATEGIC, {"spec": {"size": 4}}))


async def test_a_wrong_type_in_a_custom_resource_is_invalid_and_named_by_its_path(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    for wrong in ("x", [1], {"a": 1}, 1.5):
        with pytest.raises(Invalid, match=r"spec\.size: Invalid value: .* must be of type integer"):
            await admin.create(WIDGETS, widget(size=wrong))
    with pytest.raises(Invalid, match=r"spec: Invalid value"):
        await admin.create(WIDGETS, {**widget(), "spec": "x"})
    with pytest.raises(BadRequest, match="labels"):
        await admin.create(
            WIDGETS, {**widget(size=1), "metadata": {"name": "w", "namespace": "default", "labels": "x"}}
        )
    with pytest.raises(BadRequest):
        await admin.patch(
            WIDGETS,
            Key("default", "w"),
            Patch(PatchType.APPLY, widget(size="x")),
            options=WriteOptions(field_manager="m"),
        )


async def test_nulls_in_the_metadata_of_a_custom_resource_are_zero_values(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    metadata = {"name": "w", "namespace": "default", "labels": {"a": None}, "annotations": None}
    made = await admin.create(WIDGETS, {**widget(size=1), "metadata": metadata})
    assert made["metadata"]["labels"] == {"a": ""}
    assert "annotations" not in made["metadata"]
    broken = {**widget(size=1), "metadata": {"name": "w", "finalizers": [None]}}
    with pytest.raises(Invalid, match="finalizers"):
        await admin.patch(
            WIDGETS, Key("default", "w"), Patch(PatchType.APPLY, broken), options=WriteOptions(field_manager="m")
        )


async def test_unknown_fields_of_a_custom_resource_are_pruned(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    made = await admin.create(WIDGETS, widget(size=3, other="x"))
    assert "other" not in made["spec"]


async def test_a_definition_takes_its_instances_with_it(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await admin.create(WIDGETS, widget(size=3))
    await until(admin, lambda crd: bool(crd["metadata"].get("finalizers")))
    await admin.delete(CUSTOM_RESOURCE_DEFINITIONS, Key("", NAME))
    with pytest.raises(NotFound):
        await until(admin, lambda crd: False)
    with pytest.raises(NotFound):
        await admin.get(WIDGETS, Key("default", "w"))


async def test_a_definition_is_served_again_after_a_restart() -> None:
    store = MemoryStore(SteppedClock())
    async with running(store) as server:
        await server.transport(ADMIN).create(CUSTOM_RESOURCE_DEFINITIONS, definition())
        await server.transport(ADMIN).create(WIDGETS, widget(size=3))
    async with running(store) as again:
        assert (await again.transport(ADMIN).get(WIDGETS, Key("default", "w")))["spec"]["size"] == 3


def with_rule(rule: str, **more: Any) -> dict[str, Any]:
    crd = definition()
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": rule, **more}]
    return crd


async def test_rules_are_held_on_every_write(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, with_rule("self.size < 10", message="too large"))
    with pytest.raises(Invalid) as refused:
        await admin.create(WIDGETS, widget(size=10))
    assert refused.value.message == 'Widget.example.com "w" is invalid: spec: Invalid value: "object": too large'
    made = await admin.create(WIDGETS, widget(size=9))
    with pytest.raises(Invalid, match="too large"):
        await admin.update(WIDGETS, {**made, "spec": {"size": 11}})
    with pytest.raises(Invalid, match="too large"):
        await admin.patch(WIDGETS, Key("default", "w"), Patch(PatchType.MERGE, {"spec": {"size": 12}}))


async def test_a_definition_with_a_rule_that_does_not_compile_is_refused(admin: Transport) -> None:
    with pytest.raises(Invalid) as refused:
        await admin.create(CUSTOM_RESOURCE_DEFINITIONS, with_rule("self.sise < 10"))
    [cause] = refused.value.causes
    where = "spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule"
    assert cause.field == where
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'sise'" in cause.message


async def test_rules_wait_until_the_schema_is_kept(admin: Transport) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, with_rule("self.size < 10"))
    with pytest.raises(Invalid) as refused:
        await admin.create(WIDGETS, widget(size="large"))
    assert [cause.field for cause in refused.value.causes] == ["spec.size", "<nil>"]


async def test_a_default_added_later_shows_in_what_was_stored_before(admin: Transport, server: ApiServer) -> None:
    await admin.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await admin.create(WIDGETS, widget(size=1))
    changed = definition()["spec"]["versions"]
    spec = changed[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["shape"] = {"type": "string", "default": "round"}
    patch = Patch(PatchType.MERGE, {"spec": {"versions": changed}})
    await admin.patch(CUSTOM_RESOURCE_DEFINITIONS, Key("", NAME), patch)
    path = "/apis/example.com/v1/namespaces/default/widgets"
    for where in (f"{path}/w", path):
        reply = await server(ApiRequest("GET", where, ADMIN, {}, {}, b"", None))
        assert b'"shape":"round"' in (reply.body or b"")
