"""Nodes and pods as the scheduler's tests need them."""

from __future__ import annotations

from typing import Any

from cluster.scheduler.snapshot import ClusterState


def node(name: str, *, zone: str = "", cpu: str = "4", pods: str = "110", **spec: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name} | ({"zone": zone} if zone else {})
    allocatable = {"cpu": cpu, "memory": "8Gi", "pods": pods}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": {"allocatable": allocatable}}


def pod(name: str, *, cpu: str = "100m", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "web:1", "resources": {"requests": {"cpu": cpu}}}
    metadata = {"namespace": "d", "name": name, "uid": name, "labels": labels or {}}
    return {"metadata": metadata, "spec": {"containers": [container], **spec}}


def cluster_of(*nodes: dict[str, Any]) -> ClusterState:
    state = ClusterState()
    state.set_namespace("d", {"team": "a"})
    for obj in nodes:
        state.set_node(obj)
    return state


def near(*terms: dict[str, Any], anti: bool = False, weight: int = 0) -> dict[str, Any]:
    """An affinity (or anti-affinity) of those terms; with a weight a preferred one."""
    kind = "podAntiAffinity" if anti else "podAffinity"
    if weight:
        preferred = [{"weight": weight, "podAffinityTerm": term} for term in terms]
        return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def term(app: str, topology: str = "kubernetes.io/hostname", **more: Any) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": topology, **more}
