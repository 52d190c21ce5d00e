"""Metadata rules that every kind shares."""

from __future__ import annotations

import pytest

from cluster.machinery.names import subdomain_errors
from cluster.resources.metadata import validate_metadata, validate_metadata_update, without_empty


def _fields(namespaced=True, **meta):
    meta = {"name": "x", **({"namespace": "n"} if namespaced else {}), **meta}
    return [c.field for c in validate_metadata(meta, namespaced=namespaced, name_check=subdomain_errors)]


OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}


@pytest.mark.parametrize(
    ("meta", "field"),
    [
        ({"name": ""}, "metadata.name"),
        ({"name": "A"}, "metadata.name"),
        ({"generateName": "A-"}, "metadata.generateName"),
        ({"namespace": ""}, "metadata.namespace"),
        ({"labels": {"a b": "c"}}, "metadata.labels"),
        ({"annotations": {"a b": "c"}}, "metadata.annotations"),
        ({"finalizers": ["mine"]}, "metadata.finalizers"),
        ({"ownerReferences": [{**OWNER, "uid": ""}]}, "metadata.ownerReferences.uid"),
        ({"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "q", "controller": True}]},
         "metadata.ownerReferences"),
        ({"ownerReferences": [{**OWNER, "kind": "Event"}]}, "metadata.ownerReferences"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(meta, field):
    assert _fields(**meta) == [field]


def test_a_generated_prefix_may_end_in_a_dash():
    assert _fields(generateName="pod-", finalizers=["orphan", "a.b/c"], ownerReferences=[OWNER]) == []


def test_a_cluster_scoped_object_has_no_namespace():
    assert _fields(namespaced=False, namespace="n") == ["metadata.namespace"]


def test_a_name_stays():
    old = {"name": "a", "finalizers": ["a/b"]}
    assert validate_metadata_update({**old, "finalizers": []}, old) == ()
    assert [cause.field for cause in validate_metadata_update({**old, "name": "b"}, old)] == ["metadata.name"]


def test_empty_parts_are_not_written():
    meta = {"name": "x", "labels": {}, "annotations": None, "finalizers": [], "ownerReferences": []}
    assert without_empty(meta) == {"name": "x"}
    full = {"name": "x", "labels": {"a": "b"}}
    assert without_empty(full) is full
