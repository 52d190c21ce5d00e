"""Schemas compile once and answer: which fields exist, what types fit, what defaults apply, what is wrong."""

from __future__ import annotations

import pytest

from cluster.machinery.regex import compile_pattern
from cluster.machinery.schema import (
    apply_defaults,
    check_structural,
    compile_definitions,
    compile_structural,
    prune,
    type_errors,
    unknown_fields,
    validate,
)

DEFINITIONS = {
    "io.k8s.api.core.v1.Pod": {
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string"},
            "metadata": {"$ref": "#/definitions/io.k8s.meta.v1.ObjectMeta"},
            "spec": {"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec", "description": "what"},
        },
    },
    "io.k8s.api.core.v1.PodSpec": {
        "type": "object",
        "required": ["containers"],
        "properties": {
            "priority": {"type": ["integer", "null"], "format": "int32"},
            "limits": {
                "type": "object",
                "additionalProperties": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.api.resource.Quantity"},
            },
            "containers": {
                "type": "array",
                "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Container"},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "x-kubernetes-patch-merge-key": "name",
                "x-kubernetes-patch-strategy": "merge",
            },
            "strategy": {
                "$ref": "#/definitions/io.k8s.api.core.v1.Container",
                "x-kubernetes-patch-strategy": "retainKeys",
            },
            "port": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.util.intstr.IntOrString"},
            "startTime": {"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Time"},
            "data": {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
        },
    },
    "io.k8s.api.core.v1.Container": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tty": {"type": "boolean"},
                       "init": {"$ref": "#/x/io.k8s.api.core.v1.PodSpec"}},
    },
    "io.k8s.meta.v1.ObjectMeta": {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"type": "string", "format": "date-time"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"type": "object"},
}  # fmt: skip
NODES = compile_definitions(DEFINITIONS)
POD = NODES["io.k8s.api.core.v1.Pod"]


def test_references_lead_to_one_shared_node_even_in_a_circle():
    spec = POD.properties["spec"]
    assert spec is NODES["io.k8s.api.core.v1.PodSpec"]
    assert spec.properties["containers"].items.properties["init"] is spec


def test_a_reference_with_extensions_is_a_copy_that_leaves_its_target_alone():
    strategy = POD.properties["spec"].properties["strategy"]
    assert strategy.patch_strategy == ("retainKeys",)
    assert strategy.properties["name"].type == "string"
    assert NODES["io.k8s.api.core.v1.Container"].patch_strategy == ()


def test_merge_keys_and_list_types_are_on_the_node():
    containers = POD.properties["spec"].properties["containers"]
    assert (containers.list_type, containers.list_map_keys, containers.merge_key) == ("map", ("name",), "name")


def test_unknown_fields_are_named_by_path():
    pod = {
        "metadata": {"labels": {"anything": "x"}, "lables": {}},
        "spec": {"foo": 1, "limits": {"cpu": "1"}, "containers": [{"bar": 2, "name": "a"}, {"init": {"baz": None}}]},
    }
    assert unknown_fields(POD, pod) == (
        "metadata.lables",
        "spec.foo",
        "spec.containers[0].bar",
        "spec.containers[1].init.baz",
    )


def test_pruning_drops_unknown_fields_and_shares_the_rest():
    clean = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}}
    assert prune(POD, clean) is clean
    dirty = {**clean, "spec": {"containers": [{"name": "a", "x": 1}]}, "y": {}}
    pruned = prune(POD, dirty)
    assert pruned == clean
    assert pruned["metadata"] is clean["metadata"]
    assert dirty["y"] == {}


def test_misfit_types_are_worded_as_a_go_decoder_does():
    pod = {"spec": {"priority": "high", "containers": [{"tty": "yes"}, {"name": 5}], "limits": {"cpu": "lots"}}}
    assert type_errors(POD, pod) == (
        "json: cannot unmarshal string into Go struct field PodSpec.spec.priority of type int32",
        "json: cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool",
        "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    )


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({"priority": 2147483647}, True),
        ({"priority": 2147483648}, False),
        ({"priority": 1.5}, False),
        ({"priority": True}, False),
        ({"priority": None}, True),
        ({"port": "http"}, True),
        ({"port": 80}, True),
        ({"port": 80.5}, False),
        ({"limits": {"cpu": 0.5, "memory": "1Gi", "x": "1e3"}}, True),
        ({"limits": {"cpu": True}}, False),
        ({"startTime": "2024-01-01T00:00:00Z"}, True),
        ({"startTime": "yesterday"}, False),
        ({"data": {"a": "aGk="}}, True),
        ({"data": {"a": "aGk"}}, False),
        ({"containers": {"name": "a"}}, False),
        ([], False),
    ],
)
def test_types_fit_or_not(spec, fits):
    assert (type_errors(POD, {"spec": spec}) == ()) is fits


