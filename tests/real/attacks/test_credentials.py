"""Credentials that are none: certificates and tokens that were forged, outlived or meant for something else."""

from __future__ import annotations

import http.client
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.base.pki import KeyPair, create_ca, issue_client, issue_serving
from tests.real.clients.served import DEADLINE_S, Answer, Server, until

NAMESPACE = "/api/v1/namespaces/credentials"
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture(scope="module", autouse=True)
def namespace(server: Server) -> None:
    assert server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "credentials"}}).status == 201
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    assert server.request("POST", f"{NAMESPACE}/secrets", secret).status == 201
    until(
        lambda: server.request("GET", f"{NAMESPACE}/serviceaccounts/default").status == 200,
        what="the namespace has its service account",
    )


@pytest.fixture(scope="module")
def ca(server: Server) -> KeyPair:
    """The cluster's own, as only its host has it."""
    pki = server.state / "pki"
    return KeyPair((pki / "ca.crt").read_bytes(), (pki / "ca.key").read_bytes())


def ask(
    server: Server,
    pair: KeyPair,
    directory: Path,
    method: str = "GET",
    path: str = "/api/v1/nodes",
    body: bytes | None = None,
    media: str = "application/json",
) -> Answer | None:
    """What the server answers to the holder of a certificate; None where it does not shake hands."""
    file = directory / "pair.pem"
    file.write_bytes(pair.certificate + pair.key)
    context = server.tls(as_admin=False)
    context.load_cert_chain(file)
    connection = http.client.HTTPSConnection(server.host, server.port, context=context, timeout=DEADLINE_S)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": media} if body else {})
        reply = connection.getresponse()
        return Answer(reply.status, reply.read())
    except (ssl.SSLError, ConnectionError):
        return None
    finally:
        connection.close()


def test_a_certificate_counts_only_if_our_authority_issued_it_for_clients_and_it_is_its_time(
    server: Server, ca: KeyPair, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    groups = ["system:masters"]
    good = ask(server, issue_client(ca, "root", groups, now=now), tmp_path)
    assert good is not None and good.status == 200
    foreign = create_ca("reconciler", now=now)
    bad = {
        "another authority": issue_client(foreign, "root", groups, now=now),
        "long over": issue_client(ca, "root", groups, now=now - timedelta(days=5000)),
        "not yet": issue_client(ca, "root", groups, now=now + timedelta(days=30)),
        "for serving": issue_serving(ca, "root", ["localhost"], now=now),
        "its own authority": foreign,
    }
    for what, pair in bad.items():
        answer = ask(server, pair, tmp_path)
        assert answer is None or answer.status == 401, (what, answer)


@pytest.mark.parametrize(
    "user",
    ["system:masters", "system:anonymous,O=system:masters", "root/O=system:masters", "root\nO: system:masters", " "],
)
def test_a_strange_name_is_only_a_name(server: Server, ca: KeyPair, tmp_path: Path, user: str) -> None:
    answer = ask(
        server, issue_client(ca, user, ["system:masters,x", "x+O=system:masters"], now=datetime.now(UTC)), tmp_path
    )
    assert answer is not None and answer.status in (401, 403), answer


def token_of(server: Server, account: str, **spec: Any) -> str:
    made = server.request("POST", f"{NAMESPACE}/serviceaccounts/{account}/token", {"spec": spec})
    assert made.status == 201, made.body
    return str(made.obj["status"]["token"])


def status_with(server: Server, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return server.request("GET", f"{NAMESPACE}/secrets/s", headers=headers, as_admin=False).status


def test_a_token_ends_with_what_it_is_bound_to(server: Server) -> None:
    accounts = f"{NAMESPACE}/serviceaccounts"
    assert server.request("POST", accounts, {"metadata": {"name": "gone"}}).status == 201
    pod = {
        "metadata": {"name": "p"},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]},
    }
    uid = server.request("POST", f"{NAMESPACE}/pods", pod).obj["metadata"]["uid"]
    bound = token_of(server, "default", boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid})
    plain = token_of(server, "gone")
    # Known, and without any right.
    assert (status_with(server, bound), status_with(server, plain)) == (403, 403)
    assert server.request("DELETE", f"{accounts}/gone").status == 200
    assert server.request("DELETE", f"{NAMESPACE}/pods/p", {"gracePeriodSeconds": 0}).status == 200
    # What was found out about a token may be remembered for ten seconds.
    until(lambda: (status_with(server, bound), status_with(server, plain)) == (401, 401), what="both tokens are dead")
    assert server.request("POST", accounts, {"metadata": {"name": "gone"}}).status == 201
    assert status_with(server, plain) == 401


