"""The checked-in schemas are what the generator makes of its source."""

from __future__ import annotations

import zlib

import orjson
import pytest

from cluster.resources import generate_schema


def _unpacked(name: str) -> bytes:
    return zlib.decompress((generate_schema.DATA / name).read_bytes())


def test_generating_again_changes_nothing():
    path = generate_schema.source_path()
    if path is None:
        pytest.skip("kubernetes-validate is not installed")
    source = orjson.loads(path.read_bytes())["$defs"]
    # Compared unpacked: two releases of zlib may compress alike content differently.
    assert zlib.decompress(generate_schema.encoded(generate_schema.schema_of(source))) == _unpacked("schema.json.z")
    assert zlib.decompress(generate_schema.encoded(generate_schema.docs_of(source))) == _unpacked("docs.json.z")


def test_the_data_carries_its_notice():
    assert "Apache License" in (generate_schema.DATA / "NOTICE").read_text()
