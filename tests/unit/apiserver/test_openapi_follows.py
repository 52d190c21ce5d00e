"""Discovery and both OpenAPI documents follow a CustomResourceDefinition: made, changed, gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.apiserver.plain_api import Api, content_of, plain_api

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
SCHEMA_V2 = "com.example.v1.Gadget"


@pytest.fixture
def api() -> Iterator[Api]:
    with plain_api() as made:
        yield made


def definition(**properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "properties": properties}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
                }
            ],
        },
    }


def told(api: Api) -> tuple[bool, str, set[str], set[str]]:
    """Whether discovery names the kind, the hash of its document, and the fields of its spec in versions 3 and 2."""
    groups = content_of(api.reply("GET", "/apis", accept=AGGREGATED))["items"]
    found = any(group["metadata"]["name"] == "example.com" for group in groups)
    legacy = any(group["name"] == "example.com" for group in api("GET", "/apis")["groups"])
    assert found == legacy
    url = api("GET", "/openapi/v3")["paths"].get("apis/example.com/v1", {}).get("serverRelativeURL", "")
    fields_3: set[str] = set()
    if url:
        schema = api("GET", url)["components"]["schemas"][SCHEMA_V2]
        fields_3 = set(schema["properties"]["spec"]["properties"])
    schema = api("GET", "/openapi/v2")["definitions"].get(SCHEMA_V2)
    fields_2 = set(schema["properties"]["spec"]["properties"]) if schema else set()
    return found, url.partition("hash=")[2], fields_3, fields_2


def test_every_document_follows_a_definition(api: Api) -> None:
    assert told(api) == (False, "", set(), set())
    api("POST", CRDS, definition(size={"type": "integer"}))
    _, first, *_ = seen = told(api)
    assert seen == (True, first, {"size"}, {"size"}) and first

    tag = api.reply("GET", "/openapi/v2").headers["ETag"]
    live = api("GET", f"{CRDS}/gadgets.example.com")
    changed = definition(size={"type": "integer"}, colour={"type": "string"})
    api("PUT", f"{CRDS}/gadgets.example.com", {**live, "spec": changed["spec"]})
    _, second, *_ = seen = told(api)
    assert seen == (True, second, {"size", "colour"}, {"size", "colour"})
    assert second != first
    assert api.reply("GET", "/openapi/v2").headers["ETag"] != tag
    # Who has the older hash is led to the newer.
    assert api.reply("GET", f"/openapi/v3/apis/example.com/v1?hash={first}").status == 301

    api("DELETE", f"{CRDS}/gadgets.example.com")
    found, _, fields_3, fields_2 = told(api)
    assert (found, fields_3, fields_2) == (False, set(), set())
