"""OpenAPI documents hold what kubectl reads in them."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest

from cluster.apiserver.http import ApiRequest, Identity
from cluster.apiserver.openapi import OpenApi, v2_document, v3_document
from cluster.apiserver.openapi_schemas import in_v3
from cluster.machinery.errors import NotAcceptable, NotFound
from cluster.resources.builtin import PODS
from cluster.resources.catalog import builtin_catalog


@pytest.fixture(scope="module")
def openapi():
    return OpenApi(builtin_catalog())


def _get(openapi, path, **headers):
    path, _, query = path.partition("?hash=")
    return openapi.handle(
        ApiRequest("GET", path, Identity("tester"), query={"hash": [query]} if query else {}, headers=headers)
    )


def _references(value):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _operations(document):
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield path, method, operation


@pytest.fixture(scope="module")
def core(openapi):
    return orjson.loads(_get(openapi, "/openapi/v3/api/v1").body)


def test_the_index_leads_to_every_group_version(openapi):
    paths = orjson.loads(_get(openapi, "/openapi/v3").body)["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/rbac.authorization.k8s.io/v1"} <= paths.keys()
    for entry in paths.values():
        reply = _get(openapi, entry["serverRelativeURL"])
        assert reply.status == 200
        assert reply.headers["ETag"].strip('"') in entry["serverRelativeURL"]


def test_a_stale_hash_is_redirected_and_a_known_tag_not_sent_again(openapi):
    tag = _get(openapi, "/openapi/v3/apis/apps/v1").headers["ETag"]
    moved = _get(openapi, "/openapi/v3/apis/apps/v1?hash=OLD")
    assert (moved.status, moved.headers["Location"]) == (301, "/openapi/v3/apis/apps/v1?hash=" + tag.strip('"'))
    assert _get(openapi, "/openapi/v3/apis/apps/v1", **{"if-none-match": tag}).status == 304


def test_every_reference_leads_somewhere(core):
    names = {f"#/components/schemas/{name}" for name in core["components"]["schemas"]}
    assert set(_references(core)) <= names
    document = v2_document(builtin_catalog())
    assert set(_references(document)) <= {f"#/definitions/{name}" for name in document["definitions"]}


def test_operations_have_names_of_their_own():
    names = Counter(operation["operationId"] for _, _, operation in _operations(v2_document(builtin_catalog())))
    assert [name for name, count in names.items() if count > 1] == []


def test_kubectl_trusts_the_server_to_validate(core):
    patch = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_explain_finds_a_kind_from_its_path(core):
    kind = core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["get"]["x-kubernetes-group-version-kind"]
    found = [s for s in core["components"]["schemas"].values() if kind in s.get("x-kubernetes-group-version-kind", ())]
    assert len(found) == 1
    assert found[0]["description"].startswith("Pod is a collection of containers")
    assert found[0]["properties"]["spec"]["description"]


def test_merge_keys_reach_clients(core):
    containers = core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-type"] == "map"


def test_actions_are_named(core):
    item = core["paths"]["/api/v1/namespaces/{namespace}/pods"]
    assert {method: item[method]["x-kubernetes-action"] for method in ("get", "post", "delete")} == {
        "get": "list",
        "post": "post",
        "delete": "deletecollection",
    }
    assert core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"]["get"]["x-kubernetes-action"] == "connect"


def test_references_with_siblings_are_wrapped_in_version_3():
    assert in_v3({"$ref": "#/definitions/a", "description": "d"}) == {
        "description": "d",
        "allOf": [{"$ref": "#/components/schemas/a"}],
    }


def test_version_2_is_json_and_declares_nothing_in_protobuf(openapi):
    assert orjson.loads(_get(openapi, "/openapi/v2").body)["swagger"] == "2.0"
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    found = _get(openapi, "/openapi/v2", accept=protobuf)
    assert found.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert found.body.startswith(b"\x0a\x032.0\x12")
    assert len(found.body) == 7 + found.body[6]
    with pytest.raises(NotAcceptable):
        _get(openapi, "/openapi/v3", accept=protobuf)


def test_what_is_not_served_is_not_found(openapi):
    with pytest.raises(NotFound):
        _get(openapi, "/openapi/v3/apis/nope/v1")
    assert _get(openapi, "/api") is None


def test_a_document_follows_the_catalogue():
    catalog = builtin_catalog()
    openapi = OpenApi(catalog)
    before = _get(openapi, "/openapi/v3/api/v1").headers["ETag"]
    catalog.remove(PODS)
    after = _get(openapi, "/openapi/v3/api/v1")
    assert after.headers["ETag"] != before
    assert "/api/v1/namespaces/{namespace}/pods" not in orjson.loads(after.body)["paths"]


def test_documents_are_made_of_the_given_descriptors_only():
    document = v3_document([builtin_catalog().of(PODS)])
    assert "io.k8s.api.core.v1.Secret" not in document["components"]["schemas"]
