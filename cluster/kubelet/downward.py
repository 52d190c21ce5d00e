"""What a pod may learn about itself: fieldRef and resourceFieldRef.  Pure.

Upstream: pkg/fieldpath, pkg/api/v1/resource/helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.kubelet.podspec import containers_of, spec_of
from cluster.machinery.objects import Obj, annotations_of, labels_of, meta_of
from cluster.machinery.quantity import parse_quantity

_SUBSCRIPT = re.compile(r"(metadata\.(?:labels|annotations))\['([^']*)'\]\Z")


class DownwardError(Exception):
    """The pod has no such field."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the pod runs: what fields of its status say before the API knows it."""

    node_name: str
    host_ip: str
    pod_ip: str
    cpu_millicores: int  # the node's allocatable: what an unlimited container may use
    memory_bytes: int
    ephemeral_bytes: int = 0


def field_value(pod: Obj, path: str, where: Placement) -> str:
    """The text of one downward API field.  Raises DownwardError."""
    meta, spec = meta_of(pod), spec_of(pod)
    if match := _SUBSCRIPT.match(path):
        known = labels_of(pod) if match[1].endswith("labels") else annotations_of(pod)
        return str(known.get(match[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(meta.get(path.removeprefix("metadata."), ""))
        case "metadata.labels":
            return _map_text(labels_of(pod))
        case "metadata.annotations":
            return _map_text(annotations_of(pod))
        case "spec.nodeName":
            return where.node_name
        case "spec.serviceAccountName":
            return str(spec.get("serviceAccountName", ""))
        case "status.hostIP" | "status.hostIPs":
            return where.host_ip
        case "status.podIP" | "status.podIPs":
            return where.pod_ip
    raise DownwardError(f"unsupported fieldPath: {path}")


def resource_value(pod: Obj, reference: Obj, where: Placement, *, container: str = "") -> str:
    """A limit or request in units of the divisor, rounded up.  Raises DownwardError."""
    name = str(reference.get("containerName") or container)
    spec = next((c.spec for c in containers_of(pod) if c.name == name), None)
    if spec is None:
        raise DownwardError(f"container {name} not found")
    path = str(reference.get("resource", ""))
    side, _, resource = path.partition(".")
    if side not in ("limits", "requests") or not resource:
        raise DownwardError(f"unsupported container resource: {path}")
    amounts = (spec.get("resources") or {}).get(side) or {}
    amount = amounts.get(resource)
    if amount is None and side == "limits":
        whole = {
            "cpu": f"{where.cpu_millicores}m",
            "memory": str(where.memory_bytes),
            "ephemeral-storage": str(where.ephemeral_bytes),
        }
        amount = whole.get(resource)
    if amount is None:
        amount = "0"
    divisor = parse_quantity(reference.get("divisor") or "1").nanos or parse_quantity("1").nanos
    return str(-(-parse_quantity(amount).nanos // divisor))


def _map_text(values: Mapping[str, str]) -> str:
    """One `key="value"` a line, sorted, quoted as Go's %q does for what labels and annotations hold."""
    return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(values.items()))


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    parts = [escapes.get(char) or (char if char.isprintable() else f"\\x{ord(char):02x}") for char in text]
    return '"' + "".join(parts) + '"'
