from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.kubelet import enforcement
from cluster.kubelet.enforcement import Findings, Level, findings_of
from cluster.machinery.schema.node import Node
from cluster.resources.catalog import builtin_catalog
from tests.unit.kubelet.shapes import container, pod


def schema(*path: str) -> Node:
    """The schema of a part of v1.Pod; lists are entered."""
    descriptor = builtin_catalog().get("", "v1", "pods")
    assert descriptor is not None
    node = descriptor.node
    for part in path:
        inner = node.properties[part]
        node = inner if inner.items is None else inner.items
    return node


@pytest.mark.parametrize(
    ("table", "path"),
    [
        (enforcement.POD, ("spec",)),
        (enforcement.CONTAINER, ("spec", "ephemeralContainers")),
        (enforcement.POD_SECURITY, ("spec", "securityContext")),
        (enforcement.CONTAINER_SECURITY, ("spec", "containers", "securityContext")),
        (enforcement.VOLUME, ("spec", "volumes")),
        (enforcement.VOLUME_MOUNT, ("spec", "containers", "volumeMounts")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_every_served_field_has_its_line_in_the_table(table: Mapping[str, Level], path: tuple[str, ...]) -> None:
    assert sorted(table) == sorted(schema(*path).properties)


@pytest.mark.parametrize(
    ("spec", "findings"),
    [
        ({}, Findings()),
        ({"runtimeClassName": "gvisor"}, Findings(refused=("spec.runtimeClassName",))),
        ({"overhead": {"cpu": "1"}}, Findings(warned=("spec.overhead",))),
        ({"hostUsers": False}, Findings(refused=("spec.hostUsers",))),
        ({"hostUsers": True}, Findings()),
        ({"os": {"name": "windows"}}, Findings(refused=("spec.os.name: windows",))),
        ({"somethingNew": 1}, Findings(refused=("spec.somethingNew",))),
        ({"volumes": [{"name": "v", "nfs": {"server": "x"}}]}, Findings(refused=("spec.volumes[0].nfs",))),
        (
            {"securityContext": {"seLinuxOptions": {"level": "s0"}}},
            Findings(refused=("spec.securityContext.seLinuxOptions",)),
        ),
    ],
)
def test_what_is_not_done_is_found(spec: dict[str, Any], findings: Findings) -> None:
    assert findings_of(pod(**spec)) == findings


def test_containers_are_searched_too() -> None:
    subject = pod(container(securityContext={"procMount": "Unmasked"}, ports=[{"containerPort": 1, "hostPort": 80}]))
    assert findings_of(subject) == Findings(
        refused=("spec.containers[0].securityContext.procMount",), warned=("spec.containers[0].ports[0].hostPort",)
    )
