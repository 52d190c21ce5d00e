"""YAML is read as kubectl reads it, hostile text is refused with a place, and what is written reads back the same."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.yaml import Limits, YamlError, dump, load_documents


def load(text):
    (document,) = load_documents(text)
    return document.obj


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("on", True), ("y", True), ("No", False), ("OFF", False), ("n", False), ("yEs", "yEs"),
        ("null", None), ("~", None), ("", None), ("nUll", "nUll"),
        ("012", 10), ("0o14", 12), ("0x1F", 31), ("0b101", 5), ("-0x1f", -31), ("08", 8), ("1_000", 1000), ("+5", 5),
        ("1e3", 1000), ("1.5e3", 1500), ("1.0", 1), (".5", 0.5), ("5.", 5), ("1e", "1e"), ("1.2.3", "1.2.3"),
        ("22:22", "22:22"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), ("0755", 493), ("0o755", 493),
        ("18446744073709551615", 18446744073709551616.0), ("'yes'", "yes"), ('"5"', "5"), ("!!str 5", "5"),
        ("!!int 5", 5), ("!!binary aGk=", "hi"), ("1Gi", "1Gi"), ("100m", "100m"), ("a#b", "a#b"),
    ],
)  # fmt: skip
def test_plain_scalars_mean_what_kubectl_makes_of_them(text, value):
    loaded = load(f"v: {text}\n")["v"]
    assert loaded == value
    assert type(loaded) is type(value)


def test_keys_become_strings():
    assert load("y: 1\n5: 2\n'z': 3\n1.5: 4\n") == {"true": 1, "5": 2, "z": 3, "1.5": 4}


def test_documents_know_their_lines():
    text = "# one\na: 1\n---\n---\n# two\nkind: X\nspec:\n  items:\n  - name: a\n  - name: b\n    v: 1\n  x.y/z: 2\n"
    first, second = load_documents(text)
    assert (first.line, second.line) == (2, 6)
    assert second.line_of("spec.items[1].v") == 11
    assert second.line_of("spec[x.y/z]") == 12
    assert second.line_of("spec.missing.deeper") == 7


def test_anchors_and_merges_work():
    obj = load("base: &b {a: 1, c: 2}\nuse:\n  <<: *b\n  a: 3\nlist: [*b, *b]\n")
    assert obj["use"] == {"a": 3, "c": 2}
    assert obj["list"] == [{"a": 1, "c": 2}] * 2


def test_json_is_yaml_with_all_its_escapes():
    assert load('{"a": "\\ud83d\\ude00\\/", "b": [1, 1.5, null]}') == {"a": "😀/", "b": [1, 1.5, None]}


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate key 'a'", 3, 1),
        ("y: 1\nyes: 2\n", "duplicate key 'true'", 2, 1),
        ('{"a": 1, "a": 2}', "duplicate key 'a'", 0, 0),
        ('{"a": 1e999}', "too large for a number", 1, 7),
        ('{"a": NaN, b: .nan}', "not a JSON number", 1, 15),
        ("a: [1\n", "did not find expected", 2, 1),
        ("a: *x\n", "unknown or recursive alias 'x'", 1, 4),
        ("a: &x [*x]\n", "unknown or recursive alias 'x'", 1, 8),
        ("a: .nan\n", "not a JSON number", 1, 4),
        ("a: -.inf\n", "not a JSON number", 1, 4),
        ("- a\n", "a document must be a mapping", 1, 1),
        ("? [a]\n: b\n", "a key must be a plain value", 1, 3),
        ("~: b\n", "a key must be a plain value", 1, 1),
        ("a: !!python/object:os.system x\n", "unsupported tag", 1, 4),
        ("a: !x {}\n", "unsupported tag", 1, 4),
        ("a: !!int x\n", "the value is no !!int", 1, 4),
        ("a: b: c\n", "mapping values are not allowed", 1, 5),
        ("a: \x01\n", "control characters are not allowed", 0, 0),
        ("<<: 5\na: 1\n", "map merge requires", 1, 5),
        ("a: \ud800\n", "not valid Unicode", 0, 0),
    ],
)  # fmt: skip
def test_bad_text_is_refused_with_its_place(text, message, line, column):
    with pytest.raises(YamlError) as error:
        load_documents(text)
    assert message in error.value.message
    assert (error.value.line, error.value.column) == (line, column)


def test_a_lone_surrogate_is_refused_in_json_too():
    with pytest.raises(YamlError):
        load_documents('{"a": "\\ud800"}')


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 200_000,
        "a: " + "{a: " * 100_000,
        "- " * 200_000,
        '{"a":' * 100_000,
        '{"a":' * 200 + "1" + "}" * 200,
        "".join(f"{' ' * n}a:\n" for n in range(500)),
    ],
)
def test_deep_nesting_is_refused_before_it_can_crash_anything(text):
    with pytest.raises(YamlError):
        load_documents(text)


def test_aliases_cost_what_they_expand_to():
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    with pytest.raises(YamlError, match="aliases expanded"):
        load_documents(laughs)


def test_limits_hold():
    with pytest.raises(YamlError, match="at most 10"):
        load_documents("a: 12345678", limits=Limits(size_max_bytes=10))
    with pytest.raises(YamlError, match="more than 3 values"):
        load_documents("a: [1, 2, 3, 4]", limits=Limits(nodes_max=3))
    with pytest.raises(YamlError, match="more than 1 documents"):
        load_documents("a: 1\n---\nb: 1\n", limits=Limits(documents_max=1))


def test_the_text_written_is_tidy():
    obj = {
        "apiVersion": "v1",
        "metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "web", "on": "yes", "n": "1"}, "empty": {}},
        "spec": {"args": ["-c", "a: b", "plain words"], "ports": [{"port": 80, "name": "http"}, {}], "none": []},
        "data": {"conf": "line one\n  line two\n", "bare": "x\ny", "t": "2024-01-01", "e": "", "ip": "10.0.0.1"},
    }
    assert (
        dump(obj)
        == """\
apiVersion: v1
metadata:
  name: web
  labels:
    app.kubernetes.io/name: web
    "on": "yes"
    "n": "1"
  empty: {}
spec:
  args:
  - "-c"
  - "a: b"
  - plain words
  ports:
  - port: 80
    name: http
  - {}
  none: []
data:
  conf: |
    line one
      line two
  bare: |-
    x
    y
  t: "2024-01-01"
  e: ""
  ip: 10.0.0.1
"""
    )


TEXTS = st.text(max_size=12) | st.from_regex(r"[-+.0-9eExoynYN:_~#'\" \n]{0,8}", fullmatch=True)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not (f.is_integer() and abs(f) < 2**63))
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=4))
def test_what_is_written_reads_back_the_same(obj):
    loaded = load(dump(obj))
    assert loaded == obj
    assert all(not isinstance(v, float) or math.isfinite(v) for v in loaded.values())


@given(st.text(max_size=60))
def test_any_text_is_documents_or_a_yaml_error(text):
    with contextlib.suppress(YamlError):
        load_documents(text)
