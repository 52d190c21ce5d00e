"""Namespaces' labels at work: what is refused, what is only told, what labels may say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import ApiRequest, Reply
from cluster.machinery.errors import Forbidden, Invalid
from cluster.machinery.objects import Key, Obj
from cluster.resources.builtin import NAMESPACES, PODS
from tests.apiservers import ADMIN, running

PREFIX = "pod-security.kubernetes.io/"


def _namespace(**labels: str) -> dict[str, Any]:
    named = {PREFIX + mode.replace("_", "-"): level for mode, level in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": named}}


def _pod(name: str = "p", **context: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i:1", "securityContext": context}
    metadata = {"name": name, "namespace": "n"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


async def _post(server: ApiServer, path: str, obj: Obj) -> tuple[str, ...]:
    """The warnings that a client gets with the answer."""
    reply: Reply = await server(
        ApiRequest("POST", path, ADMIN, headers={"content-type": "application/json"}, body=orjson.dumps(obj))
    )
    assert reply.status == 201
    return tuple(reply.warnings)


async def test_a_pod_below_the_enforced_standard_is_refused() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        await api.create(NAMESPACES, _namespace(enforce="restricted", enforce_version="v1.30"))
        with pytest.raises(Forbidden) as refused:
            await api.create(PODS, _pod(allowPrivilegeEscalation=False, capabilities={"drop": ["ALL"]}))
        assert refused.value.message == (
            'pods "p" is forbidden: violates PodSecurity "restricted:v1.30": runAsNonRoot != true (pod or container "c" must '
            'set securityContext.runAsNonRoot=true), seccompProfile (pod or container "c" must set '
            'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
        )
        good = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
        made = await api.create(PODS, _pod(**good))
        # A label changes nothing that the standard looks at.
        await api.update(PODS, {**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}})


async def test_pods_and_templates_are_warned_of() -> None:
    async with running() as server:
        await server.transport(ADMIN).create(NAMESPACES, _namespace(warn="restricted", enforce="baseline"))
        told = await _post(server, "/api/v1/namespaces/n/pods", _pod())
        assert len(told) == 1 and 'would violate PodSecurity "restricted:latest"' in told[0]
        template = {"metadata": {"labels": {"a": "b"}}, "spec": _pod(privileged=True)["spec"]}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
        told = await _post(server, "/apis/apps/v1/namespaces/n/deployments", deployment)
        assert any("would violate PodSecurity" in line and "privileged" in line for line in told)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({"enforce": "strict"}, "must be one of privileged, baseline, restricted"),
        ({"warn_version": "1.30"}, 'must be "latest" or "v1.x"'),
    ],
)
async def test_labels_that_name_no_standard_are_refused(labels: dict[str, str], text: str) -> None:
    async with running() as server:
        with pytest.raises(Invalid) as refused:
            await server.transport(ADMIN).create(NAMESPACES, _namespace(**labels))
        assert text in refused.value.message and f"metadata.labels[{PREFIX}" in refused.value.message


async def test_a_stricter_namespace_says_which_of_its_pods_would_be_refused() -> None:
    async with running() as server:
        api = server.transport(ADMIN)
        await api.create(NAMESPACES, _namespace())
        for name in ("a", "b"):
            await api.create(PODS, _pod(name))
        live = await api.get(NAMESPACES, Key("", "n"))
        labels = {**live["metadata"]["labels"], PREFIX + "enforce": "restricted"}
        body = orjson.dumps({"metadata": {"labels": labels}})
        headers = {"content-type": "application/merge-patch+json"}
        reply = await server(ApiRequest("PATCH", "/api/v1/namespaces/n", ADMIN, headers=headers, body=body))
        told = reply.warnings
        assert 'existing pods in namespace "n" violate the new PodSecurity enforce level "restricted:latest"' in told[0]
        assert "a (and 1 other pod): allowPrivilegeEscalation != false, unrestricted capabilities" in told[1]
