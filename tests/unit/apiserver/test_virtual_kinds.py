"""Kinds without rows (bindings, component statuses), and what a kind generates when it is created."""

from __future__ import annotations

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Reply
from cluster.client.transport import Transport
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import JOBS, PODS, REPLICATION_CONTROLLERS
from tests.apiservers import ADMIN, running
from tests.contract.transport_suite import pod

TEMPLATE: Obj = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}


async def ask(server: ApiServer, method: str, path: str, body: Obj | None = None, **headers: str) -> Reply:
    sent = b"" if body is None else orjson.dumps(body)
    return await server(ApiRequest(method, path, ADMIN, headers=headers, body=sent))


async def test_a_pod_is_bound_by_a_binding_that_names_it() -> None:
    async with running() as server:
        admin: Transport = server.transport(ADMIN)
        await admin.create(PODS, pod("p"))
        binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "one"}}
        assert (await ask(server, "POST", "/api/v1/namespaces/default/bindings", binding)).status == 201
        assert (await admin.get(PODS, Key("default", "p")))["spec"]["nodeName"] == "one"
        again = await ask(server, "POST", "/api/v1/namespaces/default/bindings", binding)
        assert (again.status, orjson.loads(again.body)["reason"]) == (409, "Conflict")
        nameless = await ask(server, "POST", "/api/v1/namespaces/default/bindings", {"target": {"name": "one"}})
        assert nameless.status == 400
        assert (await ask(server, "GET", "/api/v1/namespaces/default/bindings")).status == 405


async def test_the_store_is_listed_and_shown_and_cannot_be_written() -> None:
    async with running() as server:
        listed = await ask(server, "GET", "/api/v1/componentstatuses")
        assert list(listed.warnings) == ["v1 ComponentStatus is deprecated in v1.19+"]
        (item,) = orjson.loads(listed.body)["items"]
        assert item["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
        shown = await ask(server, "GET", "/api/v1/componentstatuses/etcd-0")
        assert orjson.loads(shown.body) == item
        table = await ask(
            server, "GET", "/api/v1/componentstatuses", accept="application/json;as=Table;v=v1;g=meta.k8s.io"
        )
        assert orjson.loads(table.body)["rows"][0]["cells"] == ["etcd-0", "Healthy", "ok", ""]
        assert (await ask(server, "GET", "/api/v1/componentstatuses/scheduler")).status == 404
        assert (await ask(server, "DELETE", "/api/v1/componentstatuses/etcd-0")).status == 405


async def test_what_a_kind_generates_is_not_its_creators() -> None:
    """So that a later apply, which says nothing of it, does not take it away."""
    async with running() as server:
        admin: Transport = server.transport(ADMIN)
        template = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
        meta = {"name": "j", "namespace": "default"}
        made = await admin.create(
            JOBS, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}
        )
        assert made["spec"]["selector"]
        (entry,) = made["metadata"]["managedFields"]
        assert "f:selector" not in entry["fieldsV1"]["f:spec"]
        assert "f:status" not in entry["fieldsV1"]
        assert "f:template" in entry["fieldsV1"]["f:spec"]


@pytest.mark.parametrize("replicas", [0, 4])
async def test_a_replication_controller_is_scaled_by_its_plain_selector(replicas: int) -> None:
    async with running() as server:
        admin: Transport = server.transport(ADMIN)
        meta = {"name": "rc", "namespace": "default"}
        spec = {"replicas": 1, "template": TEMPLATE}
        await admin.create(
            REPLICATION_CONTROLLERS,
            {"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta, "spec": spec},
        )
        path = "/api/v1/namespaces/default/replicationcontrollers/rc/scale"
        scale = orjson.loads((await ask(server, "GET", path)).body)
        assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (1, "a=b")
        changed = await ask(server, "PUT", path, {**scale, "spec": {"replicas": replicas}})
        assert orjson.loads(changed.body)["spec"]["replicas"] == replicas
        stored = await admin.get(REPLICATION_CONTROLLERS, Key("default", "rc"))
        assert (stored["spec"]["replicas"], stored["metadata"]["generation"]) == (replicas, 2)
