"""Classes that pods, claims and ingresses get without asking, and what they may not ask for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, name_of
from cluster.resources.builtin import (
    API_SERVICES,
    CUSTOM_RESOURCE_DEFINITIONS,
    FLOW_SCHEMAS,
    INGRESS_CLASSES,
    INGRESSES,
    LIMIT_RANGES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    SERVICE_CIDRS,
    STORAGE_CLASSES,
)
from cluster.store.memory import MemoryStore
from tests.apiservers import ADMIN, running
from tests.clocks import SteppedClock


def _named(api_version: str, kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _pod(name: str = "p", **spec: Any) -> dict[str, Any]:
    return _named("v1", "Pod", name, "default", spec={"containers": [{"name": "c", "image": "i:1"}], **spec})


def _priority_class(name: str, value: int, **fields: Any) -> dict[str, Any]:
    return _named("scheduling.k8s.io/v1", "PriorityClass", name, value=value, **fields)


def _claim(name: str, **spec: Any) -> dict[str, Any]:
    size = {"requests": {"storage": "1Gi"}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": size, **spec}
    return _named("v1", "PersistentVolumeClaim", name, "default", spec=spec)


async def test_a_pod_has_the_priority_of_its_class() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        await api.create(PRIORITY_CLASSES, _priority_class("high", 1000, preemptionPolicy="Never"))
        spec = (await api.create(PODS, _pod(priorityClassName="high")))["spec"]
        assert (spec["priority"], spec["preemptionPolicy"]) == (1000, "Never")
        assert (await api.create(PODS, _pod("q")))["spec"]["priority"] == 0
        with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
            await api.create(PODS, _pod("r", priorityClassName="low"))
        with pytest.raises(Forbidden, match=r"the integer value of priority \(7\) must not be provided in pod spec"):
            await api.create(PODS, _pod("r", priorityClassName="high", priority=7))


async def test_one_class_is_everybodys() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        await api.create(PRIORITY_CLASSES, _priority_class("usual", 5, globalDefault=True))
        spec = (await api.create(PODS, _pod()))["spec"]
        assert (spec["priority"], spec["priorityClassName"]) == (5, "usual")
        with pytest.raises(Forbidden, match="PriorityClass usual is already marked as default"):
            await api.create(PRIORITY_CLASSES, _priority_class("other", 6, globalDefault=True))


async def test_the_systems_classes_are_there_and_stay() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        spec = (await api.create(PODS, _pod(priorityClassName="system-node-critical")))["spec"]
        assert spec["priority"] == 2000001000
        with pytest.raises(Forbidden, match="this is a system priority class and cannot be deleted"):
            await api.delete(PRIORITY_CLASSES, Key("", "system-node-critical"))


async def test_a_claim_without_a_class_gets_the_newest_default() -> None:
    clock = SteppedClock()
    async with running(clock=clock) as server:
        api = server.transport(ADMIN)
        first = await api.create(PERSISTENT_VOLUME_CLAIMS, _claim("first"))
        assert first["spec"]["storageClassName"] == "local-path"
        for name in ("b", "a"):
            await clock.step(1)
            storage_class = _named("storage.k8s.io/v1", "StorageClass", name, provisioner="p")
            storage_class["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
            await api.create(STORAGE_CLASSES, storage_class)
        made = await api.create(PERSISTENT_VOLUME_CLAIMS, _claim("some"))
        assert made["spec"]["storageClassName"] == "a"
        assert made["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        chosen = await api.create(PERSISTENT_VOLUME_CLAIMS, _claim("empty", storageClassName=""))
        assert chosen["spec"]["storageClassName"] == ""


async def test_a_claim_grows_only_where_its_class_lets_it() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        await api.create(STORAGE_CLASSES, _named("storage.k8s.io/v1", "StorageClass", "fixed", provisioner="p"))
        claim = await api.create(PERSISTENT_VOLUME_CLAIMS, _claim("c", storageClassName="fixed", volumeName="v"))
        claim = await api.update(
            PERSISTENT_VOLUME_CLAIMS, {**claim, "status": {"phase": "Bound"}}, subresource="status"
        )
        grown = {**claim, "spec": {**claim["spec"], "resources": {"requests": {"storage": "2Gi"}}}}
        with pytest.raises(Forbidden, match="only dynamically provisioned pvc can be resized"):
            await api.update(PERSISTENT_VOLUME_CLAIMS, grown)
        elastic = {**await api.get(STORAGE_CLASSES, Key("", "fixed")), "allowVolumeExpansion": True}
        await api.update(STORAGE_CLASSES, elastic)
        assert (await api.update(PERSISTENT_VOLUME_CLAIMS, grown))["spec"]["resources"]["requests"] == {
            "storage": "2Gi"
        }


async def test_an_ingress_without_a_class_gets_the_default() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        spec = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
        ingress_class = _named("networking.k8s.io/v1", "IngressClass", "c", spec={"controller": "a.io/b"})
        ingress_class["metadata"]["annotations"] = {"ingressclass.kubernetes.io/is-default-class": "true"}
        await api.create(INGRESS_CLASSES, ingress_class)
        made = await api.create(INGRESSES, _named("networking.k8s.io/v1", "Ingress", "i", "default", spec=spec))
        assert made["spec"]["ingressClassName"] == "c"
        named = {**spec, "ingressClassName": "d"}
        made = await api.create(INGRESSES, _named("networking.k8s.io/v1", "Ingress", "j", "default", spec=named))
        assert made["spec"]["ingressClassName"] == "d"


async def test_a_limit_range_fills_in_and_refuses() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        item = {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"}}
        await api.create(LIMIT_RANGES, _named("v1", "LimitRange", "l", "default", spec={"limits": [item]}))
        made = await api.create(PODS, _pod())
        assert made["spec"]["containers"][0]["resources"] == {"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}
        greedy = [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "3"}}}]
        with pytest.raises(Forbidden) as refused:
            await api.create(PODS, _pod("q", containers=greedy))
        assert refused.value.message == ('pods "q" is forbidden: maximum cpu usage per Container is 2, but limit is 3')


async def test_a_runtime_class_must_exist_before_the_host_is_asked() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        with pytest.raises(Forbidden, match='pod rejected: RuntimeClass "gvisor" not found'):
            await api.create(PODS, _pod(runtimeClassName="gvisor"))
        with pytest.raises(Forbidden, match="Pod Overhead set without corresponding RuntimeClass defined Overhead"):
            await api.create(PODS, _pod(overhead={"cpu": "1"}))
        overhead = {"podFixed": {"cpu": "100m"}}
        await api.create(
            RUNTIME_CLASSES, _named("node.k8s.io/v1", "RuntimeClass", "gvisor", handler="runsc", overhead=overhead)
        )
        with pytest.raises(Forbidden, match="Pod's Overhead doesn't match RuntimeClass's defined Overhead"):
            await api.create(PODS, _pod(runtimeClassName="gvisor", overhead={"cpu": "2"}))
        with pytest.raises(Forbidden, match="host's pod security policy"):
            await api.create(PODS, _pod(runtimeClassName="gvisor"))


async def test_a_new_node_takes_no_pods_yet() -> None:
    async with running() as server:
        made = await server.transport(ADMIN).create(NODES, _named("v1", "Node", "n"))
        assert made["spec"]["taints"] == [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]


async def test_what_every_cluster_has_survives_a_restart_and_a_change() -> None:
    clock = SteppedClock()
    store = MemoryStore(clock)
    async with running(store, clock) as server:
        api = server.transport(ADMIN)
        first = {obj["metadata"]["name"]: obj for obj in server.cache().list(FLOW_SCHEMAS)}
        assert {"exempt", "catch-all", "global-default", "probes"} <= first.keys()
        assert server.cache().list(SERVICE_CIDRS)[0]["spec"] == {"cidrs": ["10.96.0.0/16"]}
        loose = first["global-default"]
        await api.update(FLOW_SCHEMAS, {**loose, "spec": {**loose["spec"], "matchingPrecedence": 9000}})
        mine = first["service-accounts"]
        metadata = {**mine["metadata"], "annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}
        spec = {**mine["spec"], "matchingPrecedence": 8000}
        await api.update(FLOW_SCHEMAS, {**mine, "metadata": metadata, "spec": spec})
    async with running(store, clock) as server:
        again = {
            obj["metadata"]["name"]: obj["spec"]["matchingPrecedence"] for obj in server.cache().list(FLOW_SCHEMAS)
        }
        assert (again["global-default"], again["service-accounts"]) == (9900, 8000)
        assert len(again) == len(first)


async def test_every_group_version_that_is_served_is_registered() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        cache = server.cache()
        names = [name_of(obj) for obj in cache.list(API_SERVICES)]
        assert "v1." in names and "v1.apps" in names and "v1.storage.k8s.io" in names
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        spec = {
            "group": "a.io",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version],
        }
        crd = _named("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things.a.io", spec=spec)
        await api.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
        assert await _turns(lambda: cache.get(API_SERVICES, Key("", "v1.a.io")))
        await api.delete(API_SERVICES, Key("", "v1.apps"))
        assert await _turns(lambda: cache.get(API_SERVICES, Key("", "v1.apps")))
        await api.delete(CUSTOM_RESOURCE_DEFINITIONS, Key("", "things.a.io"))
        assert await _turns(lambda: cache.get(API_SERVICES, Key("", "v1.a.io")) is None)


async def _turns(condition: Any) -> Any:
    for _ in range(2000):
        if found := condition():
            return found
        await asyncio.sleep(0)
    return None
