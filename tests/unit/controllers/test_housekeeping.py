"""Namespaces, default accounts, the root CA and forgotten pods: their plans."""

from __future__ import annotations

from typing import Any

from cluster.client.writes import Create, Delete, Update
from cluster.controllers.namespace import Left, conditions_for, deletable
from cluster.controllers.pod_gc import plan_pod_gc
from cluster.controllers.root_ca import plan_root_ca
from cluster.controllers.service_account import plan_service_account
from cluster.machinery.conditions import get_condition
from cluster.resources.builtin import BUILTIN, CONFIG_MAPS, PODS
from tests.unit.controllers.objects import pod


def namespace(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "team", **meta}, "status": {"phase": "Active"}}


def test_a_namespace_gets_its_default_account_unless_it_is_going() -> None:
    (write,) = plan_service_account(namespace(), None)
    assert isinstance(write, Create)
    assert (write.obj["metadata"]["namespace"], write.obj["metadata"]["name"]) == ("team", "default")
    assert plan_service_account(namespace(), write.obj) == ()
    assert plan_service_account(namespace(deletionTimestamp="2026-01-01T00:00:00Z"), None) == ()


def test_a_tampered_authority_is_put_right() -> None:
    (create,) = plan_root_ca(namespace(), None, "PEM")
    assert isinstance(create, Create)
    assert plan_root_ca(namespace(), create.obj, "PEM") == ()
    (update,) = plan_root_ca(namespace(), {**create.obj, "data": {"ca.crt": "evil", "more": "x"}}, "PEM")
    assert isinstance(update, Update)
    assert update.obj["data"] == {"ca.crt": "PEM"}


def test_pods_go_before_everything_else_in_a_namespace() -> None:
    resources = deletable(BUILTIN)
    assert resources[0] == PODS
    names = [resource.qualified_name for resource in resources]
    assert "configmaps" in names and "events" in names
    assert "nodes" not in names and "localsubjectaccessreviews.authorization.k8s.io" not in names


def test_conditions_say_what_a_namespace_waits_for() -> None:
    left = [Left(CONFIG_MAPS, 2, ("example.com/hold", "example.com/hold"))]
    conditions = conditions_for(left, [], now="2026-01-01T00:00:00Z", present=())
    remaining = get_condition(conditions, "NamespaceContentRemaining")
    finalizers = get_condition(conditions, "NamespaceFinalizersRemaining")
    failure = get_condition(conditions, "NamespaceDeletionContentFailure")
    assert remaining is not None and finalizers is not None and failure is not None
    assert remaining["message"] == "Some resources are remaining: configmaps has 2 resource instances"
    assert finalizers["message"] == (
        "Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances"
    )
    assert failure["status"] == "False"


def test_only_pods_of_absent_nodes_and_unbound_deleted_ones_are_forced_out() -> None:
    pods = [pod("a", node="gone"), pod("b"), pod("c", node="", deleting=True), pod("d", node="")]
    writes = plan_pod_gc(pods, absent_nodes={"gone"})
    assert [write.key.name for write in writes if isinstance(write, Delete)] == ["a", "c"]
    assert all(isinstance(write, Delete) and write.grace_period_s == 0 for write in writes)


def test_the_oldest_finished_pods_above_the_bound_go() -> None:
    pods = [pod(name, phase="Succeeded") for name in "cab"]
    pods[0]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    writes = plan_pod_gc(pods, absent_nodes=(), finished_max=2)
    assert len(writes) == 1
