"""The proxy subresources: what crosses to the other server and back, and what is refused before it is dialled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Reply
from cluster.apiserver.proxying import Destination, redirected
from cluster.apiserver.service_resolver import Endpoint
from cluster.apiserver.subresources.proxy import Named, named_of
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Obj
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import pod
from tests.https_servers import Answered, HttpsPeer, Received, https_peer
from tests.unit.apiserver.test_webhook_client import Node

NAMESPACE = "/api/v1/namespaces/default"


async def answer(request: Received) -> Answered:
    path = request.target.partition("?")[0]
    if path == "/redirect":
        return Answered(302, headers={"Location": "/there?x=1"})
    if path == "/away":
        return Answered(302, headers={"Location": "https://example.com/there"})
    if path == "/empty":
        return Answered(204, headers={"Keep-Alive": "timeout=5"})
    body = f"{request.method} {request.target} {request.body.decode()}".encode()
    return Answered(418 if path == "/teapot" else 200, body, {"Content-Type": "text/x-test", "X-Own": "y"})


@pytest.fixture
async def peer(tmp_path: Path) -> AsyncIterator[HttpsPeer]:
    async with https_peer(tmp_path, answer, "unverified") as peer:
        yield peer


@pytest.fixture
async def server(peer: HttpsPeer) -> AsyncIterator[ApiServer]:
    """A pod `p` whose ports are this host's, and the Service `s` in front of it."""
    async with running(node_channels=Node()) as server:
        made = {**pod("p"), "spec": {**pod("p")["spec"], "nodeName": "n"}}
        assert (await send(server, "POST", f"{NAMESPACE}/pods", made)).status == 201
        status = {"podIP": "10.244.0.9", "phase": "Running"}
        merge = {"content-type": "application/merge-patch+json"}
        assert (await send(server, "PATCH", f"{NAMESPACE}/pods/p/status", {"status": status}, merge)).status == 200
        spec = {"ports": [{"name": "web", "port": 80}, {"name": "dead", "port": 81}]}
        await send(server, "POST", f"{NAMESPACE}/services", {"metadata": {"name": "s"}, "spec": spec})
        reference = {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"}
        slice_: Obj = {
            "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.244.0.9"], "nodeName": "n", "targetRef": reference}],
            "ports": [{"name": "web", "port": peer.port}],
        }
        slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        assert (await send(server, "POST", slices, slice_)).status == 201
        yield server


async def send(
    server: ApiServer, method: str, path: str, obj: Any = None, headers: dict[str, str] | None = None, body: bytes = b""
) -> Reply:
    path, _, text = path.partition("?")
    query = {name: [value] for name, _, value in (pair.partition("=") for pair in text.split("&") if pair)}
    return await server(ApiRequest(method, path, ADMIN, query, headers or {}, body, obj))


async def content_of(reply: Reply) -> bytes:
    if reply.stream is None:
        return reply.body or b""
    parts: list[bytes] = []
    ready = asyncio.Event()
    reply.stream.on_ready(ready.set)
    async with asyncio.timeout(10):
        while (part := reply.stream.take()) is not None:
            parts.append(part)
            if not part:
                ready.clear()
                await ready.wait()
    return b"".join(parts)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_is_passed_on(server: ApiServer, peer: HttpsPeer, method: str) -> None:
    path = f"{NAMESPACE}/pods/https:p:{peer.port}/proxy/some/where/?a=b&c="
    reply = await send(server, method, path, body=b"hello" if method != "GET" else b"")
    assert (reply.status, reply.content_type, reply.headers["x-own"]) == (200, "text/x-test", "y")
    said = await content_of(reply)
    assert said.startswith(f"{method} /some/where/?a=b&c= ".encode())
    assert said.endswith(b"hello") is (method != "GET")


async def test_a_status_is_passed_back_and_head_has_no_body(server: ApiServer, peer: HttpsPeer) -> None:
    base = f"{NAMESPACE}/pods/https:p:{peer.port}/proxy"
    assert (await send(server, "GET", f"{base}/teapot")).status == 418
    empty = await send(server, "GET", f"{base}/empty")
    assert (empty.status, empty.body, "keep-alive" in empty.headers) == (204, b"", False)


@pytest.mark.parametrize("name", ["https:s:web", "https:s:80"])
async def test_a_service_is_reached_by_the_name_or_number_of_its_port(server: ApiServer, name: str) -> None:
    reply = await send(server, "GET", f"{NAMESPACE}/services/{name}/proxy/x")
    assert await content_of(reply) == b"GET /x "


