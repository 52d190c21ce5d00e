"""Rules of custom resource schemas: what they see, what they answer, and which are refused when the schema is written."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.machinery.cel import Budget
from cluster.machinery.cel.check import check_rules
from cluster.machinery.cel.rules import broken_rules, compile_rules, parse_path
from cluster.machinery.cel.schema import escaped
from cluster.machinery.schema import ABSENT, compile_structural

INTEGER = {"type": "integer"}
STRING = {"type": "string"}


def schema_of(spec: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", **spec}}}


def ruled(rule: str, properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return schema_of({"properties": properties, "x-kubernetes-validations": [{"rule": rule, **more}]})


def causes_of(schema: dict[str, Any], spec: Any, old: Any = ABSENT) -> list[str]:
    rules = compile_rules(compile_structural(schema))
    assert rules is not None
    before = ABSENT if old is ABSENT else {"spec": old}
    return [f"{cause.field}: {cause.message}" for cause in broken_rules(rules, {"spec": spec}, before, Budget())]


def test_a_rule_that_holds_says_nothing_and_one_that_fails_says_its_message() -> None:
    schema = ruled("self.replicas <= self.max", {"replicas": INTEGER, "max": INTEGER}, message="too many")
    assert causes_of(schema, {"replicas": 1, "max": 2}) == []
    assert causes_of(schema, {"replicas": 3, "max": 2}) == ['spec: Invalid value: "object": too many']


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, 'spec: Invalid value: "object": failed rule: self.n > 5'),
        ({"messageExpression": "'got %d'.format([self.n])"}, 'spec: Invalid value: "object": got 1'),
        ({"messageExpression": "string(self.n / 0)", "message": "plain"}, 'spec: Invalid value: "object": plain'),
        ({"messageExpression": "'two\\nlines'"}, 'spec: Invalid value: "object": failed rule: self.n > 5'),
        ({"message": "m", "fieldPath": ".n", "reason": "FieldValueForbidden"}, "spec.n: Forbidden: m"),
        (
            {"message": "m", "fieldPath": ".labels['a.b']", "reason": "FieldValueRequired"},
            "spec.labels[a.b]: Required value: m",
        ),
        ({"reason": "FieldValueDuplicate"}, 'spec: Duplicate value: "object"'),
    ],
)
def test_message_reason_and_path_are_what_the_rule_says(more: dict[str, Any], shown: str) -> None:
    labels = {"type": "object", "additionalProperties": STRING}
    assert causes_of(ruled("self.n > 5", {"n": INTEGER, "labels": labels}, **more), {"n": 1}) == [shown]


def test_what_cannot_be_evaluated_is_named_with_its_rule() -> None:
    assert causes_of(ruled("self.a == 1", {"a": INTEGER}), {}) == [
        'spec: Invalid value: "object": no such key: a evaluating rule: self.a == 1'
    ]
    mixed = {"port": {"x-kubernetes-int-or-string": True}}
    [found] = causes_of(ruled("self.port > 1", mixed), {"port": "http"})
    assert found.endswith(
        "call arguments did not match a supported operator, function or macro signature for rule: self.port > 1"
    )


def test_rules_stand_at_any_depth() -> None:
    even = {"type": "integer", "x-kubernetes-validations": [{"rule": "self % 2 == 0", "message": "odd"}]}
    schema = schema_of(
        {
            "properties": {
                "list": {"type": "array", "items": even},
                "map": {"type": "object", "additionalProperties": even},
            }
        }
    )
    assert causes_of(schema, {"list": [2, 3], "map": {"a.b": 5}}) == [
        'spec.list[1]: Invalid value: "integer": odd',
        'spec.map[a.b]: Invalid value: "integer": odd',
    ]


def test_transition_rules_need_an_old_value() -> None:
    schema = ruled("self.size >= oldSelf.size", {"size": INTEGER}, message="only grows")
    assert causes_of(schema, {"size": 1}) == []
    assert causes_of(schema, {"size": 1}, {"size": 2}) == ['spec: Invalid value: "object": only grows']
    optional = ruled(
        "oldSelf.hasValue() || self.size == 1", {"size": INTEGER}, optionalOldSelf=True, message="starts at one"
    )
    assert causes_of(optional, {"size": 2}) == ['spec: Invalid value: "object": starts at one']
    assert causes_of(optional, {"size": 2}, {"size": 1}) == []


def test_items_of_map_lists_are_compared_with_their_own_past() -> None:
    item = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": STRING, "value": INTEGER},
        "x-kubernetes-validations": [{"rule": "self.value == oldSelf.value", "message": "immutable"}],
    }
    items = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    schema = schema_of({"properties": {"items": items}})
    old = {"items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}]}
    assert causes_of(schema, {"items": [{"name": "b", "value": 2}, {"name": "c", "value": 9}]}, old) == []
    assert causes_of(schema, {"items": [{"name": "b", "value": 1}]}, old) == [
        'spec.items[0]: Invalid value: "object": immutable'
    ]


def test_an_unchanged_part_that_breaks_a_newer_rule_is_let_pass() -> None:
    schema = schema_of(
        {
            "properties": {
                "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5", "message": "small"}]},
                "b": INTEGER,
            }
        }
    )
    assert causes_of(schema, {"a": 1, "b": 2}, {"a": 1, "b": 1}) == []
    assert causes_of(schema, {"a": 2, "b": 2}, {"a": 1, "b": 1}) == ['spec.a: Invalid value: "integer": small']


def test_values_are_of_the_declared_types() -> None:
    declared = {
        "ratio": {"type": "number"},
        "at": {"type": "string", "format": "date-time"},
        "wait": {"type": "string", "format": "duration"},
        "raw": {"type": "string", "format": "byte"},
        "ratios": {"type": "array", "items": {"type": "number"}},
    }
    rule = (
        "self.ratio / 2.0 == 1.5 && self.at.getFullYear() == 2024 && self.wait == duration('90s') && size(self.raw) == 3"
        " && self.ratios.sum() == 3.0"
    )
    spec = {"ratio": 3, "at": "2024-01-01T00:00:00Z", "wait": "1m30s", "raw": "YWJj", "ratios": [1, 2]}
    assert causes_of(ruled(rule, declared), spec) == []


def test_sets_and_maps_are_equal_in_any_order_and_merge() -> None:
    tags = {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"}
    rule = "self.tags == ['b', 'a'] && (self.tags + ['a', 'c']).size() == 3"
    assert causes_of(ruled(rule, {"tags": tags}), {"tags": ["a", "b"]}) == []


@pytest.mark.parametrize(
    ("name", "known"),
    [("namespace", "__namespace__"), ("a-b", "a__dash__b"), ("a.b/c", "a__dot__b__slash__c"), ("a__b", "a__underscores__b"),
     ("1st", None), ("ok", "ok"), ("$ref", None), ("in", "__in__")],
)  # fmt: skip
def test_names_are_escaped(name: str, known: str | None) -> None:
    assert escaped(name) == known


def test_escaped_names_reach_their_fields() -> None:
    schema = ruled("self.a__dash__b > 1 && has(self.__namespace__)", {"a-b": INTEGER, "namespace": STRING})
    assert causes_of(schema, {"a-b": 2, "namespace": "x"}) == []


def test_only_name_and_generate_name_of_the_metadata_are_seen() -> None:
    root = {"type": "object", "properties": {}, "x-kubernetes-validations": [{"rule": "self.metadata.name.size() < 3"}]}
    assert check_rules(root, "s") == ()
    root["x-kubernetes-validations"] = [{"rule": "self.metadata.labels.size() < 3"}]
    [cause] = check_rules(root, "s")
    assert "undefined field 'labels'" in cause.message


UNBOUNDED = {"type": "array", "items": {"type": "array", "items": STRING}}


@pytest.mark.parametrize(
    ("schema", "path", "why"),
    [
        (ruled("self.nope > 1", {"n": INTEGER}), "rule", "undefined field 'nope'\n | self.nope > 1\n | ....^"),
        (ruled("self.n + 1", {"n": INTEGER}), "rule", "cel expression must evaluate to a bool"),
        (ruled("self.n > 'a'", {"n": INTEGER}), "rule", "found no matching overload for '_>_' applied to '(int, string)'"),
        (ruled("", {}), "rule", "Required value: rule is not specified"),
        (ruled("true", {}, message=" "), "message", "message must be non-empty if specified"),
        (ruled("true", {}, message="a\nb"), "message", "message must not contain line breaks"),
        (ruled("true\n", {}, message=""), "", ""),
        (ruled("true ||\nfalse", {}), "message", "message must be specified if rule contains line breaks"),
        (ruled("true", {}, reason="Bad"), "reason", 'Unsupported value: "Bad"'),
        (ruled("true", {}, messageExpression="1"), "messageExpression", "messageExpression must evaluate to a string"),
        (ruled("true", {}, messageExpression="'"), "messageExpression", "messageExpression compilation failed: ERROR"),
        (ruled("true", {}, fieldPath=".nope"), "fieldPath", "fieldPath must be a valid path"),
        (ruled("true", {}, optionalOldSelf=True), "optionalOldSelf", "may not be set if oldSelf is not used in rule"),
        (ruled("self.l.all(x, x.all(y, y != '' && y.size() > 1))", {"l": UNBOUNDED}), "rule",
         "estimated rule cost exceeds budget by factor of"),
    ],
)  # fmt: skip
def test_unsound_rules_are_refused_with_the_schema(schema: dict[str, Any], path: str, why: str) -> None:
    found = check_rules(schema, "s")
    if not path:
        assert found == ()
        return
    cause = found[0]
    assert cause.field == f"s.properties[spec].x-kubernetes-validations[0].{path}"
    assert why in cause.message


def test_transition_rules_below_lists_without_keys_are_refused() -> None:
    item = {"type": "integer", "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    [cause] = check_rules(schema_of({"properties": {"l": {"type": "array", "maxItems": 5, "items": item}}}), "s")
    assert cause.field == "s.properties[spec].properties[l].items.x-kubernetes-validations[0].rule"
    assert "uncorrelatable portion of the schema within s.properties[spec].properties[l]" in cause.message


def test_a_request_that_costs_too_much_is_stopped_and_told_so() -> None:
    numbers = {"type": "array", "items": INTEGER}
    schema = ruled("self.l.all(x, self.l.all(y, x + y >= 0))", {"l": numbers})
    [found] = causes_of(schema, {"l": [1] * 2000})
    assert "operation cancelled: actual cost limit exceeded" in found
    assert "no further validation rules will be run due to call cost exceeds limit for rule: self.l.all(" in found


@pytest.mark.parametrize("text", ["", "a", ".", ".a[", "['x", ".a['']"])
def test_bad_field_paths_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_path(text)
