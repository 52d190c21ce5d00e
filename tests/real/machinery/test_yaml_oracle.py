"""kubectl and this loader make the same JSON of the same text."""

from __future__ import annotations

import json
import subprocess

import pytest

from cluster.machinery.yaml import dump, load_documents

SCALARS = [
    "yes", "Yes", "yEs", "y", "n", "no", "on", "off", "Off", "true", "TRUE", "null", "~", "", "012", "0o14", "0O14", "08",
    "0755",    "0x1F", "0X1f", "0b11", "1_000", "_1", "1__0", "+5", "-5", "+0x5", "1e3", "1E3", "1.5e3", "1e-3", "1e+3",
    ".5", "5.", "1.0",
    "-.5", "+.5", ".e3", "22:22", "1:2:3", "190:20:30", "2024-01-01", "2024-1-1", "2024-01-01T00:00:00Z",
    "2024-01-01 00:00:00", "1.2.3", "1Gi", "100m", "0", "-0", "00", "0.0", "1e20", "12345678901234567890", "=", "'yes'",
    '"012"', "!!str yes", "!!int 012", "!!float 5", "!!bool yes", "!!binary aGk=", "a b", "a#b", "1e", "e1", "0x", "0b2", "0o9",
    "-0b1", "-0o7", "+.inf1", "9223372036854775808", "1_0.5", "0_7", "1e400a", "|\n    a\n    b", ">\n    a\n    b",
]  # fmt: skip
KEYS = ["y", "5", "0x10", "off", "'null'", "1.5", "012", "2024-01-01", "a.b/c"]

TEXT = (
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  labels: {x: y1}\ndata:\n"
    + "".join(f"  k{n}: {scalar}\n" for n, scalar in enumerate(SCALARS))
    + "keys:\n"
    + "".join(f"  {key}: v\n" for key in KEYS)
    + "base: &b\n  p: 1\n  q: [1]\n"
    + "merged:\n  <<: *b\n  p: 2\nalias: *b\n"
)


def as_kubectl_reads_it(text: str):
    done = subprocess.run(
        ["kubectl", "label", "--local", "-f", "-", "-o", "json", "--dry-run=client", "--overwrite", "x=y1"],
        input=text.encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout, parse_int=lambda text: int(text) if abs(int(text)) < 2**63 else float(text))


@pytest.mark.needs("kubectl")
def test_every_kind_of_scalar_is_read_alike():
    theirs = as_kubectl_reads_it(TEXT)
    ours = load_documents(TEXT)[0].obj
    differing = {
        scalar: (ours["data"][f"k{n}"], theirs["data"].get(f"k{n}"))
        for n, scalar in enumerate(SCALARS)
        if ours["data"][f"k{n}"] != theirs["data"].get(f"k{n}")
    }
    assert differing == {}
    assert ours == theirs


@pytest.mark.needs("kubectl")
def test_what_is_written_here_is_read_there_as_it_was_meant():
    obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"x": "y1"}},
        "data": {
            f"k{n}": scalar
            for n, scalar in enumerate([*SCALARS, "a\n", "a\nb\n\n", " a\nb", "a: b", "- a", "\x85\x07"])
        },
    }
    assert as_kubectl_reads_it(dump(obj)) == obj
