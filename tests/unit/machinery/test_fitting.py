"""The quick look at an object agrees with the careful ones: what fits needs no refusal, no pruning, no dropping of nulls."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.schema import fits, prune, type_errors, without_nulls
from cluster.resources.builtin import PODS
from cluster.resources.schemas import node_of

POD = node_of(PODS.gvk)

scalars = st.sampled_from([None, "", "text", "1", "1Gi", "2026-01-02T03:04:05Z", 0, 1, 1 << 40, 1.5, True])
names = st.sampled_from(
    ["apiVersion", "metadata", "labels", "creationTimestamp", "spec", "containers", "name", "ports", "containerPort",
     "resources", "limits", "cpu", "tty", "args", "managedFields", "fieldsV1", "unknown"]
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(names, anything, max_size=4))
def test_what_fits_is_left_alone_by_every_careful_walk(obj):
    if fits(POD, obj):
        assert type_errors(POD, obj) == ()
        assert prune(POD, obj) is obj
        assert without_nulls(POD, obj) is obj


def test_an_ordinary_pod_fits():
    container = {
        "name": "web", "image": "web:1", "args": ["serve"], "tty": True,
        "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1", "memory": 5}},
        "readinessProbe": {"httpGet": {"port": "http"}},
    }  # fmt: skip
    meta = {"name": "a", "labels": {"a": "b"}, "creationTimestamp": "2026-01-02T03:04:05Z"}
    assert fits(POD, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}})


def test_one_flaw_anywhere_does_not_fit():
    for spec in (
        {"containers": [{"name": None}]},
        {"containers": [{"nmae": "a"}]},
        {"containers": {"name": "a"}},
        {"containers": [{"name": "a", "args": [1]}]},
        {"containers": [{"name": "a", "ports": [{"containerPort": "80"}]}]},
        {"containers": [{"name": "a", "resources": {"limits": {"cpu": "much"}}}]},
    ):
        assert not fits(POD, {"spec": spec}), spec
