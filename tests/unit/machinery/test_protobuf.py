"""Kubernetes protobuf decodes to JSON's form, zeros that mean something kept, and hostile bytes are bad requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.errors import BadRequest
from cluster.machinery.protobuf import MAGIC, decode
from cluster.resources.protobuf import protobuf_schema

SCHEMA = protobuf_schema()


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def part(number, value):
    """One field: an int as varint, text or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value & 0xFFFFFFFFFFFFFFFF)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api_version, kind, raw):
    return MAGIC + part(1, part(1, api_version) + part(2, kind)) + part(2, raw)


def pod(spec):
    return decode(body("v1", "Pod", part(1, part(1, "p")) + part(2, spec)), SCHEMA)


def test_names_maps_and_inlined_messages_take_their_json_form():
    volume = part(1, "v") + part(2, part(2, b""))  # volumeSource is inlined, emptyDir is an empty message that counts
    labels = part(11, part(1, "a") + part(2, "b")) + part(11, part(1, "empty"))
    made = decode(body("v1", "Pod", part(1, part(1, "p") + labels) + part(2, part(1, volume))), SCHEMA)
    assert made == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "labels": {"a": "b", "empty": ""}},
        "spec": {"volumes": [{"name": "v", "emptyDir": {}}]},
    }


def test_a_zero_is_kept_where_go_has_a_pointer_and_dropped_elsewhere():
    # hostNetwork = 11 is a plain bool, terminationGracePeriodSeconds = 4 a pointer.
    assert pod(part(11, 0) + part(4, 0))["spec"] == {"terminationGracePeriodSeconds": 0}
    scaled = decode(body("apps/v1", "Deployment", part(2, part(1, 0))), SCHEMA)
    assert scaled["spec"] == {"replicas": 0}


def test_special_types_take_their_json_form():
    meta = part(1, "p") + part(8, part(1, 1_700_000_000)) + part(8, b"")
    made = decode(body("v1", "Pod", part(1, meta)), SCHEMA)
    assert made["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    limits = part(1, part(1, "cpu") + part(2, part(1, "500m")))
    container = part(1, "c") + part(8, limits)
    assert pod(part(2, container))["spec"]["containers"] == [{"name": "c", "resources": {"limits": {"cpu": "500m"}}}]
    secret = decode(body("v1", "Secret", part(2, part(1, "k") + part(2, b"\x00\xff"))), SCHEMA)
    assert secret["data"] == {"k": "AP8="}


def test_negative_numbers_are_ten_byte_varints():
    assert pod(part(25, -5))["spec"] == {"priority": -5}


def test_options_decode_in_any_group_version():
    made = decode(body("apps/v1", "DeleteOptions", part(1, 0) + part(4, "Background")), SCHEMA)
    assert made["gracePeriodSeconds"] == 0
    assert made["propagationPolicy"] == "Background"


def test_a_custom_resource_definition_decodes_with_its_schema():
    string = part(5, "string")
    schema = part(5, "object") + part(29, part(1, "spec") + part(2, part(5, "object") + part(38, 1)))
    schema += part(29, part(1, "list") + part(2, part(5, "array") + part(24, part(1, string))))
    schema += part(29, part(1, "map") + part(2, part(5, "object") + part(30, part(1, 1) + part(2, string))))
    version = part(1, "v1") + part(2, 1) + part(3, 0) + part(4, part(1, schema))
    raw = part(1, part(1, "xs.x.io")) + part(2, part(1, "x.io") + part(7, version))
    made = decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw), SCHEMA)
    assert made["spec"]["versions"] == [
        {
            "name": "v1",
            "served": True,
            "storage": False,
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        "list": {"type": "array", "items": {"type": "string"}},
                        "map": {"type": "object", "additionalProperties": {"type": "string"}},
                    },
                }
            },
        }
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", MAGIC, body("v9", "Pod", b""), body("v1", "Pod", b"\x0a\xff"), body("v1", "Pod", b"\xff" * 20),
        body("v1", "Pod", part(1, 5)), body("v1", "Pod", part(1, part(1, b"\xff"))), body("v1", "Pod", b"\x0b"),
        body("v1", "Pod", part(1, part(8, part(1, 2**62)))), MAGIC + b"\x0a",
    ],
)  # fmt: skip
def test_malformed_bytes_are_a_bad_request(data):
    with pytest.raises(BadRequest):
        decode(data, SCHEMA)


def test_a_schema_nested_without_end_is_a_bad_request():
    schema = part(5, "object")
    for _ in range(300):
        schema = part(28, schema)
    raw = part(2, part(7, part(4, part(1, schema))))
    with pytest.raises(BadRequest):
        decode(body("apiextensions.k8s.io/v1", "CustomResourceDefinition", raw), SCHEMA)


@given(st.binary(max_size=60))
def test_any_bytes_decode_or_are_a_bad_request(data):
    try:
        made = decode(body("v1", "Pod", data), SCHEMA)
    except BadRequest:
        return
    assert made["kind"] == "Pod"
