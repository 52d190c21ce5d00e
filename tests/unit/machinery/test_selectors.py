"""Selectors parse what upstream parses, refuse what it refuses, and match alike."""

from __future__ import annotations

import pytest

from cluster.machinery.selectors import (
    EVERYTHING,
    FieldRequirement,
    SelectorError,
    parse_field_selector,
    parse_selector,
    selector_of,
    selector_of_map,
)


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a notin (b)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": "x"}, False),
        ("a=b,c!=d,!e", {"a": "b", "c": "x"}, True),
        ("x.io/a-b=c_d", {"x.io/a-b": "c_d"}, True),
        ("a=", {"a": ""}, True),
    ],
)
def test_a_selector_matches_as_upstream_does(text, labels, matches):
    assert parse_selector(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["a=b,", "=b", "a in ()x", "a=b c=d", "a in (b", "-a=b", "a=b!c", "a~b"])
def test_nonsense_is_refused(text):
    with pytest.raises(SelectorError):
        parse_selector(text)


def test_the_text_of_a_selector_parses_to_itself():
    selector = parse_selector("a=b,c in (d,e),f!=g,h notin (i,j),k,!l")
    assert parse_selector(str(selector)) == selector


def test_an_absent_label_selector_matches_nothing_and_an_empty_one_everything():
    assert not selector_of(None).matches({})
    assert selector_of({}) == EVERYTHING
    assert not selector_of_map({}).matches({})


def test_match_expressions_are_checked():
    with pytest.raises(SelectorError):
        selector_of({"matchExpressions": [{"key": "a", "operator": "Near"}]})
    assert selector_of({"matchExpressions": [{"key": "a", "operator": "Exists"}]}).matches({"a": "1"})


def test_field_selectors_unescape_values():
    assert parse_field_selector(r"spec.nodeName!=a,metadata.name=x\,y") == (
        FieldRequirement("spec.nodeName", "a", negated=True),
        FieldRequirement("metadata.name", "x,y"),
    )
