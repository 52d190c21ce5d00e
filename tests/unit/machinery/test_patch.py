"""Patches change exactly what they say, never their inputs, and refuse what makes no sense."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.errors import BadRequest, Invalid, RequestEntityTooLarge
from cluster.machinery.patch import json_patch, merge_patch, strategic_merge
from cluster.machinery.schema import Node

TEXT = Node(type="string")
PORT = Node(type="object", properties={"containerPort": Node(type="integer"), "name": TEXT})
CONTAINER = Node(
    type="object",
    properties={
        "name": TEXT,
        "image": TEXT,
        "args": Node(type="array", items=TEXT),
        "ports": Node(type="array", items=PORT, merge_key="containerPort", patch_strategy=("merge",)),
    },
)
NODE = Node(
    type="object",
    properties={
        "containers": Node(type="array", items=CONTAINER, merge_key="name", patch_strategy=("merge",)),
        "finalizers": Node(type="array", items=TEXT, patch_strategy=("merge",)),
        "strategy": Node(type="object", patch_strategy=("retainKeys",)),
        "labels": Node(type="object", additional=TEXT),
    },
)


def c(name, **fields):
    return {"name": name, **fields}


@pytest.mark.parametrize(
    ("obj", "patch", "result"),
    [
        ({"labels": {"a": "1", "b": "2"}}, {"labels": {"a": None, "c": "3"}}, {"labels": {"b": "2", "c": "3"}}),
        ({}, {"labels": {"a": None, "b": "1"}}, {"labels": {"b": "1"}}),
        ({"containers": [c("a", image="1"), c("b")]}, {"containers": [c("a", image="2")]},
         {"containers": [c("a", image="2"), c("b")]}),
        ({"containers": [c("a")]}, {"containers": [c("b")]}, {"containers": [c("b"), c("a")]}),
        ({"containers": [c("a"), c("b")]}, {"containers": [{"$patch": "delete", "name": "a"}]}, {"containers": [c("b")]}),
        ({"containers": [c("a")]}, {"containers": [{"$patch": "replace"}, c("x")]}, {"containers": [c("x")]}),
        ({"containers": [c("a", ports=[{"containerPort": 80, "name": "w"}])]},
         {"containers": [c("a", ports=[{"containerPort": 80, "name": "x"}, {"containerPort": 81}])]},
         {"containers": [c("a", ports=[{"containerPort": 80, "name": "x"}, {"containerPort": 81}])]}),
        ({"containers": [c("a", args=["x"])]}, {"containers": [c("a", args=["y"])]}, {"containers": [c("a", args=["y"])]}),
        ({"containers": [c("a"), c("b"), c("s")]}, {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]},
         {"containers": [c("b"), c("a"), c("s")]}),
        ({"containers": [c("s"), c("a"), c("b")]},
         {"$setElementOrder/containers": [{"name": "n"}, {"name": "a"}, {"name": "b"}], "containers": [c("n")]},
         {"containers": [c("n"), c("s"), c("a"), c("b")]}),
        ({"finalizers": ["a", "b"]}, {"finalizers": ["c", "a"]}, {"finalizers": ["c", "a", "b"]}),
        ({"finalizers": ["a", "b"]}, {"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": ["b"]}),
        ({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"x": 1}}},
         {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}, {"strategy": {"type": "Recreate"}}),
        ({"labels": {"a": "1"}}, {"labels": {"$patch": "replace", "b": "2"}}, {"labels": {"b": "2"}}),
        ({"labels": {"a": "1"}}, {"labels": {"$patch": "delete"}}, {"labels": {}}),
        ({}, {"containers": [{"name": "a", "image": None, "$setElementOrder/ports": []}]}, {"containers": [c("a")]}),
        ({"other": [1, 2]}, {"other": [3]}, {"other": [3]}),
    ],
)  # fmt: skip
def test_a_strategic_merge_follows_keys_and_directives(obj, patch, result):
    before = copy.deepcopy((obj, patch))
    assert strategic_merge(obj, patch, NODE) == result
    assert (obj, patch) == before


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"$patch": "explode"},
        {"containers": [{"image": "x"}]},
        {"containers": ["x", {"name": "a"}]},
        {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}},
        {"$setElementOrder/containers": "a"},
        {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [c("a"), c("b")]},
    ],
)
def test_a_strategic_merge_that_makes_no_sense_is_a_bad_request(patch):
    with pytest.raises(BadRequest):
        strategic_merge({"containers": [c("a")], "strategy": {}}, patch, NODE)


def test_a_merge_patch_merges_objects_removes_nulls_and_shares_what_stays():
    obj = {"a": {"b": 1, "c": {"d": 2}}, "e": [1]}
    patched = merge_patch(obj, {"a": {"b": None, "x": {"y": None}}, "e": [2]})
    assert patched == {"a": {"c": {"d": 2}, "x": {}}, "e": [2]}
    assert patched["a"]["c"] is obj["a"]["c"]
    assert merge_patch(obj, {"a": {"c": {"d": 2}, "z": None}}) is obj


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def rfc7386(target, patch):
    """The reference algorithm, as the RFC writes it."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = rfc7386(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_is_what_the_rfc_says(obj, patch):
    before = copy.deepcopy((obj, patch))
    assert merge_patch(obj, patch) == rfc7386(obj, patch)
    assert (obj, patch) == before


