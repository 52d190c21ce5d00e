"""lightkube: typed and generic resources, server-side apply, scale and status, watches, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import yaml
from lightkube import AsyncClient, Client, KubeConfig, codecs
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import PatchType

from tests.real.clients.manifests import POD, WEB
from tests.real.clients.served import Server
from tests.real.clients.test_kubectl_crds import definition


@pytest.fixture
def lightkube(server: Server, namespace: str) -> Iterator[Client]:
    made = Client(config=KubeConfig.from_file(str(server.kubeconfig)), namespace=namespace, field_manager="light")
    yield made
    made._client._client.close()


@pytest.fixture
async def asynchronous(server: Server, namespace: str) -> AsyncIterator[AsyncClient]:
    made = AsyncClient(config=KubeConfig.from_file(str(server.kubeconfig)), namespace=namespace, field_manager="light")
    yield made
    await made.close()


def test_an_applied_deployment_is_scaled_waited_for_and_deleted(lightkube: Client) -> None:
    (web,) = codecs.load_all_yaml(WEB)
    made = lightkube.apply(web)
    assert (made.metadata.generation, made.metadata.managedFields[0].manager) == (1, "light")
    assert lightkube.apply(web).metadata.generation == 1
    lightkube.wait(Deployment, "web", for_conditions=["Available"])
    scale = lightkube.replace(
        Deployment.Scale(metadata=ObjectMeta(name="web", namespace=lightkube.namespace), spec=ScaleSpec(replicas=1))
    )
    assert scale.spec.replicas == 1
    assert lightkube.get(Deployment.Status, "web").spec.replicas == 1
    assert [found.metadata.name for found in lightkube.list(Deployment, labels={"app": ["web", "x"]})] == ["web"]
    lightkube.delete(Deployment, "web", grace_period=0)


def test_patches_conflicts_and_refusals(lightkube: Client) -> None:
    lightkube.create(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
    merged = lightkube.patch(ConfigMap, "c", {"data": {"b": "2"}}, patch_type=PatchType.MERGE)
    assert merged.data == {"a": "1", "b": "2"}
    steps = [{"op": "remove", "path": "/data/a"}]
    assert lightkube.patch(ConfigMap, "c", steps, patch_type=PatchType.JSON).data == {"b": "2"}
    with pytest.raises(ApiError) as conflict:
        lightkube.apply(ConfigMap(metadata=ObjectMeta(name="c"), data={"b": "3"}), field_manager="other")
    assert conflict.value.status.code == 409
    assert conflict.value.status.details.causes[0].reason == "FieldManagerConflict"
    forced = lightkube.apply(
        ConfigMap(metadata=ObjectMeta(name="c"), data={"b": "3"}), field_manager="other", force=True
    )
    assert forced.data == {"b": "3"}


def test_generic_resources_of_a_definition(lightkube: Client, server: Server, namespace: str) -> None:
    group = f"{namespace.replace('-', '')}.example.com"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert server.request("POST", crds, yaml.safe_load(definition(group))).status == 201
    widgets = create_namespaced_resource(group, "v1", "Widget", "widgets")
    made = lightkube.create(widgets(metadata=ObjectMeta(name="w"), spec={"size": 3}))
    assert made["spec"]["colour"] == "red"
    status = lightkube.patch(widgets.Status, "w", {"status": {"phase": "made"}}, patch_type=PatchType.MERGE)
    assert status["status"]["phase"] == "made"
    assert [found.metadata.name for found in lightkube.list(widgets)] == ["w"]
    lightkube.delete(widgets, "w")


async def test_a_watch_follows_and_a_log_is_read(asynchronous: AsyncClient) -> None:
    (pod,) = codecs.load_all_yaml(POD)
    await asynchronous.create(pod)
    await asynchronous.wait(Pod, "solo", for_conditions=["Ready"])
    await asynchronous.create(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
    seen = []
    async for event, found in asynchronous.watch(ConfigMap, fields={"metadata.name": "c"}, server_timeout=15):
        seen.append((event, found.data["a"]))
        if len(seen) == 2:
            break
        await asynchronous.patch(ConfigMap, "c", {"data": {"a": "2"}})
    assert seen == [("ADDED", "1"), ("MODIFIED", "2")]
    assert isinstance([line async for line in asynchronous.log("solo")], list)
