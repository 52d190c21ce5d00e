from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.machinery.schema.node import Node
from cluster.resources import enforcement
from cluster.resources.catalog import builtin_catalog
from cluster.resources.enforcement import Findings, Level, findings_of, service_findings_of
from tests.unit.kubelet.shapes import container, pod


def schema(*path: str, group: str = "", plural: str = "pods") -> Node:
    """The schema of a part of a kind; lists are entered."""
    descriptor = builtin_catalog().get(group, "v1", plural)
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
        (enforcement.AFFINITY, ("spec", "affinity")),
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
    ("table", "group", "plural"),
    [(enforcement.SERVICE, "", "services"), (enforcement.DEPLOYMENT, "apps", "deployments")],
)
def test_every_field_of_other_kinds_has_its_line_too(table: Mapping[str, Level], group: str, plural: str) -> None:
    assert sorted(table) == sorted(schema("spec", group=group, plural=plural).properties)


@pytest.mark.parametrize(
    ("spec", "findings"),
    [
        ({}, Findings()),
        ({"runtimeClassName": "gvisor"}, Findings(forbidden=("spec.runtimeClassName",))),
        ({"overhead": {"cpu": "1"}}, Findings(warned=("spec.overhead",))),
        ({"hostUsers": False}, Findings(forbidden=("spec.hostUsers",))),
        ({"hostUsers": True}, Findings()),
        ({"preemptionPolicy": "PreemptLowerPriority", "priority": 0}, Findings()),
        ({"preemptionPolicy": "PreemptLowerPriority", "priority": 9}, Findings(warned=("spec.preemptionPolicy",))),
        ({"preemptionPolicy": "Never", "priority": 9}, Findings()),
        ({"affinity": {"nodeAffinity": {"x": 1}}}, Findings()),
        ({"affinity": {"podAntiAffinity": {"x": 1}}}, Findings()),
        ({"os": {"name": "windows"}}, Findings(refused=("spec.os.name: windows",))),
        ({"somethingNew": 1}, Findings(refused=("spec.somethingNew",))),
        ({"volumes": [{"name": "v", "nfs": {"server": "x"}}]}, Findings(refused=("spec.volumes[0].nfs",))),
        (
            {"securityContext": {"seLinuxOptions": {"level": "s0"}}},
            Findings(forbidden=("spec.securityContext.seLinuxOptions",)),
        ),
    ],
)
def test_what_is_not_done_is_found(spec: dict[str, Any], findings: Findings) -> None:
    assert findings_of(pod(**spec)) == findings


def test_containers_are_searched_too() -> None:
    subject = pod(container(securityContext={"procMount": "Unmasked"}, resizePolicy=[{"resourceName": "cpu"}]))
    assert findings_of(subject) == Findings(
        forbidden=("spec.containers[0].securityContext.procMount",), warned=("spec.containers[0].resizePolicy",)
    )


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        ({"type": "ClusterIP", "clusterIP": "10.96.0.9", "selector": {"app": "web"}}, ()),
        ({"externalIPs": ["192.0.2.7"]}, ("spec.externalIPs",)),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}}, ()),
        ({"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}, ("spec.sessionAffinityConfig",)),
    ],
)
def test_what_a_service_asks_in_vain_is_found(spec: dict[str, Any], warned: tuple[str, ...]) -> None:
    assert service_findings_of({"spec": spec}) == Findings(warned=warned)