def crd(**properties):
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def test_defaults_fill_absent_fields_and_nulls_that_are_not_allowed():
    node = compile_structural(
        crd(
            replicas={"type": "integer", "default": 3},
            mode={"type": "string", "default": "a", "nullable": True},
            nested={"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 1}}},
            gone={"type": "string"},
        )
    )
    assert apply_defaults(node, {"spec": {"replicas": None, "mode": None, "gone": None}}) == {
        "spec": {"replicas": 3, "mode": None, "nested": {"x": 1}}
    }
    full = {"spec": {"replicas": 1, "mode": "b", "nested": {"x": 2}}}
    assert apply_defaults(node, full) is full
    assert apply_defaults(node, {}) == {}


def test_pruning_a_custom_resource_keeps_its_type_and_metadata_and_what_is_preserved():
    node = compile_structural(
        crd(
            free={
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {"a": {"type": "object"}},
            },
            whole={
                "type": "object",
                "x-kubernetes-embedded-resource": True,
                "properties": {"spec": {"type": "object", "properties": {}}},
            },
        ),
        object_meta=NODES["io.k8s.meta.v1.ObjectMeta"],
    )
    obj = {
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {"name": "a", "wrong": 1},
        "spec": {
            "free": {"any": 1, "a": {"dropped": 1}},
            "whole": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "y", "no": 1}, "data": {}},
        },
    }
    assert prune(node, obj) == {
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {"name": "a"},
        "spec": {
            "free": {"any": 1, "a": {}},
            "whole": {"apiVersion": "v1", "kind": "Y", "metadata": {"name": "y"}},
        },
    }


@pytest.mark.parametrize(
    ("schema", "value", "reason", "message"),
    [
        ({"type": "integer"}, "x", "TypeInvalid", 'Invalid value: "string": spec.f in body must be of type integer: "string"'),
        ({"type": "string"}, None, "TypeInvalid", 'Invalid value: "null": spec.f in body must be of type string: "null"'),
        ({"type": "string", "enum": ["a", "b"]}, "c", "NotSupported",
         'Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "string", "maxLength": 2}, "abc", "TooLong", "Too long: may not be more than 2 bytes"),
        ({"type": "string", "minLength": 1}, "", "Invalid",
         'Invalid value: "": spec.f in body should be at least 1 chars long'),
        ({"type": "string", "pattern": "^a+$"}, "a\n", "Invalid",
         "Invalid value: \"a\\n\": spec.f in body should match '^a+$'"),
        ({"type": "integer", "maximum": 10}, 11, "Invalid",
         "Invalid value: 11: spec.f in body should be less than or equal to 10"),
        ({"type": "integer", "minimum": 1, "exclusiveMinimum": True}, 1, "Invalid",
         "Invalid value: 1: spec.f in body should be greater than 1"),
        ({"type": "integer", "multipleOf": 2}, 3, "Invalid", "Invalid value: 3: spec.f in body should be a multiple of 2"),
        ({"type": "array", "items": {"type": "integer"}, "maxItems": 1}, [1, 2], "TooMany",
         "Too many: 2: must have at most 1 items"),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [], "Invalid",
         "Invalid value: 0: spec.f in body should have at least 1 items"),
        ({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}}, {"a": "b", "c": "d"}, "TooMany",
         "Too many: 2: must have at most 1 items"),
        ({"type": "string", "format": "ipv4"}, "1.2.3", "Invalid",
         'Invalid value: "1.2.3": spec.f in body must be of type ipv4: "1.2.3"'),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "not": {"required": ["a"]}}, {"a": "x"}, "Invalid",
         'Invalid value: "": spec.f in body must not validate the schema (not)'),
    ],
)  # fmt: skip
def test_a_broken_rule_is_worded_as_upstream_does(schema, value, reason, message):
    causes = validate(compile_structural(crd(f=schema)), {"spec": {"f": value}})
    assert [(cause.reason, cause.message, cause.field) for cause in causes] == [
        (f"FieldValue{reason}", message, "spec.f")
    ]


