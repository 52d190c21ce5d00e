"""Calls to webhooks by URL and by Service: who is verified, which endpoint is asked, what a failure says."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver.dialing import Dialer
from cluster.apiserver.service_resolver import ServiceResolver, ServiceUnresolved
from cluster.apiserver.state import State, TableId, path_of, stored_form
from cluster.apiserver.webhook_client import WebhookClient, WebhookFailed
from cluster.client.node_channel import ByteStream, ContainerRef
from cluster.machinery.errors import BadRequest
from cluster.machinery.objects import Key, Obj
from cluster.store.api import Put
from cluster.store.memory import MemoryStore
from tests.clocks import SteppedClock
from tests.https_servers import Answered, HttpsPeer, Received, authority, https_peer


class Stream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(1000)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()


class Node:
    """A node whose pods' ports are ports of this host; `refused` are the pods nobody answers in."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[str] = []

    def channel(self, node: str) -> Any:
        return self

    async def connect(self, container: ContainerRef, port: int) -> ByteStream:
        self.asked.append(container.pod)
        if container.pod in self.refused:
            raise BadRequest("connection refused")
        return Stream(*await asyncio.open_connection("127.0.0.1", port))


async def state_with(*objects: Obj) -> State:
    store = MemoryStore(SteppedClock())
    for obj in objects:
        group = "discovery.k8s.io" if obj["kind"] == "EndpointSlice" else ""
        plural = {"EndpointSlice": "endpointslices", "Service": "services"}[obj["kind"]]
        key = Key(obj["metadata"]["namespace"], obj["metadata"]["name"])
        await store.commit([Put(path_of(TableId(group, plural), key), stored_form(obj), 0)])
    state = State(store)
    await state.load()
    return state


def service(**spec: Any) -> Obj:
    spec = {"ports": [{"port": 443, "name": "web"}, {"port": 9443, "name": "admin"}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook", "namespace": "ns"}, "spec": spec}


def slice_of(name: str, port: int, *pods: str, ready: bool | None = True, port_name: str = "web") -> Obj:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.9.0.{index}"],
                "conditions": {} if ready is None else {"ready": ready},
                "nodeName": "n",
                "targetRef": {"kind": "Pod", "name": pod, "namespace": "ns", "uid": f"uid-{pod}"},
            }
            for index, pod in enumerate(pods, 1)
        ],
        "ports": [{"port": port, "name": port_name, "protocol": "TCP"}],
    }


@asynccontextmanager
async def calling(*objects: Obj, node: Node | None = None) -> AsyncIterator[WebhookClient]:
    dialer = Dialer(node or Node(), pods_are_routable=False)
    client = WebhookClient(ServiceResolver(await state_with(*objects)), dialer)
    try:
        yield client
    finally:
        await client.close()
        await dialer.close()


def bundle(peer: HttpsPeer) -> str:
    return base64.b64encode(peer.ca_pem.encode()).decode()


def at(peer: HttpsPeer, **more: Any) -> Obj:
    return {"url": f"https://127.0.0.1:{peer.port}/review", "caBundle": bundle(peer), **more}


def hook(peer: HttpsPeer, **more: Any) -> Obj:
    return {"service": {"namespace": "ns", "name": "hook", **more}, "caBundle": bundle(peer)}


async def echo(request: Received) -> Answered:
    return Answered(body=request.body)


async def test_a_url_is_called_over_connections_that_are_kept(tmp_path: Path) -> None:
    async with https_peer(tmp_path, echo, "127.0.0.1") as peer, calling() as client:
        for body in (b"one", b"two"):
            assert await client.call(at(peer), body, timeout_s=10) == body
        assert [(r.method, r.target, r.headers["content-type"]) for r in peer.received] == [
            ("POST", "/review?timeout=10s", "application/json")
        ] * 2
        assert peer.connections == 1


async def test_a_service_is_called_through_the_node_of_its_pod(tmp_path: Path) -> None:
    node = Node()
    async with https_peer(tmp_path, echo, "hook.ns.svc") as peer:
        async with calling(service(), slice_of("a", peer.port, "p"), node=node) as client:
            assert await client.call(hook(peer, path="/x"), b"hello", timeout_s=10) == b"hello"
        assert peer.received[0].target == "/x?timeout=10s"
        assert peer.received[0].headers["host"] == "hook.ns.svc:443"
        assert node.asked == ["p"]