@given(OBJECTS, OBJECTS)
def test_without_a_schema_a_strategic_merge_is_a_merge_patch(obj, patch):
    assert strategic_merge(obj, patch, Node()) == rfc7386(obj, patch)


def test_a_merge_patch_nested_without_end_is_refused():
    patch: dict = {}
    for _ in range(5000):
        patch = {"a": patch}
    with pytest.raises(BadRequest):
        merge_patch({}, patch)
    with pytest.raises(BadRequest):
        strategic_merge({}, patch, NODE)


def test_a_json_patch_applies_in_order_and_leaves_its_input_alone():
    obj = {"a": [1, 2], "x~y/z": 1}
    assert json_patch(
        obj,
        [
            {"op": "test", "path": "/a/0", "value": 1},
            {"op": "add", "path": "/a/-", "value": 3},
            {"op": "remove", "path": "/x~0y~1z"},
            {"op": "copy", "from": "/a", "path": "/b"},
            {"op": "move", "from": "/a/0", "path": "/c"},
        ],
    ) == {"a": [2, 3], "b": [1, 2, 3], "c": 1}
    assert obj == {"a": [1, 2], "x~y/z": 1}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/secret", "value": "guess"}],
        [{"op": "remove", "path": "/missing"}],
        [{"op": "replace", "path": "/missing/deeper", "value": 1}],
        [{"op": "add", "path": "/a/9", "value": 1}],
        [{"op": "add", "path": "/secret/deeper", "value": 1}],
        [{"op": "replace", "path": "", "value": 1}],
    ],
)
def test_a_json_patch_that_does_not_fit_is_invalid_and_tells_no_values(operations):
    with pytest.raises(Invalid) as error:
        json_patch({"a": [], "secret": "s3cr3t"}, operations)
    assert "s3cr3t" not in str(error.value.to_status())


@pytest.mark.parametrize(
    "operations",
    [
        {}, [1], [{}], [{"op": "jump", "path": "/a"}], [{"op": "add", "path": "/a"}], [{"op": "remove", "path": "a"}],
        [{"op": "move", "path": "/a"}], [{"op": [], "path": "/a"}], [{"op": "remove", "path": 5}],
    ],
)  # fmt: skip
def test_a_malformed_json_patch_is_a_bad_request(operations):
    with pytest.raises(BadRequest):
        json_patch({"a": 1}, operations)


def test_a_json_patch_is_bounded_in_operations_and_in_what_it_copies():
    with pytest.raises(RequestEntityTooLarge):
        json_patch({}, [{"op": "remove", "path": "/a"}] * 10_001)
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 100
    with pytest.raises(Invalid):
        json_patch({"a": ["x" * 1000]}, doubling)
