"""A body is decoded by its media type, and nothing nests without end."""

from __future__ import annotations

import pytest

from cluster.machinery.bodies import decode_body
from cluster.machinery.depth import DEPTH_MAX
from cluster.machinery.errors import BadRequest, Invalid, UnsupportedMediaType
from cluster.machinery.patch import json_patch
from cluster.machinery.protobuf import MAGIC
from cluster.resources.builtin import BUILTIN
from cluster.resources.protobuf import protobuf_schema


def decoded(body, media_type):
    return decode_body(body, media_type, protobuf_schema)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"a": 1}', ""),
        (b'{"a": 1}', "application/json"),
        (b'{"a": 1}', "application/apply-patch+yaml"),
        (b"a: 1\n", "application/apply-patch+yaml"),
        (b"{a: 1}", "application/yaml"),
    ],
)
def test_json_and_yaml_give_the_same(body, media_type):
    assert decoded(body, media_type) == {"a": 1}


def test_protobuf_gives_its_object():
    body = MAGIC + b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x00"
    assert decoded(body, "application/vnd.kubernetes.protobuf") == {"apiVersion": "v1", "kind": "ConfigMap"}


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"{", "application/json"),
        (b"a: [", "application/yaml"),
        (b"a: 1\n---\nb: 1\n", "application/yaml"),
        (b"", "application/yaml"),
        (b"{}", "application/vnd.kubernetes.protobuf"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "application/json"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "application/apply-patch+yaml"),
        (b"[" * 5000 + b"]" * 5000, "application/json"),
    ],
)
def test_what_is_malformed_or_too_deep_is_a_bad_request(body, media_type):
    with pytest.raises(BadRequest):
        decoded(body, media_type)


def test_many_brackets_are_no_depth():
    body = b'{"a": [' + b",".join([b"{}"] * (DEPTH_MAX * 4)) + b"]}"
    assert len(decoded(body, "application/json")["a"]) == DEPTH_MAX * 4


def test_other_media_types_are_not_supported():
    with pytest.raises(UnsupportedMediaType, match="accepted media types include"):
        decoded(b"{}", "application/cbor")


def test_a_json_patch_cannot_nest_what_a_body_may_not():
    deep: dict = {}
    for _ in range(240):
        deep = {"a": deep}
    with pytest.raises(Invalid):
        json_patch({"x": deep}, [{"op": "add", "path": "/x" + "/a" * 240 + "/b", "value": deep}])


def test_every_served_kind_can_be_sent_as_protobuf():
    kinds = protobuf_schema().kinds
    assert [r.kind for r in BUILTIN if f"{r.api_version} {r.kind}" not in kinds] == []


def test_what_is_just_shallow_enough_is_taken():
    assert decoded(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, "")
    with pytest.raises(BadRequest):
        decoded(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), "")
