"""Hostile and broken input over the wire: refused with a 4xx Status, quickly, and the server serves on."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import yaml

from tests.real.clients.served import Answer, Kubectl, Server, until
from tests.real.clients.test_kubectl_crds import definition

JSON = {"Content-Type": "application/json"}
YAML = {"Content-Type": "application/yaml"}
MEBIBYTE = 1 << 20


@pytest.fixture
def config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture(autouse=True)
def serves_on(server: Server) -> Iterator[None]:
    """After each test the server still answers, and what the test sent is not kept."""
    before = server.resident_bytes()
    yield
    assert server.request("GET", "/readyz").status == 200
    assert server.resident_bytes() - before < 50 * MEBIBYTE


def refused(answer: Answer, *codes: int) -> str:
    """The message of a refusal with one of these codes."""
    assert answer.status in codes, (answer.status, answer.body[:300])
    status = answer.obj
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", answer.status)
    return str(status["message"])


def nested(levels: int, inside: bytes = b"1") -> bytes:
    return b'{"a":' * levels + inside + b"}" * levels


def alias_bomb() -> bytes:
    lines = ['a: &a ["x","x","x","x","x","x","x","x","x"]']
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]")
    return "\n".join(lines).encode()


BODIES: dict[str, tuple[dict[str, str], bytes, tuple[int, ...]]] = {
    "deep objects": (JSON, b'{"metadata":{"name":"x"},"data":' + nested(50_000) + b"}", (400,)),
    "deep arrays": (JSON, b"[" * 100_000 + b"]" * 100_000, (400,)),
    "fairly deep objects": (JSON, b'{"metadata":{"name":"x"},"data":' + nested(500) + b"}", (400,)),
    "not a number": (JSON, b'{"metadata":{"name":"x","generation":NaN}}', (400,)),
    "infinity": (JSON, b'{"metadata":{"name":"x","generation":1e999}}', (400,)),
    "a million digits": (JSON, b'{"metadata":{"name":"x","generation":' + b"9" * 1_000_000 + b"}}", (400,)),
    "a lone surrogate": (JSON, b'{"metadata":{"name":"x"},"data":{"a":"\\ud800"}}', (400,)),
    "not UTF-8": (JSON, b'{"metadata":{"name":"x"},"data":{"a":"\xff\xfe"}}', (400,)),
    "cut short": (JSON, b'{"metadata":{"name":"x"', (400,)),
    "no object": (JSON, b'"x"', (400,)),
    "a byte too many": (JSON, b'{"data":{"a":"' + b"a" * (3 * MEBIBYTE) + b'"}}', (413,)),
    "two mebibytes of data": (JSON, b'{"metadata":{"name":"x"},"data":{"a":"' + b"a" * (2 * MEBIBYTE) + b'"}}', (422,)),
    "long annotations": (JSON, orjson.dumps({"metadata": {"name": "x", "annotations": {"a": "b" * 300_000}}}), (422,)),
    "a hundred thousand labels": (
        JSON, orjson.dumps({"metadata": {"name": "x", "labels": {f"a{n}": "b" for n in range(100_000)}}}), (413, 422),
    ),
    "a NUL in the name": (JSON, b'{"metadata":{"name":"x\\u0000y"}}', (422,)),
    "a path for a name": (JSON, b'{"metadata":{"name":"../../etc/passwd"}}', (422,)),
    "a newline in a label": (JSON, b'{"metadata":{"name":"x","labels":{"a":"b\\nc"}}}', (422,)),
    "terminal codes in a name": (JSON, b'{"metadata":{"name":"x\\u001b[31m"}}', (422,)),
    "right-to-left in a name": (JSON, '{"metadata":{"name":"x\u202ey"}}'.encode(), (422,)),
    "an alias bomb": (YAML, alias_bomb(), (400,)),
    "deep flow": (YAML, b"[" * 50_000, (400,)),
    "deep blocks": (YAML, b"\n".join(b" " * n + b"a:" for n in range(1500)), (400,)),
    "a Python object": (YAML, b'metadata: !!python/object/apply:os.system ["id"]', (400,)),
    "a key twice": (YAML, b"metadata: {name: a}\nmetadata: {name: b}", (400,)),
    "a NUL": (YAML, b"metadata: {name: a}\x00", (400,)),
    "two documents": (YAML, b"metadata: {name: a}\n---\nmetadata: {name: b}", (400,)),
    "unknown media": ({"Content-Type": "application/cbor"}, b"\xd9", (415,)),
    "compressed": ({**JSON, "Content-Encoding": "gzip"}, b"\x1f\x8b" + b"x" * 50, (415,)),
    "protobuf junk": (
        {"Content-Type": "application/vnd.kubernetes.protobuf"}, b"k8s\x00" + bytes(range(256)) * 10, (400,),
    ),
    "protobuf that claims gigabytes": (
        {"Content-Type": "application/vnd.kubernetes.protobuf"}, b"k8s\x00\x12\xff\xff\xff\xff\x0f", (400,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_broken_and_hostile_bodies_are_refused(server: Server, config_maps: str, case: str) -> None:
    headers, body, codes = BODIES[case]
    refused(server.request("POST", config_maps, body, headers=headers), *codes)
    assert [item["metadata"]["name"] for item in server.request("GET", config_maps).obj["items"]] in (
        [], ["kube-root-ca.crt"],
    )  # fmt: skip


MERGE, STRATEGIC, STEPS = "merge-patch", "strategic-merge-patch", "json-patch"
PATCHES: list[tuple[str, Any, int]] = [
    (STEPS, [{"op": "test", "path": "/data/a", "value": "b"}] * 10_001, 413),
    (STEPS, [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(40)], 422),
    (STEPS, {"a": 1}, 400),
    (STEPS, [{"op": "explode", "path": "/data"}], 400),
    (STEPS, [{"op": "add", "path": "data", "value": 1}], 400),
    (STEPS, [{"op": "remove", "path": "/data/absent"}], 422),
    (STEPS, [{"op": "add", "path": "/metadata/managedFields/99999", "value": 1}], 422),
    (STEPS, [{"op": "replace", "path": "", "value": 1}], 422),
    (STEPS, [{"op": "replace", "path": "/kind", "value": "Secret"}], 400),
    (MERGE, 3, 400),
    (MERGE, [], 400),
    (MERGE, {"metadata": {"name": "other"}}, 400),
    (MERGE, {"metadata": {"uid": "other"}}, 409),
    (MERGE, {"data": {"a": {"b": 1}}}, 400),
    (STRATEGIC, {"$patch": "nonsense"}, 400),
    (STRATEGIC, {"metadata": {"labels": 3}}, 400),
    (STRATEGIC, {"metadata": {"$deleteFromPrimitiveList/finalizers": "x"}}, 400),
    (STRATEGIC, {"metadata": {"ownerReferences": [{"$patch": "delete"}]}}, 400),
    (STRATEGIC, {"$retainKeys": 3}, 400),
    ("unheard-of-patch", {}, 415),
]


def test_broken_and_hostile_patches_are_refused(server: Server, config_maps: str) -> None:
    server.request("POST", config_maps, {"metadata": {"name": "c"}, "data": {"a": "b" * 1000}})
    before = server.request("GET", f"{config_maps}/c").body
    for media, patch, code in PATCHES:
        headers = {"Content-Type": f"application/{media}+json"}
        refused(server.request("PATCH", f"{config_maps}/c", patch, headers=headers), code)
    deep = server.request(
        "PATCH", f"{config_maps}/c", nested(1000), headers={"Content-Type": "application/merge-patch+json"}
    )
    refused(deep, 400)
    assert server.request("GET", f"{config_maps}/c").body == before


def test_what_only_the_server_sets_cannot_be_set(server: Server, config_maps: str, namespace: str) -> None:
    forged = {
        "name": "c", "uid": "forged", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 99,
        "deletionTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x",
    }  # fmt: skip
    made = server.request("POST", config_maps, {"metadata": forged}).obj["metadata"]
    assert made["uid"] != "forged"
    assert not made["creationTimestamp"].startswith("2001")
    assert not {"deletionTimestamp", "generation", "selfLink"} & set(made)
    versioned = server.request("POST", config_maps, {"metadata": {"name": "d", "resourceVersion": "5"}})
    assert "resourceVersion should not be set" in refused(versioned, 400)
    elsewhere = server.request("POST", config_maps, {"metadata": {"name": "d", "namespace": "kube-system"}})
    assert "does not match the namespace" in refused(elsewhere, 400)
    pod = {
        "metadata": {"name": "p"},
        "spec": {"schedulerName": "none", "containers": [{"name": "c", "image": "i"}]},
        "status": {"phase": "Running", "podIP": "1.2.3.4"},
    }
    answered = server.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod).obj["status"]
    assert (answered["phase"], "podIP" in answered) == ("Pending", False)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/{ns}/configmaps/..",
        "/api/v1/namespaces/{ns}/configmaps/%2e%2e",
        "/api/v1/namespaces/{ns}/configmaps/..%2f..%2fsecrets",
        "/api/v1/namespaces/{ns}/../kube-system/secrets",
        "/api/v1/namespaces/{ns}/nodes",
        "/api/v1/configmaps/kube-root-ca.crt",
        "//api/v1/nodes",
        "/api/v1//nodes",
        "/api/v1/namespaces//pods",
        "/API/v1/nodes",
        "/api/v1/Nodes",
        "/api/v1/nodes;x=1",
        "/api/v1/nodes/%0d%0aSet-Cookie:x",
        "/api/v1/nodes/x%00y",
        "/apis/apps/v1/namespaces/{ns}/pods",
        "/apis/../api/v1/nodes",
        "/openapi/v3/../../etc/passwd",
    ],
)
def test_paths_that_are_no_clean_path_name_nothing(server: Server, namespace: str, path: str) -> None:
    answer = server.request("GET", path.format(ns=namespace))
    refused(answer, 404)
    assert "set-cookie" not in answer.headers


def raw(server: Server, data: bytes) -> bytes:
    """What the server says to these bytes until it closes or falls silent."""
    received = b""
    with (
        socket.create_connection((server.host, server.port), timeout=5) as plain,
        server.tls(as_admin=False).wrap_socket(plain, server_hostname=server.host) as connection,
    ):
        with contextlib.suppress(OSError):
            connection.sendall(data)
        connection.settimeout(2)
        with contextlib.suppress(TimeoutError, OSError):
            while part := connection.recv(65_536):
                received += part
    return received


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
        b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\n X-Folded: b\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /api HTTP/1.1\r\n\r\n",
        b"GET /api HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /api HTTP/9.9\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /api HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
)
def test_ambiguous_requests_are_refused_and_the_connection_ends(server: Server, request_bytes: bytes) -> None:
    answer = raw(server, request_bytes)
    assert answer.startswith(b"HTTP/1.1 4") or answer == b""
    assert answer.count(b"HTTP/1.1") <= 1
    assert b"200 OK" not in answer


def test_an_upgrade_to_another_protocol_is_not_taken(server: Server) -> None:
    answer = raw(
        server,
        b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    )
    assert not answer.startswith(b"HTTP/1.1 101")


def test_nobody_in_particular_learns_nothing(server: Server, namespace: str) -> None:
    there = server.request("GET", f"/api/v1/namespaces/{namespace}/secrets/a", as_admin=False)
    absent = server.request("GET", "/api/v1/namespaces/absent/secrets/a", as_admin=False)
    assert "system:anonymous" in refused(there, 403)
    refused(absent, 403)
    refused(server.request("GET", "/api/v1/no-such-thing", as_admin=False), 403)
    assert server.request("GET", "/version", as_admin=False).status == 200
    assert server.request("GET", "/metrics", as_admin=False).status == 403


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_forged_tokens_are_refused(server: Server, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default/token"
    token = server.request("POST", path, {"spec": {}}).obj["status"]["token"]
    _head, claims, signature = token.split(".")
    pods = f"/api/v1/namespaces/{namespace}/pods"
    admin = {"sub": "system:serviceaccount:kube-system:admin", "aud": ["api"], "exp": 9_999_999_999}
    forged = [
        f"{part({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
        f"{part({'alg': 'none'})}.{part(admin)}.{signature}",
        f"{part({'alg': 'HS256'})}.{claims}.{signature}",
        f"{_head}.{part(admin)}.{signature}",
        f"{_head}.{claims}.",
        f"{_head}.{claims}.{signature[:-4]}AAAA",
        f"{claims}.{signature}",
        "." * 5000,
        "x" * 10_000,
    ]
    assert server.request("GET", pods, headers={"Authorization": f"Bearer {token}"}, as_admin=False).status == 403
    for wrong in forged:
        refused(server.request("GET", pods, headers={"Authorization": f"Bearer {wrong}"}, as_admin=False), 401)
    refused(server.request("GET", pods, headers={"Authorization": "Basic YTpi"}, as_admin=False), 401, 403)
    impersonating = {
        "Authorization": f"Bearer {token}",
        "Impersonate-User": "root",
        "Impersonate-Group": "system:masters",
    }
    refused(server.request("GET", pods, headers=impersonating, as_admin=False), 403)
    refused(server.request("GET", pods, headers={"Impersonate-Group": "system:masters"}), 400)


def test_free_form_objects_are_as_deep_as_can_be_read_back(server: Server, namespace: str) -> None:
    """A custom resource may hold anything: what is accepted must be written, listed and watched again."""
    group = f"{namespace.replace('-', '')}.example.com"
    made = server.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", yaml.safe_load(definition(group))
    )
    assert made.status == 201
    widgets = f"/apis/{group}/v1/namespaces/{namespace}/widgets"
    taken = 0
    for levels in (60, 150, 190, 198, 210, 250, 260, 400, 900):
        free = nested(levels)
        body = b'{"metadata":{"name":"w%d"},"spec":{"size":1,"free":%b}}' % (levels, free)
        answer = server.request("POST", widgets, body)
        assert answer.status in (201, 400, 422), (levels, answer.body[-300:])
        if answer.status == 201:
            taken += 1
            assert server.request("GET", f"{widgets}/w{levels}").status == 200
            changed = server.request(
                "PATCH",
                f"{widgets}/w{levels}",
                {"spec": {"size": 2}},
                headers={"Content-Type": "application/merge-patch+json"},
            )
            assert changed.status == 200, (levels, changed.body[-300:])
    assert taken == 4
    assert len(server.request("GET", widgets).obj["items"]) == taken
    assert server.request("GET", f"{widgets}?watch=true&timeoutSeconds=1").body.count(b'"ADDED"') == taken


def test_many_watchers_that_do_not_read_cost_little(server: Server, config_maps: str) -> None:
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        for _ in range(100):
            connection = opened.enter_context(server.connection())
            connection.request("GET", f"{config_maps}?watch=true")
        for number in range(100):
            body = {"metadata": {"name": f"c{number}"}, "data": {"a": "x" * 50_000}}
            assert server.request("POST", config_maps, body).status == 201
        # Five megabytes to each of a hundred readers would be half a gigabyte, were it buffered for them.
        assert server.resident_bytes() - before < 45 * MEBIBYTE
        assert server.request("GET", f"{config_maps}/c99").status == 200
    server.request("DELETE", config_maps)
    until(lambda: len(server.request("GET", config_maps).obj["items"]) <= 1, what="all are deleted")


def test_kubectl_says_why_a_manifest_is_too_large(kubectl: Kubectl) -> None:
    big = json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "x" * 3_200_000}}
    )
    assert "Request entity too large: limit is 3145728" in kubectl.refused("create", "-f", "-", stdin=big)