async def test_what_says_on_whose_behalf_does_not_cross(server: ApiServer, peer: HttpsPeer) -> None:
    headers = {
        "authorization": "Bearer secret",
        "impersonate-user": "",
        "x-remote-user": "root",
        "x-forwarded-for": "10.0.0.1",
        "connection": "close, X-Drop",
        "x-drop": "1",
        "te": "trailers",
        "host": "api.example.com",
        "x-kept": "1",
    }
    del headers["impersonate-user"]
    await content_of(await send(server, "GET", f"{NAMESPACE}/services/https:s:web/proxy/x", headers=headers))
    got = peer.received[-1].headers
    assert not {"authorization", "x-remote-user", "x-forwarded-for", "x-drop", "te"} & set(got)
    assert (got["x-kept"], got["x-forwarded-host"], got["x-forwarded-proto"]) == ("1", "api.example.com", "https")
    assert got["x-forwarded-uri"] == f"{NAMESPACE}/services/https:s:web/proxy/x"
    told = ApiRequest("GET", f"{NAMESPACE}/services/https:s:web/proxy/x", ADMIN, headers=headers, source="192.0.2.7")
    await content_of(await server(told))
    assert peer.received[-1].headers["x-forwarded-for"] == "192.0.2.7"


async def test_redirects_of_the_server_lead_back_through_the_proxy(server: ApiServer) -> None:
    base = f"{NAMESPACE}/services/https:s:web/proxy"
    assert (await send(server, "GET", f"{base}/redirect")).headers["location"] == f"{base}/there?x=1"
    assert (await send(server, "GET", f"{base}/away")).headers["location"] == "https://example.com/there"
    bare = await send(server, "GET", base)
    assert (bare.status, bare.headers["Location"]) == (301, f"{base}/")


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("https://10.0.0.1:8443/a", "/p/a"),
        ("https://10.0.0.1:9/a", "https://10.0.0.1:9/a"),
        ("//10.0.0.1:8443/a", "/p/a"),
        ("a/b", "a/b"),
        ("https://[bad", "https://[bad"),
    ],
)
def test_only_the_servers_own_paths_are_moved(location: str, leads: str) -> None:
    assert redirected(location, Destination(Endpoint("10.0.0.1", 8443), None, "/", "/p")) == leads


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("pods/p:99999/proxy/", 400, b"invalid port"),
        ("pods/p:web/proxy/", 400, b"named by number"),
        ("pods/ftp:p:80/proxy/", 400, b"invalid proxy request"),
        ("pods/absent/proxy/", 404, b"not found"),
        ("pods/p:1/proxy/", 503, b"error trying to reach service"),
        ("services/s/proxy/", 503, b"no service port without a name"),
        ("services/s:dead/proxy/", 503, b"no endpoints available"),
        ("services/s:web/proxy/a%2fb", 404, b"could not find"),
        ("services/s:web/proxy/../x", 404, b"could not find"),
    ],
)
async def test_what_cannot_be_reached_is_refused(server: ApiServer, path: str, status: int, says: bytes) -> None:
    reply = await send(server, "GET", f"{NAMESPACE}/{path}")
    assert (reply.status, says in await content_of(reply)) == (status, True)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "::1"])
async def test_addresses_that_mean_this_host_are_never_dialled(server: ApiServer, address: str) -> None:
    node = {"metadata": {"name": "bad"}}
    await send(server, "POST", "/api/v1/nodes", node)
    status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
    merge = {"content-type": "application/merge-patch+json"}
    await send(server, "PATCH", "/api/v1/nodes/bad/status", status, merge)
    reply = await send(server, "GET", "/api/v1/nodes/bad:80/proxy/latest")
    assert (reply.status, b"address not allowed" in await content_of(reply)) == (400, True)


async def test_an_external_name_is_never_proxied(server: ApiServer) -> None:
    spec = {"type": "ExternalName", "externalName": "metadata.example.com"}
    await send(server, "POST", f"{NAMESPACE}/services", {"metadata": {"name": "out"}, "spec": spec})
    assert (await send(server, "GET", f"{NAMESPACE}/services/out:80/proxy/")).status == 503


def test_a_name_may_have_a_scheme_and_a_port() -> None:
    assert named_of("a") == Named("", "a", "")
    assert named_of("a:80") == Named("", "a", "80")
    assert named_of("https:a:web") == Named("https", "a", "web")
    assert named_of("https:a:") == Named("https", "a", "")
    for text in ("", ":80", "http:a:b:c", "gopher:a:1"):
        with pytest.raises(BadRequest):
            named_of(text)
