"""The official Python client: typed, dynamic and custom objects, patches, watches, pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.exceptions import ApiException

from tests.real.clients.manifests import POD, WEB
from tests.real.clients.served import Server, until
from tests.real.clients.test_kubectl_crds import definition


@pytest.fixture
def api(server: Server) -> Iterator[client.ApiClient]:
    with config.new_client_from_config(str(server.kubeconfig)) as made:
        yield made


@pytest.fixture
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture
def apps(api: client.ApiClient) -> client.AppsV1Api:
    return client.AppsV1Api(api)


def deployment(name: str = "web", replicas: int = 2) -> client.V1Deployment:
    container = client.V1Container(name="web", image="web:1", ports=[client.V1ContainerPort(container_port=80)])
    labels = {"app": name}
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1DeploymentSpec(
            replicas=replicas,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[container], termination_grace_period_seconds=1),
            ),
        ),
    )


def reason_of(error: pytest.ExceptionInfo[ApiException]) -> tuple[int, str]:
    return error.value.status, yaml.safe_load(error.value.body)["reason"]


def test_typed_objects_are_created_read_replaced_and_deleted(apps: client.AppsV1Api, namespace: str) -> None:
    made = apps.create_namespaced_deployment(namespace, deployment())
    assert (made.metadata.generation, made.spec.strategy.type) == (1, "RollingUpdate")
    until(
        lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 2,
        what="the deployment is ready",
    )
    found = apps.read_namespaced_deployment("web", namespace)
    found.spec.replicas = 3
    assert apps.replace_namespaced_deployment("web", namespace, found).spec.replicas == 3
    with pytest.raises(ApiException) as stale:
        apps.replace_namespaced_deployment("web", namespace, found)
    assert reason_of(stale) == (409, "Conflict")
    with pytest.raises(ApiException) as again:
        apps.create_namespaced_deployment(namespace, deployment())
    assert reason_of(again) == (409, "AlreadyExists")
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert (scale.spec.replicas, scale.status.selector) == (3, "app=web")
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground", grace_period_seconds=0)
    until(lambda: not apps.list_namespaced_deployment(namespace).items, what="the deployment is gone")
    with pytest.raises(ApiException) as absent:
        apps.read_namespaced_deployment("web", namespace)
    assert reason_of(absent) == (404, "NotFound")


def test_a_dict_may_leave_its_kind_out(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "c"}, "data": {"a": "1"}})
    assert (made.kind, made.api_version, made.data) == ("ConfigMap", "v1", {"a": "1"})
    with pytest.raises(ApiException) as wrong:
        core.create_namespaced_config_map(namespace, {"kind": "Secret", "metadata": {"name": "d"}})
    assert reason_of(wrong) == (400, "BadRequest")


def test_the_kinds_of_patches(apps: client.AppsV1Api, namespace: str) -> None:
    apps.create_namespaced_deployment(namespace, deployment(replicas=0))
    env = {"spec": {"template": {"spec": {"containers": [{"name": "web", "env": [{"name": "A", "value": "1"}]}]}}}}
    strategic = apps.patch_namespaced_deployment("web", namespace, env)
    container = strategic.spec.template.spec.containers[0]
    assert (container.image, container.env[0].value) == ("web:1", "1")
    steps = [{"op": "add", "path": "/metadata/labels/x", "value": "y"}]
    assert apps.patch_namespaced_deployment("web", namespace, steps).metadata.labels["x"] == "y"
    with pytest.raises(ApiException) as wrong:
        apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": "many"}})
    assert reason_of(wrong) == (400, "BadRequest")
    with pytest.raises(ApiException) as negative:
        apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": -1}})
    assert reason_of(negative) == (422, "Invalid")


def test_a_watch_begins_with_what_is_there_and_resumes(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_secret(namespace, {"metadata": {"name": "a"}, "stringData": {"p": "q"}})
    seen: list[tuple[str, str]] = []
    timer = threading.Timer(
        0.3, lambda: core.create_namespaced_secret(namespace, {"metadata": {"name": "b"}, "stringData": {"p": "q"}})
    )
    timer.start()
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_secret, namespace, timeout_seconds=15):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            stream.stop()
    timer.join()
    assert seen == [("ADDED", "a"), ("ADDED", "b")]
    version = core.list_namespaced_secret(namespace).metadata.resource_version
    core.delete_namespaced_secret("a", namespace)
    core.patch_namespaced_secret("b", namespace, {"metadata": {"labels": {"x": "y"}}})
    later = []
    for event in stream.stream(core.list_namespaced_secret, namespace, resource_version=version, timeout_seconds=15):
        later.append((event["type"], event["object"].metadata.name))
        if len(later) == 2:
            stream.stop()
    assert later == [("DELETED", "a"), ("MODIFIED", "b")]


def test_pages_are_one_list(core: client.CoreV1Api, namespace: str) -> None:
    for number in range(7):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"c{number}", "labels": {"n": "y"}}})
    first = core.list_namespaced_config_map(namespace, limit=3)
    assert (len(first.items), first.metadata.remaining_item_count) == (3, 5)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "c9"}})
    names = [item.metadata.name for item in first.items]
    token = first.metadata._continue
    while token:
        page = core.list_namespaced_config_map(namespace, limit=3, _continue=token)
        assert page.metadata.resource_version == first.metadata.resource_version
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
    assert names == [*(f"c{number}" for number in range(7)), "kube-root-ca.crt"]
    with pytest.raises(ApiException) as wrong:
        core.list_namespaced_config_map(namespace, limit=3, _continue="nonsense")
    assert wrong.value.status == 400


def test_collections_are_deleted_by_label(core: client.CoreV1Api, namespace: str) -> None:
    for name in ("a", "b", "c"):
        labels = {"gone": "yes"} if name != "c" else {}
        core.create_namespaced_config_map(namespace, {"metadata": {"name": name, "labels": labels}})
    core.delete_collection_namespaced_config_map(namespace, label_selector="gone=yes")
    names = [item.metadata.name for item in core.list_namespaced_config_map(namespace).items]
    assert names == ["c", "kube-root-ca.crt"]
    uid = core.read_namespaced_config_map("c", namespace).metadata.uid
    with pytest.raises(ApiException) as other:
        core.delete_namespaced_config_map(
            "c", namespace, body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"))
        )
    assert reason_of(other) == (409, "Conflict")
    core.delete_namespaced_config_map(
        "c", namespace, body=client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=uid))
    )


def test_pods_logs_and_commands(core: client.CoreV1Api, namespace: str) -> None:
    from kubernetes.stream import stream

    core.create_namespaced_pod(namespace, yaml.safe_load(POD))
    until(lambda: core.read_namespaced_pod("solo", namespace).status.phase == "Running", what="the pod runs")
    assert core.read_namespaced_pod_log("solo", namespace, tail_lines=5) == ""
    output = stream(core.connect_get_namespaced_pod_exec, "solo", namespace, command=["true"], stdout=True, stderr=True)
    assert output == ""
    core.delete_namespaced_pod("solo", namespace, grace_period_seconds=0)
    until(lambda: not core.list_namespaced_pod(namespace).items, what="the pod is gone")


def test_the_dynamic_client_finds_every_kind(api: client.ApiClient, namespace: str) -> None:
    found = dynamic.DynamicClient(api)
    config_maps = found.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
    config_maps.create(body=body, namespace=namespace)
    patched = config_maps.patch(
        body={"data": {"a": "2"}}, name="c", namespace=namespace, content_type="application/merge-patch+json"
    )
    assert patched.data.a == "2"
    applied = config_maps.server_side_apply(
        body={**body, "data": {"b": "3"}}, name="c", namespace=namespace, field_manager="tests"
    )
    assert applied.data.to_dict() == {"a": "2", "b": "3"}
    assert {item.metadata.name for item in config_maps.get(namespace=namespace).items} == {"c", "kube-root-ca.crt"}
    deployments = found.resources.get(api_version="apps/v1", kind="Deployment")
    assert "scale" in deployments.subresources
    assert found.resources.search(short_names=["po"], api_version="v1")
    config_maps.delete(name="c", namespace=namespace)


def test_custom_objects(api: client.ApiClient, namespace: str) -> None:
    group = f"{namespace.replace('-', '')}.example.com"
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(yaml.safe_load(definition(group)))
    objects = client.CustomObjectsApi(api)
    place: dict[str, Any] = {"group": group, "version": "v1", "namespace": namespace, "plural": "widgets"}
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 2}}
    assert objects.create_namespaced_custom_object(body=body, **place)["spec"]["colour"] == "red"
    patched = objects.patch_namespaced_custom_object(name="w", body={"spec": {"size": 4}}, **place)
    assert patched["spec"]["size"] == 4
    status = objects.patch_namespaced_custom_object_status(name="w", body={"status": {"phase": "Up"}}, **place)
    assert status["status"]["phase"] == "Up"
    with pytest.raises(ApiException) as wrong:
        objects.patch_namespaced_custom_object(name="w", body={"spec": {"size": "big"}}, **place)
    assert reason_of(wrong) == (422, "Invalid")
    assert [item["metadata"]["name"] for item in objects.list_namespaced_custom_object(**place)["items"]] == ["w"]
    objects.delete_namespaced_custom_object(name="w", **place)
    definitions.delete_custom_resource_definition(f"widgets.{group}")


def test_manifests_are_created_from_yaml(api: client.ApiClient, namespace: str) -> None:
    documents = list(yaml.safe_load_all(WEB + "---" + POD))
    made = utils.create_from_yaml(api, yaml_objects=documents, namespace=namespace)
    assert [objects[0].metadata.name for objects in made] == ["web", "solo"]
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_dict(api, documents[0], namespace=namespace)


def test_versions_and_access_reviews(api: client.ApiClient, namespace: str) -> None:
    version = client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "33")
    assert "apps" in {group.name for group in client.ApisApi(api).get_api_versions().groups}
    review = client.V1SelfSubjectAccessReview(
        spec=client.V1SelfSubjectAccessReviewSpec(
            resource_attributes=client.V1ResourceAttributes(verb="delete", resource="nodes")
        )
    )
    assert client.AuthorizationV1Api(api).create_self_subject_access_review(review).status.allowed is True
    token = client.CoreV1Api(api).create_namespaced_service_account_token(
        "default", namespace, client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    )
    reviewed = client.AuthenticationV1Api(api).create_token_review(
        client.V1TokenReview(spec=client.V1TokenReviewSpec(token=token.status.token))
    )
    assert reviewed.status.user.username == f"system:serviceaccount:{namespace}:default"
