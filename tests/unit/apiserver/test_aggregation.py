"""Group-versions that another server serves: who it is told asks, what discovery says, what happens when it is gone."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.apiserver.aggregation import identity_headers
from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.credentials import ensure_credentials
from cluster.apiserver.discovery_merging import RemoteGroupVersion, legacy_group, with_aggregated, with_legacy
from cluster.apiserver.http import ApiRequest, Identity, Reply
from cluster.base.clock import SystemClock
from cluster.machinery.objects import Obj
from tests.apiservers import ADMIN, running
from tests.https_servers import Answered, HttpsPeer, Received, https_peer
from tests.unit.apiserver.test_proxy import content_of
from tests.unit.apiserver.test_webhook_client import Node

RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "wardle.example.com/v1",
    "resources": [
        {
            "name": "flunders",
            "singularName": "flunder",
            "namespaced": True,
            "kind": "Flunder",
            "verbs": ["get", "list"],
        },
        {"name": "flunders/status", "namespaced": True, "kind": "Flunder", "verbs": ["get"]},
    ],
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
NAME = "v1.wardle.example.com"


class Wardle:
    def __init__(self) -> None:
        self.broken = False

    async def answer(self, request: Received) -> Answered:
        if self.broken:
            return Answered(503, b"down")
        if request.target == "/apis/wardle.example.com/v1":
            return Answered(body=orjson.dumps(RESOURCES), headers={"Content-Type": "application/json"})
        said = {"kind": "Flunder", "target": request.target, "body": request.body.decode()}
        return Answered(
            201 if request.method == "POST" else 200, orjson.dumps(said), {"Content-Type": "application/json"}
        )


@pytest.fixture
def wardle() -> Wardle:
    return Wardle()


@pytest.fixture
async def peer(wardle: Wardle, tmp_path: Path) -> AsyncIterator[HttpsPeer]:
    async with https_peer(tmp_path, wardle.answer, "api.default.svc") as peer:
        yield peer


@pytest.fixture
async def server(peer: HttpsPeer, tmp_path: Path) -> AsyncIterator[ApiServer]:
    clock = SystemClock()
    front_proxy = ensure_credentials(tmp_path / "pki", ["localhost"], now=clock.now()).front_proxy
    async with running(clock=clock, node_channels=Node(), front_proxy=front_proxy) as server:
        service = {"metadata": {"name": "api"}, "spec": {"ports": [{"port": 443}]}}
        await send(server, "POST", "/api/v1/namespaces/default/services", service)
        endpoint = {
            "addresses": ["10.244.0.9"],
            "nodeName": "n",
            "targetRef": {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"},
        }
        slice_ = {
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "addressType": "IPv4",
            "endpoints": [endpoint],
            "ports": [{"port": peer.port, "name": ""}],
        }
        made = await send(server, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice_)
        assert made.status == 201, made.body
        spec = {
            "group": "wardle.example.com",
            "version": "v1",
            "groupPriorityMinimum": 17550,
            "versionPriority": 15,
            "service": {"namespace": "default", "name": "api"},
            "caBundle": base64.b64encode(peer.ca_pem.encode()).decode(),
        }
        made = await send(
            server, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", {"metadata": {"name": NAME}, "spec": spec}
        )
        assert made.status == 201, made.body
        await until(lambda: condition(server), lambda found: found.get("status") == "True")
        yield server


async def send(
    server: ApiServer, method: str, path: str, obj: Any = None, *, user: Identity = ADMIN, **headers: str
) -> Reply:
    return await server(ApiRequest(method, path, user, {}, headers, b"", obj))


async def read(server: ApiServer, path: str, **headers: str) -> Any:
    return orjson.loads(await content_of(await send(server, "GET", path, **headers)))


async def condition(server: ApiServer) -> Obj:
    live = await read(server, f"/apis/apiregistration.k8s.io/v1/apiservices/{NAME}")
    return next((c for c in live.get("status", {}).get("conditions", ()) if c["type"] == "Available"), {})


async def until(look: Callable[[], Any], ready: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(20):
        while True:
            if ready(found := await look()):
                return found
            await asyncio.sleep(0.02)


async def test_requests_go_there_with_the_name_of_who_asks(server: ApiServer, peer: HttpsPeer) -> None:
    user = Identity("jane", ("system:masters", "devs"), extra={"Scopes": ("a", "b")})
    path = "/apis/wardle.example.com/v1/namespaces/default/flunders"
    headers = {"authorization": "Bearer secret", "x-remote-user": "root"}
    made = await send(server, "POST", path, {"metadata": {"name": "f"}}, user=user, **headers)
    assert made.status == 201
    assert orjson.loads(await content_of(made))["target"] == path
    got = peer.received[-1]
    assert got.headers["x-remote-user"] == "jane"
    assert got.headers["x-remote-extra-scopes"] == "b"  # the last of two lines, as this test's server reads them
    assert "authorization" not in got.headers
    assert orjson.loads(got.body) == {"metadata": {"name": "f"}}


async def test_who_may_not_is_refused_here(server: ApiServer, peer: HttpsPeer) -> None:
    before = len(peer.received)
    path = "/apis/wardle.example.com/v1/namespaces/default/flunders"
    assert (await send(server, "GET", path, user=Identity("nobody"))).status == 403
    assert not [r for r in peer.received[before:] if "flunders" in r.target]


async def test_discovery_has_its_resources_by_priority(server: ApiServer) -> None:
    found = await read(server, "/apis", accept=AGGREGATED)
    names = [group["metadata"]["name"] for group in found["items"]]
    assert names.index("authorization.k8s.io") < names.index("wardle.example.com") < names.index("autoscaling")
    (version,) = found["items"][names.index("wardle.example.com")]["versions"]
    assert (version["freshness"], version["resources"][0]["resource"]) == ("Current", "flunders")
    assert version["resources"][0]["subresources"][0]["subresource"] == "status"
    assert "wardle.example.com" in [group["name"] for group in (await read(server, "/apis"))["groups"]]
    assert (await read(server, "/apis/wardle.example.com"))["preferredVersion"]["version"] == "v1"
    assert await read(server, "/apis/wardle.example.com/v1") == RESOURCES


async def test_a_server_that_is_gone_is_stale_and_refused(server: ApiServer, wardle: Wardle) -> None:
    wardle.broken = True
    found = await until(lambda: condition(server), lambda found: found.get("status") == "False")
    assert found["reason"] == "FailedDiscoveryCheck"
    assert (await send(server, "GET", "/apis/wardle.example.com/v1/flunders")).status == 503
    groups = (await read(server, "/apis", accept=AGGREGATED))["items"]
    (version,) = next(group["versions"] for group in groups if group["metadata"]["name"] == "wardle.example.com")
    assert (version["freshness"], version["resources"][0]["resource"]) == ("Stale", "flunders")


async def test_what_is_deleted_is_no_longer_served(server: ApiServer) -> None:
    await send(server, "DELETE", f"/apis/apiregistration.k8s.io/v1/apiservices/{NAME}")
    assert (await send(server, "GET", "/apis/wardle.example.com/v1/flunders")).status == 404
    assert "wardle.example.com" not in [group["name"] for group in (await read(server, "/apis"))["groups"]]


async def test_how_to_verify_who_asks_is_published(server: ApiServer) -> None:
    published = await read(server, "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
    assert published["data"]["requestheader-allowed-names"] == '["front-proxy-client"]'
    assert "BEGIN CERTIFICATE" in published["data"]["requestheader-client-ca-file"]
    role = "extension-apiserver-authentication-reader"
    rules = (await read(server, f"/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/roles/{role}"))["rules"]
    assert rules[0]["resourceNames"] == ["extension-apiserver-authentication"]


def test_names_that_headers_cannot_carry_are_encoded() -> None:
    headers = identity_headers(Identity("j\r\nX: y", ("ü",), extra={"a/B": ("v",)}))
    assert headers == {"X-Remote-User": "j%0D%0AX%3A%20y", "X-Remote-Group": ["%C3%BC"], "X-Remote-Extra-a%2Fb": ["v"]}


@pytest.mark.parametrize("document", [{}, {"resources": 3}, {"resources": [3, {}, {"name": "a", "verbs": "x"}]}])
def test_nonsense_of_another_server_harms_no_discovery(document: Obj) -> None:
    remote = [RemoteGroupVersion("g.example.com", "v1", 100, 1, False, document)]
    merged = with_aggregated({"items": [{"metadata": {"name": "apps"}, "versions": []}]}, remote)
    assert [group["metadata"]["name"] for group in merged["items"]] == ["apps", "g.example.com"]
    assert with_legacy({"groups": []}, remote)["groups"][0]["preferredVersion"]["version"] == "v1"
    assert legacy_group({"groups": []}, remote, "g.example.com")["kind"] == "APIGroup"


async def test_the_condition_says_what_is_missing_of_the_service(server: ApiServer) -> None:
    slices, services = (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/api-1",
        "/api/v1/namespaces/default/services/api",
    )
    live = await read(server, slices)
    live["endpoints"][0]["conditions"] = {"ready": False}
    await send(server, "PUT", slices, live)
    for reason, path in (("MissingEndpoints", slices), ("EndpointsNotFound", services), ("ServiceNotFound", "")):
        await until(lambda: condition(server), lambda found, reason=reason: found.get("reason") == reason)
        if path:
            await send(server, "DELETE", path)
