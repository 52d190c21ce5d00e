"""Who may do what: RBAC, nodes, impersonation, escalation, tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Identity
from cluster.client.node_settings import fetch_node_settings, publish_node_settings
from cluster.client.transport import Patch, PatchType, Query, Transport, WriteOptions
from cluster.machinery.errors import Forbidden, NotFound
from cluster.machinery.objects import Key, uid_of, with_field
from cluster.resources.builtin import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    SERVICE_ACCOUNTS,
)
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock
from tests.contract.transport_suite import config_map, pod

JANE = Identity("jane", ("system:authenticated",))
NODE = Identity("system:node:n1", ("system:nodes", "system:authenticated"))
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with running() as server:
        yield server


@pytest.fixture
def admin(server: ApiServer) -> Transport:
    return server.transport(ADMIN)


@pytest.fixture
def jane(server: ApiServer) -> Transport:
    return server.transport(JANE)


def role(name: str, verbs: list[str], resources: list[str]) -> dict[str, Any]:
    rule = {"apiGroups": [""], "resources": resources, "verbs": verbs}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}


def binding(name: str, kind: str, role_name: str, user: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": "default"},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role_name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


async def test_nobody_may_anything_until_a_binding_says_so(admin: Transport, jane: Transport) -> None:
    with pytest.raises(Forbidden) as refusal:
        await jane.list(CONFIG_MAPS, Query("default"))
    assert refusal.value.message == (
        'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default"'
    )
    await admin.create(ROLES, role("reader", ["list"], ["configmaps"]))
    await admin.create(ROLE_BINDINGS, binding("b", "Role", "reader", "jane"))
    assert len((await jane.list(CONFIG_MAPS, Query("default"))).items) == 1
    with pytest.raises(Forbidden):
        await jane.list(CONFIG_MAPS, Query("kube-system"))
    await admin.delete(ROLE_BINDINGS, Key("default", "b"))
    with pytest.raises(Forbidden):
        await jane.list(CONFIG_MAPS, Query("default"))


async def test_an_absent_object_is_not_told_apart_from_a_forbidden_one(jane: Transport) -> None:
    with pytest.raises(Forbidden):
        await jane.get(SECRETS, Key("default", "no-such"))


async def test_view_never_sees_secrets_and_edit_does(admin: Transport, jane: Transport) -> None:
    await admin.create(ROLE_BINDINGS, binding("b", "ClusterRole", "view", "jane"))
    await jane.list(PODS, Query("default"))
    with pytest.raises(Forbidden):
        await jane.list(SECRETS, Query("default"))
    await admin.create(ROLE_BINDINGS, binding("c", "ClusterRole", "edit", "jane"))
    await jane.list(SECRETS, Query("default"))


async def test_an_aggregated_role_has_the_rules_of_those_labelled_for_it(admin: Transport, jane: Transport) -> None:
    await admin.create(ROLE_BINDINGS, binding("b", "ClusterRole", "view", "jane"))
    metadata = {"name": "more", "labels": {f"{RBAC}/aggregate-to-view": "true"}}
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]
    await admin.create(
        CLUSTER_ROLES, {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    )
    await jane.list(SECRETS, Query("default"))


async def test_nobody_grants_more_than_they_have(admin: Transport, jane: Transport) -> None:
    await admin.create(ROLE_BINDINGS, binding("b", "ClusterRole", "admin", "jane"))
    await jane.create(ROLES, role("mine", ["get"], ["pods"]))
    with pytest.raises(Forbidden, match="attempting to grant RBAC permissions not currently held"):
        await jane.create(ROLES, role("more", ["get"], ["nodes"]))
    with pytest.raises(Forbidden, match="attempting to grant"):
        await jane.create(ROLE_BINDINGS, binding("up", "ClusterRole", "cluster-admin", "jane"))


async def test_impersonation_needs_leave_and_changes_who_asks(server: ApiServer, admin: Transport) -> None:
    headers = {"impersonate-user": "jane"}
    with pytest.raises(Forbidden, match='cannot list resource "configmaps"'):
        await admin.raw("GET", "/api/v1/namespaces/default/configmaps", headers=headers)
    with pytest.raises(Forbidden, match='User "jane" cannot impersonate resource "users"'):
        await server.transport(JANE).raw("GET", "/api/v1/pods", headers={"impersonate-user": "root"})


async def test_a_review_answers_for_the_one_who_asks(jane: Transport) -> None:
    attributes = {"verb": "get", "resource": "pods", "namespace": "default"}
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }
    answer = await jane.create(SELF_SUBJECT_ACCESS_REVIEWS, asked)
    assert answer["status"]["allowed"] is False


async def test_a_node_sees_the_secrets_of_its_own_pods_only(server: ApiServer, admin: Transport) -> None:
    node = server.transport(NODE)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
    await admin.create(SECRETS, secret)
    with pytest.raises(Forbidden):
        await node.get(SECRETS, Key("default", "s"))
    using = with_field(pod("p"), ("spec", "volumes"), [{"name": "v", "secret": {"secretName": "s"}}])
    await admin.create(PODS, with_field(using, ("spec", "nodeName"), "n1"))
    await node.get(SECRETS, Key("default", "s"))
    with pytest.raises(Forbidden):
        await server.transport(Identity("system:node:n2", ("system:nodes",))).get(SECRETS, Key("default", "s"))
    with pytest.raises(Forbidden):
        await node.list(PODS)
    assert len((await node.list(PODS, Query(field_selector="spec.nodeName=n1"))).items) == 1


async def test_a_node_writes_itself_but_not_its_taints(server: ApiServer) -> None:
    node = server.transport(NODE)
    created = await node.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    with pytest.raises(Forbidden, match="taints"):
        await node.update(NODES, with_field(created, ("spec",), {"taints": [{"key": "a", "effect": "NoSchedule"}]}))
    with pytest.raises(Forbidden, match="n2"):
        await node.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}})


async def test_a_token_is_its_account_until_the_account_is_deleted(server: ApiServer, admin: Transport) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"namespace": "default"}}
    answer = await admin.create(SERVICE_ACCOUNTS, request, name="default", subresource="token")
    token = answer["status"]["token"]
    identity = server.authenticator.authenticate({"authorization": f"Bearer {token}"}, None)
    assert identity is not None
    assert identity.name == "system:serviceaccount:default:default"
    assert "system:serviceaccounts:default" in identity.groups
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload[:-2]}AA.{signature}"
    assert server.authenticator.authenticate({"authorization": f"Bearer {forged}"}, None) is None
    await admin.delete(SERVICE_ACCOUNTS, Key("default", "default"))
    assert server.authenticator.authenticate({"authorization": f"Bearer {token}"}, None) is None


async def test_a_token_bound_to_a_pod_dies_with_it(server: ApiServer, admin: Transport) -> None:
    made = await admin.create(PODS, pod("p"))
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": {"namespace": "default"},
        "spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid_of(made)}},
    }
    answer = await admin.create(SERVICE_ACCOUNTS, request, name="default", subresource="token")
    headers = {"authorization": f"Bearer {answer['status']['token']}"}
    assert server.authenticator.authenticate(headers, None) is not None
    await admin.delete(PODS, Key("default", "p"))
    assert server.authenticator.authenticate(headers, None) is None


async def test_without_credentials_one_is_anonymous_and_sees_only_health(server: ApiServer) -> None:
    anonymous = server.authenticator.authenticate({}, None)
    assert anonymous is not None and anonymous.name == "system:anonymous"
    assert (await server(ApiRequest("GET", "/livez", anonymous))).status == 200
    assert (await server(ApiRequest("GET", "/api/v1/pods", anonymous))).status == 403
    assert (await server(ApiRequest("GET", "/metrics", anonymous))).status == 403
    assert server.authenticator.authenticate({"authorization": "Bearer nonsense"}, None) is None
    assert server.authenticator.authenticate({"authorization": "Basic eDp5"}, None) is None


async def test_a_deleted_default_binding_comes_back_at_the_next_start() -> None:
    store = MemoryStore(SteppedClock())
    key = Key("", "system:basic-user")
    async with running(store) as server:
        await server.transport(ADMIN).delete(CLUSTER_ROLE_BINDINGS, key)
        with pytest.raises(NotFound):
            await server.transport(ADMIN).get(CLUSTER_ROLE_BINDINGS, key)
    async with running(store) as again:
        await again.transport(ADMIN).get(CLUSTER_ROLE_BINDINGS, key)


async def test_a_pod_gets_its_account_its_tolerations_and_its_priority(admin: Transport) -> None:
    made = await admin.create(PODS, pod("p"))
    spec = made["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3607
    mount = spec["containers"][0]["volumeMounts"][0]
    assert (mount["name"], mount["readOnly"]) == (spec["volumes"][0]["name"], True)
    assert {toleration["key"] for toleration in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert spec["priority"] == 0


async def test_a_pod_may_not_ask_for_what_the_host_does_not_allow(admin: Transport) -> None:
    privileged = with_field(pod("p"), ("spec", "hostNetwork"), True)
    with pytest.raises(Forbidden, match="hostNetwork=true"):
        await admin.create(PODS, privileged)
    mounting = with_field(pod("p"), ("spec", "volumes"), [{"name": "v", "hostPath": {"path": "/etc"}}])
    with pytest.raises(Forbidden, match="hostPath"):
        await admin.create(PODS, mounting)
    await admin.create(PODS, with_field(privileged, ("metadata", "namespace"), "kube-system"))


async def test_a_patch_is_authorized_as_a_patch(admin: Transport, jane: Transport) -> None:
    await admin.create(CONFIG_MAPS, config_map("a"))
    await admin.create(ROLES, role("updater", ["get", "update"], ["configmaps"]))
    await admin.create(ROLE_BINDINGS, binding("b", "Role", "updater", "jane"))
    with pytest.raises(Forbidden, match="cannot patch"):
        await jane.patch(CONFIG_MAPS, Key("default", "a"), Patch(PatchType.MERGE, {"data": {}}))


async def test_leave_to_patch_is_not_leave_to_create_by_applying(admin: Transport, jane: Transport) -> None:
    await admin.create(ROLES, role("patcher", ["get", "patch"], ["configmaps"]))
    await admin.create(ROLE_BINDINGS, binding("b", "Role", "patcher", "jane"))
    applied = Patch(PatchType.APPLY, config_map("a", x="1"))
    options = WriteOptions(field_manager="jane")
    with pytest.raises(Forbidden, match="cannot create"):
        await jane.patch(CONFIG_MAPS, Key("default", "a"), applied, options=options)
    await admin.create(CONFIG_MAPS, config_map("a"))
    await jane.patch(CONFIG_MAPS, Key("default", "a"), applied, options=options)


@pytest.mark.parametrize("path", ["/api/v1/pods", "/apis/apps/v1/deployments", "/api/v1/namespaces/default/secrets/s"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_stranger_is_refused_every_method_everywhere(server: ApiServer, method: str, path: str) -> None:
    assert (await server(ApiRequest(method, path, JANE))).status == 403


async def test_a_node_reads_what_every_node_must_know_and_writes_none_of_it(
    server: ApiServer, admin: Transport
) -> None:
    await publish_node_settings(admin, {"cluster_id": "a"})
    await publish_node_settings(admin, {"cluster_id": "b"})
    node = server.transport(NODE)
    assert await fetch_node_settings(node) == {"cluster_id": "b"}
    with pytest.raises(Forbidden):
        await publish_node_settings(node, {"cluster_id": "c"})
    with pytest.raises(Forbidden):
        await fetch_node_settings(server.transport(JANE))


@pytest.mark.parametrize(
    ("label", "allowed"),
    [("team", True), ("example.com/x", True), ("kubernetes.io/hostname", True), ("node.kubernetes.io/x", True),
     ("a.kubelet.kubernetes.io/x", True), ("node-role.kubernetes.io/control-plane", False), ("kubernetes.io/x", False),
     ("node-restriction.kubernetes.io/x", False), ("a.node-restriction.kubernetes.io/x", False)],
)  # fmt: skip
async def test_a_node_labels_itself_only_with_what_it_is(server: ApiServer, label: str, allowed: bool) -> None:
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {label: "x"}}}
    if allowed:
        await server.transport(NODE).create(NODES, made)
    else:
        with pytest.raises(Forbidden, match="is not allowed to modify labels"):
            await server.transport(NODE).create(NODES, made)
