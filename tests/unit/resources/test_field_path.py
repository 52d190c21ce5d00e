"""The JSONPath of CRDs: what is served is found, the rest is refused."""

from __future__ import annotations

import pytest

from cluster.resources.field_path import FieldPathError, parse_field_path, plain_path

OBJ = {
    "spec": {"a": {"b": 1}, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "null": None},
    "metadata": {"annotations": {"a.b/c": "d"}},
}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        (".spec.a.b", [1]),
        (".spec.none.b", []),
        (".spec.null", []),
        (".spec.list[0].v", [1]),
        (".spec.list[-1].v", [2]),
        (".spec.list[5].v", []),
        (".spec.list[*].n", ["x", "y"]),
        ('.spec.list[?(@.n=="y")].v', [2]),
        (".spec.list[?(@.n=='z')].v", []),
        (".metadata.annotations['a.b/c']", ["d"]),
        (".metadata.annotations.a\\.b/c", ["d"]),
        (".spec.a[0]", []),
        (".spec.list[-1:].n", ["y"]),
        (".spec.list[:1].v", [1]),
        (".spec.list[:].v", [1, 2]),
        (".spec.a.*", [1]),
        (".spec.list[?(@.v==2)].n", ["y"]),
        ('.spec.list[?(@.n != "y")].v', [1]),
        (".spec.list[?(@.v==true)].n", []),
        ('.spec.list[?(@.none!="y")].v', []),
    ],
)
def test_values_are_found(path, values):
    assert list(parse_field_path(path)(OBJ)) == values


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "",
        "{.spec}",
        ".spec..a",
        ".spec[?(@.a>1)]",
        ".spec[?(@.a==01)]",
        ".spec[::2]",
        ".spec[a]",
        "." + "a" * 600,
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(FieldPathError):
        parse_field_path(path)


def test_plain_paths_name_fields_only():
    assert plain_path(".spec.replicas") == ("spec", "replicas")
    for path in ("spec.replicas", ".", ".a[0]", ".a..b"):
        with pytest.raises(FieldPathError):
            plain_path(path)
