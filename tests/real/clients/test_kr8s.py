"""kr8s: objects by manifest, readiness, scale, watches, commands and custom kinds."""

from __future__ import annotations

from typing import Any

import kr8s.asyncio
import pytest
import yaml
from kr8s.asyncio.objects import ConfigMap, Deployment, Pod, new_class

from tests.real.clients.manifests import POD, WEB
from tests.real.clients.served import Server
from tests.real.clients.test_kubectl_crds import definition


@pytest.fixture
async def api(server: Server, namespace: str) -> Any:
    return await kr8s.asyncio.api(kubeconfig=str(server.kubeconfig), namespace=namespace)


async def test_a_deployment_becomes_ready_is_scaled_and_deleted(api: Any, namespace: str) -> None:
    web = await Deployment({**yaml.safe_load(WEB), "metadata": {"name": "web", "namespace": namespace}}, api=api)
    await web.create()
    await web.wait("condition=Available", timeout=20)
    await web.scale(1)
    assert web.replicas == 1
    pods = [pod async for pod in api.get("pods", namespace=namespace, label_selector={"app": "web"})]
    assert {pod.metadata["labels"]["app"] for pod in pods} == {"web"}
    await web.delete()
    await web.wait("delete", timeout=20)


async def test_a_pod_is_ready_logged_and_entered(api: Any, namespace: str) -> None:
    manifest = yaml.safe_load(POD)
    manifest["metadata"]["namespace"] = namespace
    solo = await Pod(manifest, api=api)
    await solo.create()
    await solo.wait("condition=Ready", timeout=20)
    assert await solo.ready()
    assert isinstance([line async for line in solo.logs()], list)
    # A simulated container runs nothing: what comes back through the socket is how the command ended.
    assert (await solo.exec(["true"])).returncode == 0


async def test_changes_are_patched_and_watched(api: Any, namespace: str) -> None:
    config = await ConfigMap({"metadata": {"name": "c", "namespace": namespace}, "data": {"a": "1"}}, api=api)
    await config.create()
    await config.label({"x": "y"})
    await config.patch({"data": {"a": "2"}})
    await config.refresh()
    assert (config.labels, config.raw["data"]) == ({"x": "y"}, {"a": "2"})
    async for event, seen in api.watch("configmaps", namespace=namespace, field_selector={"metadata.name": "c"}):
        assert (event, seen.name) == ("ADDED", "c")
        break
    await config.delete()
    assert not await config.exists()


async def test_the_kinds_of_a_definition_are_found(api: Any, server: Server, namespace: str) -> None:
    group = f"{namespace.replace('-', '')}.example.com"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert server.request("POST", crds, yaml.safe_load(definition(group))).status == 201
    kinds = [kind async for kind in _resources(api)]
    assert ("Widget", f"{group}/v1") in kinds
    widget_class = new_class("Widget", f"{group}/v1", namespaced=True, asyncio=True, scalable=True)
    widget = await widget_class({"metadata": {"name": "w", "namespace": namespace}, "spec": {"size": 2}}, api=api)
    await widget.create()
    assert widget.spec["colour"] == "red"
    await widget.delete()


async def _resources(api: Any) -> Any:
    for resource in await api.api_resources():
        yield resource["kind"], resource["version"]
