"""kubernetes_asyncio: typed objects, patches, a watch that resumes, logs and a command in a container."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.stream import WsApiClient

from tests.real.clients.manifests import POD
from tests.real.clients.served import Kubectl, Server


@pytest.fixture
async def api(server: Server) -> AsyncIterator[client.ApiClient]:
    async with await config.new_client_from_config(str(server.kubeconfig)) as made:
        yield made


async def test_objects_are_created_patched_listed_and_deleted(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    for name in ("a", "b", "c"):
        made = await core.create_namespaced_config_map(
            namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"k": name})
        )
        assert made.metadata.uid
    patched = await core.patch_namespaced_config_map("a", namespace, {"data": {"k": None, "l": "m"}})
    assert patched.data == {"l": "m"}
    steps = [{"op": "add", "path": "/metadata/labels", "value": {"x": "y"}}]
    assert (await core.patch_namespaced_config_map("b", namespace, steps)).metadata.labels == {"x": "y"}
    selected = await core.list_namespaced_config_map(namespace, label_selector="x=y", _preload_content=True)
    assert [item.metadata.name for item in selected.items] == ["b"]
    page = await core.list_namespaced_config_map(namespace, limit=2)
    rest = await core.list_namespaced_config_map(namespace, limit=2, _continue=page.metadata._continue)
    assert [item.metadata.name for item in (*page.items, *rest.items)] == ["a", "b", "c", "kube-root-ca.crt"]
    with pytest.raises(ApiException) as stale:
        made.metadata.resource_version = "1"
        await core.replace_namespaced_config_map("c", namespace, made)
    assert stale.value.status == 409
    await core.delete_namespaced_config_map("c", namespace, propagation_policy="Background")
    with pytest.raises(ApiException) as gone:
        await core.read_namespaced_config_map("c", namespace)
    assert gone.value.status == 404


async def test_a_watch_begins_with_what_is_there_and_resumes(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    await core.create_namespaced_secret(namespace, {"metadata": {"name": "a"}, "stringData": {"p": "q"}})
    seen = []
    async with watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=15) as stream:
        async for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if len(seen) == 1:
                await core.create_namespaced_secret(namespace, {"metadata": {"name": "b"}})
            elif len(seen) == 2:
                await core.delete_namespaced_secret("a", namespace)
            else:
                break
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def test_logs_and_a_command_reach_the_container(server: Server, kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    loaded = client.Configuration()
    await config.load_kube_config(str(server.kubeconfig), client_configuration=loaded)
    async with client.ApiClient(loaded) as api:
        assert isinstance(await client.CoreV1Api(api).read_namespaced_pod_log("solo", namespace), str)
    async with WsApiClient(loaded) as sockets:
        core = client.CoreV1Api(sockets)
        opened = await core.connect_get_namespaced_pod_exec(
            "solo",
            namespace,
            command=["true"],
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        async with opened as session:
            # A simulated container runs nothing: what comes back is how the command ended.
            ended = [message.data async for message in session]
        assert json.loads(ended[-1][1:])["status"] == "Success"


async def test_custom_objects_and_applied_configurations(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    for manager, force in (("one", False), ("two", True)):
        applied["data"] = {"a": manager}
        answer = await core.patch_namespaced_config_map(
            "c", namespace, applied, field_manager=manager, force=force, _content_type="application/apply-patch+yaml"
        )
        assert answer.data == {"a": manager}
    managers = [(entry.manager, entry.operation) for entry in answer.metadata.managed_fields]
    assert managers == [("two", "Apply")]
