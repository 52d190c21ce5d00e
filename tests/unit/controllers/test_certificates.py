"""Certificate requests: who gets one without asking a person, what is signed, and when a request is forgotten."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from cluster.apiserver.http import Identity
from cluster.base.certificate_requests import CertificateRequest, create_request
from cluster.client.transport import Patch, PatchType
from cluster.controllers.certificates_signers import refusal_of
from cluster.machinery.errors import ApiError, Forbidden, Invalid
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS as REQUESTS
from cluster.resources.builtin import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from cluster.resources.certificates import (
    KUBE_APISERVER_CLIENT,
    KUBE_APISERVER_CLIENT_KUBELET,
    KUBELET_SERVING,
    certificate_pem_of,
    has_condition,
)
from tests.unit.controllers.cluster import AUTHORITY, Cluster, cluster

NODE = Identity("system:node:n1", ("system:nodes", "system:authenticated"))
CLIENT_USAGES = ["digital signature", "client auth"]


def csr(name: str, pem: bytes, signer: str = KUBE_APISERVER_CLIENT, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem).decode(),
            "signerName": signer,
            "usages": CLIENT_USAGES,
            **spec,
        },
    }


def decided(obj: Obj, type_: str) -> dict[str, Any]:
    condition = {"type": type_, "status": "True", "reason": "Test", "message": "by a test"}
    return {**obj, "status": {"conditions": [condition]}}


def live(world: Cluster, name: str) -> Obj:
    found = world.server.cache().get(REQUESTS, Key("", name))
    assert found is not None
    return found


async def test_a_persons_request_waits_for_approval_and_is_then_signed() -> None:
    async with cluster() as world:
        boss = Identity("boss", ("system:masters",), "u1", {"from": ("here",)})
        made = await world.server.transport(boss).create(
            REQUESTS, csr("jane", create_request("jane", ["team"]).certificate, expirationSeconds=3600, username="root")
        )
        assert (made["spec"]["username"], made["spec"]["uid"], made["spec"]["extra"]) == (
            "boss",
            "u1",
            {"from": ["here"]},
        )
        await world.settle(2)
        assert not live(world, "jane").get("status")
        await world.api.update(REQUESTS, decided(made, "Approved"), subresource="approval")
        signed = await world.until(lambda: certificate_pem_of(live(world, "jane")))
        certificate = x509.load_pem_x509_certificate(signed)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(AUTHORITY.certificate))
        assert certificate.subject.rfc4514_string() == "CN=jane,O=team"
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert life == timedelta(hours=1, minutes=5)
        condition = live(world, "jane")["status"]["conditions"][0]
        assert condition["lastUpdateTime"] and condition["lastTransitionTime"]


async def test_a_node_renews_its_own_certificate_without_a_person_and_asks_for_no_other_nodes() -> None:
    async with cluster() as world:
        node = world.server.transport(NODE)
        own, other = (create_request(f"system:node:{name}", ["system:nodes"]).certificate for name in ("n1", "n2"))
        await node.create(REQUESTS, csr("own", own, KUBE_APISERVER_CLIENT_KUBELET))
        await world.until(lambda: certificate_pem_of(live(world, "own")))
        with pytest.raises(Forbidden, match="can only create a node CSR with CN=system:node:n1"):
            await node.create(REQUESTS, csr("other", other, KUBE_APISERVER_CLIENT_KUBELET))
        # Who may approve nothing by asking waits for a person.
        await world.api.create(REQUESTS, csr("other", other, KUBE_APISERVER_CLIENT_KUBELET))
        await world.settle(1)


async def test_what_a_signer_does_not_sign_fails_with_the_reason() -> None:
    async with cluster() as world:
        pem = create_request("jane", ["team"]).certificate
        made = await world.api.create(
            REQUESTS, csr("wrong", pem, KUBELET_SERVING, usages=["server auth", "digital signature"])
        )
        await world.api.update(REQUESTS, decided(made, "Approved"), subresource="approval")
        await world.until(lambda: has_condition(live(world, "wrong"), "Failed"))
        failed = live(world, "wrong")["status"]["conditions"][1]
        assert failed["reason"] == "SignerValidationFailure"
        assert failed["message"] == "subject organization is not system:nodes"


async def test_requests_are_forgotten_an_hour_after_their_decision_and_a_day_after_they_were_made() -> None:
    async with cluster() as world:
        pem = create_request("jane", []).certificate
        await world.api.create(REQUESTS, csr("pending", pem))
        made = await world.api.create(REQUESTS, csr("denied", pem))
        await world.api.update(REQUESTS, decided(made, "Denied"), subresource="approval")

        def names() -> set[str]:
            return {obj["metadata"]["name"] for obj in world.server.cache().list(REQUESTS)}

        await world.settle(1)
        await world.clock.step(3590)
        await world.settle(1)
        assert names() == {"pending", "denied"}
        await world.clock.step(20)
        await world.until(lambda: names() == {"pending"})
        await world.clock.step(23 * 3600)
        await world.until(lambda: names() == set())


async def test_only_who_may_approve_or_sign_for_a_signer_does() -> None:
    async with cluster() as world:
        made = await world.api.create(REQUESTS, csr("c", create_request("jane", []).certificate))
        rules = [
            {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests/approval",
             "certificatesigningrequests/status"], "verbs": ["update"]},
            {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"],
             "resourceNames": ["example.com/*"]},
        ]  # fmt: skip
        bob = await world_with(world, "bob", rules)
        for subresource, what in (("approval", "approve"), ("status", "sign")):
            with pytest.raises(
                Forbidden, match=f'user not permitted to {what} requests with signerName "{made["spec"]["signerName"]}"'
            ):
                await bob.update(REQUESTS, decided(made, "Failed"), subresource=subresource)
        other = await world.api.create(REQUESTS, csr("o", create_request("x", []).certificate, "example.com/own"))
        approved = await bob.update(REQUESTS, decided(other, "Approved"), subresource="approval")
        assert has_condition(approved, "Approved")


async def world_with(world: Cluster, user: str, rules: list[dict[str, Any]]) -> Any:
    group = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": rules}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": user},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    }
    await world.api.create(CLUSTER_ROLES, role)
    await world.api.create(CLUSTER_ROLE_BINDINGS, binding)
    return world.server.transport(Identity(user, ("system:authenticated",)))


async def test_nobody_asks_for_superuser_rights() -> None:
    async with cluster() as world:
        with pytest.raises(Forbidden, match="system:masters group is not allowed"):
            await world.api.create(REQUESTS, csr("c", create_request("jane", ["system:masters"]).certificate))


async def test_each_endpoint_changes_its_own_part_only() -> None:
    async with cluster() as world:
        made = await world.api.create(REQUESTS, csr("c", create_request("jane", []).certificate, "example.com/x"))
        changed = {**decided(made, "Approved"), "spec": {**made["spec"], "username": "root"}}
        plain = await world.api.update(REQUESTS, changed)
        assert (plain["spec"], plain.get("status")) == (made["spec"], made.get("status"))
        approved = await world.api.update(
            REQUESTS, {**decided(plain, "Approved"), "status": {**decided(plain, "Approved")["status"], "certificate": "WA=="}},
            subresource="approval",
        )  # fmt: skip
        assert has_condition(approved, "Approved")
        assert "certificate" not in approved["status"]
        kept = await world.api.update(REQUESTS, decided(approved, "Denied"), subresource="status")
        assert has_condition(kept, "Approved") and not has_condition(kept, "Denied")
        for conditions, why in (([], "may not remove a condition"), (["Approved", "Denied"], "mutually exclusive")):
            body = {"status": {"conditions": [{"type": c, "status": "True"} for c in conditions] or None}}
            with pytest.raises(Invalid, match=why):
                await world.api.patch(REQUESTS, Key("", "c"), Patch(PatchType.MERGE, body), subresource="approval")
        for certificate, why in (("WA==", "not a chain"), (base64.b64encode(AUTHORITY.key).decode(), "certificate")):
            with pytest.raises(Invalid, match=why):
                body = {"status": {"certificate": certificate}}
                await world.api.patch(REQUESTS, Key("", "c"), Patch(PatchType.MERGE, body), subresource="status")


@pytest.mark.parametrize(
    ("spec", "path", "why"),
    [
        ({"request": "WA=="}, "spec.request", "PEM block type must be CERTIFICATE REQUEST"),
        ({"usages": []}, "spec.usages", "Required value"),
        ({"usages": ["client auth", "client auth"]}, "spec.usages[1]", "Duplicate value"),
        ({"usages": ["fly"]}, "spec.usages[0]", "Unsupported value"),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "spec.signerName", "legacy"),
        ({"signerName": "one"}, "spec.signerName", "fully qualified domain and path"),
        ({"signerName": "host/x"}, "spec.signerName", "at least two segments"),
        ({"expirationSeconds": 599}, "spec.expirationSeconds", "less than 600 seconds"),
    ],
)  # fmt: skip
async def test_a_bad_request_is_refused_by_field(spec: dict[str, Any], path: str, why: str) -> None:
    async with cluster() as world:
        with pytest.raises(ApiError) as refusal:
            await world.api.create(REQUESTS, csr("c", create_request("jane", []).certificate, **spec))
        causes = {cause.field: cause.message for cause in refusal.value.causes}
        assert why in causes[path]


NODE_REQUEST = CertificateRequest("system:node:n", ("system:nodes",), (), (), ())


@pytest.mark.parametrize(
    ("signer", "request_", "usages", "refused"),
    [
        (KUBE_APISERVER_CLIENT, CertificateRequest("j", (), (), (), ()), CLIENT_USAGES, ""),
        (KUBE_APISERVER_CLIENT, CertificateRequest("j", (), (), (), ()), ["server auth"], "client auth"),
        (KUBE_APISERVER_CLIENT, CertificateRequest("j", (), (), (), ()), [*CLIENT_USAGES, "cert sign"], "usages"),
        (KUBE_APISERVER_CLIENT_KUBELET, NODE_REQUEST, CLIENT_USAGES, ""),
        (KUBE_APISERVER_CLIENT_KUBELET, NODE_REQUEST, ["client auth"], "digital signature"),
        (KUBE_APISERVER_CLIENT_KUBELET, CertificateRequest("system:node:n", ("system:nodes",), ("d",), (), ()),
         CLIENT_USAGES, "not allowed"),
        (KUBE_APISERVER_CLIENT_KUBELET, CertificateRequest("n", ("system:nodes",), (), (), ()), CLIENT_USAGES, "common name"),
        (KUBE_APISERVER_CLIENT_KUBELET, CertificateRequest("system:node:n", ("system:nodes", "x"), (), (), ()),
         CLIENT_USAGES, "organization"),
        (KUBELET_SERVING, NODE_REQUEST, ["digital signature", "server auth"], "at least one"),
        (KUBELET_SERVING, CertificateRequest("system:node:n", ("system:nodes",), (), ("10.0.0.1",), ()),
         ["digital signature", "server auth"], ""),
        (KUBELET_SERVING, CertificateRequest("system:node:n", ("system:nodes",), ("d",), (), ("e@x",)),
         ["digital signature", "server auth"], "email"),
    ],
)  # fmt: skip
def test_what_each_signer_demands(signer: str, request_: CertificateRequest, usages: list[str], refused: str) -> None:
    why = refusal_of(signer, request_, usages)
    assert refused in why if refused else not why