async def test_an_endpoint_that_refuses_is_passed_over(tmp_path: Path) -> None:
    async with https_peer(tmp_path, echo, "hook.ns.svc") as peer:
        node = Node("bad")
        async with calling(service(), slice_of("a", peer.port, "bad", "good"), node=node) as client:
            for _ in range(2):
                assert await client.call(hook(peer), b"{}", timeout_s=10) == b"{}"
        assert "good" in node.asked


@pytest.mark.parametrize(
    ("names", "says"),
    [(("other.ns.svc",), "not valid for 'hook.ns.svc'"), (("127.0.0.1",), "not valid for 'hook.ns.svc'")],
)
async def test_a_certificate_for_another_name_is_refused(tmp_path: Path, names: tuple[str, ...], says: str) -> None:
    async with https_peer(tmp_path, echo, *names) as peer:
        async with calling(service(), slice_of("a", peer.port, "p")) as client:
            with pytest.raises(WebhookFailed, match=says):
                await client.call(hook(peer), b"{}", timeout_s=10)
        assert not peer.received


async def test_a_certificate_of_another_authority_is_refused(tmp_path: Path) -> None:
    async with https_peer(tmp_path, echo, "127.0.0.1") as peer, calling() as client:
        other = base64.b64encode(authority().certificate).decode()
        with pytest.raises(WebhookFailed, match="certificate verify failed"):
            await client.call(at(peer, caBundle=other), b"{}", timeout_s=10)


async def test_a_slow_webhook_is_given_up(tmp_path: Path) -> None:
    async def never(request: Received) -> Answered:
        await asyncio.Event().wait()
        return Answered()

    async with https_peer(tmp_path, never, "127.0.0.1") as peer, calling() as client:
        with pytest.raises(WebhookFailed, match="context deadline exceeded"):
            await client.call(at(peer), b"{}", timeout_s=0.1)


@pytest.mark.parametrize(
    ("answered", "says"),
    [
        (Answered(500, b"broken"), 'an error on the server ."broken".'),
        (Answered(404), "could not find the requested resource"),
        (Answered(503, b'{"kind": "Status", "message": "later"}'), ": later"),
        (Answered(302, headers={"Location": "http://169.254.169.254/"}), "an error on the server"),
        (Answered(200, b"x" * (17 * 1024 * 1024)), "the body exceeds"),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
async def test_whatever_is_not_a_200_is_a_failure(tmp_path: Path, answered: Answered, says: str) -> None:
    async def answer(request: Received) -> Answered:
        return answered

    async with https_peer(tmp_path, answer, "127.0.0.1") as peer, calling() as client:
        with pytest.raises(WebhookFailed, match=says):
            await client.call(at(peer), b"{}", timeout_s=10)
        assert len(peer.received) == 1


@pytest.mark.parametrize(
    ("objects", "port", "says"),
    [
        ((), 443, 'service "hook" not found'),
        ((service(),), 443, 'no endpoints available for service "hook"'),
        ((service(), slice_of("a", 1, "p", ready=False)), 443, "no endpoints available"),
        ((service(), slice_of("a", 1, "p", port_name="admin")), 443, "no endpoints available"),
        ((service(),), 80, 'no service port 80 found for service "hook"'),
        ((service(),), "", "no service port without a name found"),
    ],
)
async def test_what_a_service_lacks_is_said(objects: tuple[Obj, ...], port: int | str, says: str) -> None:
    with pytest.raises(ServiceUnresolved, match=says):
        ServiceResolver(await state_with(*objects)).endpoints("ns", "hook", port)


async def test_endpoints_take_turns() -> None:
    resolver = ServiceResolver(await state_with(service(), slice_of("a", 8443, "p", "q", ready=None)))
    firsts = [resolver.endpoints("ns", "hook", "web")[0].address for _ in range(4)]
    assert sorted(firsts) == ["10.9.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.2"]


async def test_an_external_name_is_the_host() -> None:
    resolver = ServiceResolver(await state_with(service(type="ExternalName", externalName="hooks.example.com")))
    assert resolver.endpoints("ns", "hook", 8443)[0][:2] == ("hooks.example.com", 8443)
