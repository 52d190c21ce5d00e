"""The official Python client against the served API: what scripts and operators do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

BARE_POD: dict[str, Any] = {
    "metadata": {"name": "p"},
    "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
}


async def test_objects_are_made_watched_changed_and_deleted(kubeconfig: Path) -> None:
    def script() -> None:
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        # Dictionaries without apiVersion and kind are the endpoint's.
        core.create_namespaced_config_map("default", {"metadata": {"name": "a"}, "data": {"x": "1"}})
        core.patch_namespaced_config_map("a", "default", {"data": {"x": "2"}})
        assert core.read_namespaced_config_map("a", "default").data == {"x": "2"}
        seen = [
            (event["type"], event["object"].metadata.name)
            for event in watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
        ]
        assert ("ADDED", "a") in seen
        core.delete_namespaced_config_map("a", "default")
        try:
            core.read_namespaced_config_map("a", "default")
        except ApiException as error:
            assert error.status == 404
        else:
            raise AssertionError("the object is still there")

    await asyncio.to_thread(script)


async def test_apps_and_the_dynamic_client(kubeconfig: Path) -> None:
    def script() -> None:
        api = config.new_client_from_config(str(kubeconfig))
        labels = {"app": "web"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        client.AppsV1Api(api).create_namespaced_deployment("default", {"metadata": {"name": "web"}, "spec": spec})
        deployments = DynamicClient(api).resources.get(api_version="apps/v1", kind="Deployment")
        deployments.patch(body={"spec": {"replicas": 3}}, name="web", namespace="default")
        assert deployments.get(name="web", namespace="default").spec.replicas == 3

    await asyncio.to_thread(script)


async def test_a_session_in_a_container(kubeconfig: Path) -> None:
    def script() -> None:
        core = client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))
        core.create_namespaced_pod("default", BARE_POD)
        session = stream(
            core.connect_get_namespaced_pod_exec,
            "p",
            "default",
            command=["cat"],
            stdin=True,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        session.write_stdin("hello")
        session.update(timeout=10)
        assert session.read_stdout(timeout=10) == "hello"
        session.close()

    await asyncio.to_thread(script)
