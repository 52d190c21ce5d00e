"""Discovery says what is served, in every form clients ask for."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from cluster.apiserver.discovery import Discovery, aggregated_list, api_group_list, api_resource_list
from cluster.apiserver.http import ApiRequest, Identity
from cluster.machinery.errors import MethodNotAllowed, NotAcceptable
from cluster.resources.builtin import CONFIG_MAPS
from cluster.resources.catalog import builtin_catalog
from tests.golden import matches

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
KUBECTL = f"{AGGREGATED},{AGGREGATED.replace('v=v2', 'v=v2beta1')},application/json"


class Nowhere:
    """No other servers."""

    changes = 0

    def group_versions(self):
        return ()


def _get(discovery, path, accept="", **headers):
    return discovery.handle(ApiRequest("GET", path, Identity("tester"), headers={"accept": accept, **headers}))


@pytest.fixture
def discovery():
    return Discovery(builtin_catalog(), platform="linux/amd64", elsewhere=Nowhere())


def test_the_documents_are_those_last_looked_at():
    catalog = builtin_catalog()
    documents = {
        "apis": api_group_list(catalog),
        "api/v1": api_resource_list(catalog, "", "v1"),
        "apis/apps/v1": api_resource_list(catalog, "apps", "v1"),
        "aggregated": aggregated_list(catalog, core=False, version="v2"),
    }
    assert matches("discovery.json", orjson.dumps(documents, option=orjson.OPT_INDENT_2).decode() + "\n")


@pytest.mark.parametrize("path", ["/api", "/api/", "/apis", "/apis/"])
def test_kubectl_gets_one_document_for_all(discovery, path):
    reply = _get(discovery, path, KUBECTL)
    assert reply.content_type == AGGREGATED
    document = orjson.loads(reply.body)
    assert document["apiVersion"] == "apidiscovery.k8s.io/v2"
    names = [item["metadata"].get("name", "") for item in document["items"]]
    assert names == [""] if path.startswith("/api/") or path == "/api" else "" not in names


def test_older_clients_get_the_older_form(discovery):
    assert orjson.loads(_get(discovery, "/apis", AGGREGATED.replace("v=v2", "v=v2beta1")).body)["apiVersion"].endswith(
        "v2beta1"
    )
    for accept in ("", "*/*", "application/json", "application/vnd.kubernetes.protobuf, */*"):
        assert orjson.loads(_get(discovery, "/apis", accept).body)["kind"] == "APIGroupList"


def test_unknown_parameters_are_ignored(discovery):
    assert _get(discovery, "/api", AGGREGATED + ";profile=nopeer").content_type == AGGREGATED


def test_nothing_acceptable_is_said_so(discovery):
    with pytest.raises(NotAcceptable):
        _get(discovery, "/apis", "application/xml")
    with pytest.raises(NotAcceptable):
        _get(discovery, "/apis/apps/v1", AGGREGATED)


def test_drain_learns_how_to_evict(discovery):
    resources = orjson.loads(_get(discovery, "/api/v1").body)["resources"]
    eviction = next(r for r in resources if r["name"] == "pods/eviction")
    assert (eviction["group"], eviction["version"], eviction["kind"]) == ("policy", "v1", "Eviction")
    status = next(r for r in resources if r["name"] == "pods/status")
    assert "group" not in status


def test_what_is_not_discovery_is_left_to_others(discovery):
    for path in ("/apis/nope", "/apis/apps/v9", "/api/v1/pods", "/healthz"):
        assert _get(discovery, path) is None


def test_documents_are_only_read(discovery):
    with pytest.raises(MethodNotAllowed):
        discovery.handle(ApiRequest("POST", "/apis", Identity("tester")))


def test_an_unchanged_document_is_not_sent_twice(discovery):
    tag = _get(discovery, "/apis", KUBECTL).headers["ETag"]
    assert _get(discovery, "/apis", KUBECTL, **{"if-none-match": tag}).status == 304
    assert _get(discovery, "/apis", "", **{"if-none-match": tag}).status == 200


def test_a_new_resource_shows_at_once():
    catalog = builtin_catalog()
    discovery = Discovery(catalog, platform="linux/amd64", elsewhere=Nowhere())
    tag = _get(discovery, "/apis").headers["ETag"]
    assert _get(discovery, "/apis/stable.example.com/v1") is None
    resource = replace(CONFIG_MAPS, group="stable.example.com", plural="crontabs", kind="CronTab")
    catalog.add(replace(catalog.of(CONFIG_MAPS), resource=resource))
    assert _get(discovery, "/apis/stable.example.com/v1").status == 200
    assert _get(discovery, "/apis").headers["ETag"] != tag


def test_the_version_has_bare_numbers(discovery):
    version = orjson.loads(_get(discovery, "/version/").body)
    assert version["major"].isdecimal()
    assert version["minor"].isdecimal()
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")
