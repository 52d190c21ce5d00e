"""Pods, ReplicaSets and Deployments for plan tests: the few fields that matter, by keyword."""

from __future__ import annotations

from typing import Any

NOW = "2026-01-02T03:04:05Z"


def pod(
    name: str,
    *,
    labels: dict[str, str] | None = None,
    owner: dict[str, Any] | None = None,
    phase: str = "Running",
    ready: bool | str = True,
    node: str = "n1",
    deleting: bool = False,
    ip: str = "",
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": "d",
        "name": name,
        "uid": f"uid-{name}",
        "labels": labels or {"app": "web"},
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    if deleting:
        metadata["deletionTimestamp"] = NOW
    since = ready if isinstance(ready, str) else "2026-01-01T00:00:00Z"
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}]
    status: dict[str, Any] = {"phase": phase, "conditions": conditions}
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec},
        "status": status,
    }


def replica_set(
    name: str = "web-1",
    *,
    replicas: int = 3,
    image: str = "web:1",
    available: int | None = None,
    owner: dict[str, Any] | None = None,
    created: str = NOW,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "namespace": "d",
        "name": name,
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": created,
        "resourceVersion": "1",
        "annotations": annotations or {},
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": owner["metadata"]["name"],
             "uid": owner["metadata"]["uid"], "controller": True}
        ]  # fmt: skip
    count = replicas if available is None else available
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            **spec,
        },
        "status": {
            "replicas": replicas,
            "readyReplicas": count,
            "availableReplicas": count,
            "observedGeneration": 1,
        },
    }


def template(image: str = "web:1") -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def deployment(*, replicas: int = 3, image: str = "web:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "d", "name": "web", "uid": "uid-web", "generation": 1, "resourceVersion": "1"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 10,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            **spec,
        },
    }
