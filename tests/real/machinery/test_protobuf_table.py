"""The checked-in protobuf table is what the generator reads from a real client binary."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cluster.resources.generate_protobuf import table_of
from cluster.resources.protobuf import protobuf_schema


@pytest.mark.needs("kubectl")
def test_the_kubectl_at_hand_agrees_on_every_field_it_knows():
    found = shutil.which("kubectl")
    assert found is not None
    theirs = table_of(Path(found).resolve().read_bytes())["fields"]
    ours = protobuf_schema().fields
    shared = sorted(theirs.keys() & ours.keys())
    assert len(shared) > 400
    differing = [
        (name, number)
        for name in shared
        for number in theirs[name].keys() & ours[name].keys()
        if list(theirs[name][number]) != list(ours[name][number])
    ]
    assert differing == []
