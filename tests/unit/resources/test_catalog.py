"""The catalog finds what is served, and says when it changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.machinery.objects import GroupKind
from cluster.resources.builtin import BUILTIN, EVENTS, PODS
from cluster.resources.catalog import Catalog, builtin_catalog, version_priority


def test_every_built_in_resource_is_found_by_url_and_by_kind():
    catalog = builtin_catalog()
    for resource in BUILTIN:
        assert catalog.of(resource).resource is resource
        assert catalog.get(resource.group, resource.version, resource.plural) is catalog.of_kind(
            resource.group_kind, resource.version
        )


def test_every_built_in_kind_has_a_schema_with_metadata_or_a_spec():
    for descriptor in builtin_catalog():
        assert {"apiVersion", "kind"} <= descriptor.node.properties.keys(), descriptor.resource


def test_adding_and_removing_change_the_generation():
    catalog = builtin_catalog()
    before = catalog.generation
    descriptor = catalog.of(PODS)
    catalog.remove(PODS)
    assert catalog.get("", "v1", "pods") is None
    assert catalog.of_kind(GroupKind("", "Pod")) is None
    catalog.add(descriptor)
    assert catalog.generation == before + 2
    catalog.remove(replace(PODS, plural="nothing"))
    assert catalog.generation == before + 2


def test_a_kind_without_a_version_is_the_preferred_one():
    descriptor = builtin_catalog().of(PODS)
    older, newer = (replace(descriptor, resource=replace(PODS, version=v)) for v in ("v1beta1", "v2"))
    catalog = Catalog([older, descriptor, newer])
    assert catalog.of_kind(GroupKind("", "Pod")) is newer
    assert catalog.of_kind(GroupKind("", "Pod"), "v1beta1") is older
    assert catalog.versions("") == ("v2", "v1", "v1beta1")


@pytest.mark.parametrize(
    "order", [("v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10")]
)
def test_versions_sort_as_upstream_documents(order):
    assert tuple(sorted(order, key=version_priority)) == order


def test_everything_can_be_selected_by_name():
    selectable = builtin_catalog().of(EVENTS).selectable
    assert selectable["metadata.name"]({"metadata": {"name": "a"}}) == "a"