def test_a_token_for_others_is_none_for_the_api(server: Server) -> None:
    assert status_with(server, token_of(server, "default", audiences=["vault"])) == 401
    elsewhere = {"kind": "Pod", "apiVersion": "v1", "name": "absent", "uid": "x"}
    refused = server.request(
        "POST", f"{NAMESPACE}/serviceaccounts/default/token", {"spec": {"boundObjectRef": elsewhere}}
    )
    assert refused.status in (404, 409)
    short = server.request("POST", f"{NAMESPACE}/serviceaccounts/default/token", {"spec": {"expirationSeconds": 10}})
    assert short.status == 422


def test_a_node_is_confined_to_itself_and_its_pods(server: Server, ca: KeyPair, tmp_path: Path) -> None:
    node = issue_client(ca, "system:node:evil", ["system:nodes"], now=datetime.now(UTC))
    mine = server.request("GET", "/api/v1/nodes").obj["items"][0]["metadata"]["name"]
    forbidden: list[tuple[str, str, bytes | None, str]] = [
        ("GET", f"{NAMESPACE}/secrets/s", None, ""),
        ("GET", f"{NAMESPACE}/secrets", None, ""),
        ("GET", "/api/v1/secrets?watch=true", None, ""),
        ("PATCH", f"/api/v1/nodes/{mine}", b'{"metadata":{"labels":{"x":"y"}}}', MERGE["Content-Type"]),
        ("PATCH", f"/api/v1/nodes/{mine}/status", b'{"status":{"phase":"x"}}', MERGE["Content-Type"]),
        ("DELETE", f"/api/v1/nodes/{mine}", None, ""),
        ("POST", "/api/v1/nodes", b'{"metadata":{"name":"other"}}', "application/json"),
        ("POST", f"{NAMESPACE}/serviceaccounts/default/token", b'{"spec":{}}', "application/json"),
        ("PATCH", f"{NAMESPACE}/pods/p", b'{"metadata":{"labels":{"x":"y"}}}', MERGE["Content-Type"]),
        ("POST", f"{NAMESPACE}/configmaps", b'{"metadata":{"name":"x"}}', "application/json"),
        ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterroles/view", b'{"rules":[]}', MERGE["Content-Type"]),
        ("GET", "/node-channel/v1/" + mine, None, ""),
    ]
    for method, path, body, media in forbidden:
        answer = ask(server, node, tmp_path, method, path, body, media)
        assert answer is not None and answer.status in (400, 403), (method, path, answer)
    registered = ask(server, node, tmp_path, "POST", "/api/v1/nodes", b'{"metadata":{"name":"evil"}}')
    assert registered is not None and registered.status == 201, registered
    owner = b'{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}]}}'
    trusted = b'{"metadata":{"labels":{"node-restriction.kubernetes.io/trusted":"yes"}}}'
    for change in (owner, trusted, b'{"spec":{"taints":[]}}'):
        answer = ask(server, node, tmp_path, "PATCH", "/api/v1/nodes/evil", change, MERGE["Content-Type"])
        assert answer is not None and answer.status == 403, (change, answer)
    assert server.request("DELETE", "/api/v1/nodes/evil").status == 200