def test_a_multiple_of_zero_demands_nothing():
    assert validate(compile_structural(crd(f={"type": "integer", "multipleOf": 0})), {"spec": {"f": 3}}) == ()


def test_required_fields_and_duplicate_list_keys_are_named():
    node = compile_structural(
        {
            "type": "object",
            "required": ["spec"],
            "properties": {
                "spec": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {
                        "type": "object",
                        "required": ["port"],
                        "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}},
                    },
                }
            },
        }
    )
    assert [c.field for c in validate(node, {})] == ["spec"]
    causes = validate(node, {"spec": [{"port": 1}, {"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}, {}]})
    assert [(c.field, c.message) for c in causes] == [
        ("spec[3].port", "Required value"),
        ("spec[2]", 'Duplicate value: {"port":1,"protocol":"TCP"}'),
    ]


def test_junctors_count_their_alternatives():
    node = compile_structural(
        crd(
            f={
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
            }
        )
    )
    assert validate(node, {"spec": {"f": {"a": "x"}}}) == ()
    both = validate(node, {"spec": {"f": {"a": "x", "b": "y"}}})
    assert both[0].message.endswith("validate one and only one schema (oneOf). Found 2 valid alternatives")
    none = validate(node, {"spec": {"f": {}}})
    assert [cause.reason for cause in none] == ["FieldValueInvalid", "FieldValueRequired"]


def test_an_int_or_string_takes_both_and_nothing_else():
    node = compile_structural(crd(f={"x-kubernetes-int-or-string": True}))
    assert validate(node, {"spec": {"f": 5}}) == validate(node, {"spec": {"f": "5%"}}) == ()
    assert validate(node, {"spec": {"f": True}})[0].reason == "FieldValueTypeInvalid"


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        ({}, ".type"),
        ({"type": "string"}, ".type"),
        ({"type": "object", "properties": {"a": {}}}, ".properties[a].type"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, ".properties[a].items"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, ".properties[a].type"),
        ({"type": "object", "properties": {"a": {"type": "object", "$ref": "#/x"}}}, ".properties[a].$ref"),
        ({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}, ".properties[a].pattern"),
        ({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}, ".properties[a].default"),
        ({"type": "object", "anyOf": [{"properties": {"b": {"minimum": 1}}}]}, ".properties[b]"),
        ({"type": "object", "anyOf": [{"type": "object"}]}, ".anyOf[0].type"),
        ({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}},
         ".properties[metadata]"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"},
                                                    "x-kubernetes-list-type": "map"}}},
         ".properties[a].x-kubernetes-list-map-keys"),
        ({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}},
         ".properties[a].uniqueItems"),
    ],
)  # fmt: skip
def test_a_schema_that_is_not_structural_is_refused_with_the_path(schema, field):
    assert [cause.field for cause in check_structural(schema, path="")] == [field]


def test_a_structural_schema_has_no_causes():
    assert (
        check_structural(
            crd(f={"type": "string", "default": "a", "enum": ["a"]}, g={"x-kubernetes-int-or-string": True})
        )
        == ()
    )


def test_a_schema_nested_without_end_is_refused_rather_than_followed():
    schema: dict = {"type": "object"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"a": schema}}
    assert any("nested deeper" in cause.message for cause in check_structural(schema))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("^a$", "a", True),
        ("^a$", "a\n", False),
        (r"^\d+\z", "1٢", False),
        ("^[[:alpha:]]+$", "abc", True),
        ("^[^[:digit:]]+$", "a1", False),
        ("^[]a]+$", "]a", True),
        ("[$]", "$", True),
        ("^(?i)a", "A", True),
        ("(?=a)", "a", None),
        (r"(a)\1", "aa", None),
        (r"^\pL$", "é", True),
    ],
)
def test_patterns_are_read_as_go_reads_them(pattern, text, matches):
    if matches is None:
        with pytest.raises(ValueError, match=r"."):
            compile_pattern(pattern)
    else:
        assert bool(compile_pattern(pattern).search(text)) is matches
