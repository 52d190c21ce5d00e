"""Services, slices and pods as the API server serves them, cut down to what a proxy reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def service(
    name: str = "web",
    *,
    cluster_ip: str = "10.96.0.7",
    ports: Sequence[dict[str, Any]] = ({"port": 80, "protocol": "TCP", "targetPort": 8080},),
    namespace: str = "default",
    ingress: Sequence[str] = (),
    **spec: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "ports": [dict(port) for port in ports],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ingress]} if ingress else {}},
    }


def endpoint(address: str, *, node: str = "n1", **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def endpoint_slice(
    service_name: str = "web",
    *endpoints: dict[str, Any],
    name: str = "",
    port: int = 8080,
    port_name: str = "",
    protocol: str = "TCP",
    namespace: str = "default",
    address_type: str = "IPv4",
) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name or f"{service_name}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": address_type,
        "ports": [{"name": port_name, "port": port, "protocol": protocol}],
        "endpoints": list(endpoints),
    }


def pod(name: str = "web-0", *, address: str = "10.244.0.5", node: str = "n1", **port: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [port] if port else []}]},
        "status": {"phase": "Running", "podIP": address},
    }
