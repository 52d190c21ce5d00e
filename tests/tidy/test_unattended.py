"""docs/limits.md says that every kind of upstream is served, and lists those nothing acts on, as their writers are told."""

from __future__ import annotations

from cluster.resources.catalog import builtin_catalog
from cluster.resources.schemas import definitions
from cluster.resources.unattended import UNATTENDED, warning_of
from tests.tidy.tree import table_rows


def test_the_page_says_what_writers_are_told() -> None:
    rows = table_rows("docs/limits.md", "## Kinds that are stored only")
    assert {kind: cells[0] for kind, cells in rows.items()} == {str(kind): why for kind, why in UNATTENDED.items()}


def test_only_served_kinds_are_listed() -> None:
    catalog = builtin_catalog()
    assert not [kind for kind in UNATTENDED if catalog.of_kind(kind) is None]


def test_a_kind_that_works_warns_of_nothing() -> None:
    working = [d.resource.group_kind for d in builtin_catalog() if d.resource.group_kind not in UNATTENDED]
    assert not [warning_of(kind) for kind in working if warning_of(kind)]


NOT_OBJECTS = {"policy/v1 Eviction", "autoscaling/v1 Scale", "authentication.k8s.io/v1 TokenRequest"}
"""Kinds of subresources: they have no endpoint of their own."""


OF_OTHER_PROJECTS = {"metrics.k8s.io/v1beta1 NodeMetrics", "metrics.k8s.io/v1beta1 PodMetrics"}
"""What upstream leaves to a server of its own."""


def test_every_kind_of_upstream_is_served() -> None:
    known = {
        f"{kind['group']}/{kind['version']} {kind['kind']}".removeprefix("/")
        for name, definition in definitions().items()
        if "metadata" in definition.get("properties", {}) and not name.endswith(("List", "Status", ".WatchEvent"))
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    } | {"v1 ComponentStatus"}
    served = {f"{d.resource.api_version} {d.resource.kind}" for d in builtin_catalog()}
    assert known - served == NOT_OBJECTS
    assert served - known == OF_OTHER_PROJECTS
