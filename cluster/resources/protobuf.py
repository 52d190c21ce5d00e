"""The generated protobuf table, loaded on first use: what `machinery.protobuf` needs to read what Go clients send."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from cluster.machinery.protobuf import Schema, load_schema


@cache
def protobuf_schema() -> Schema:
    """Field numbers of every GA kind, the option types and CustomResourceDefinitions, as of the target release."""
    return load_schema((files("cluster.resources") / "data" / "protobuf.json.z").read_bytes())
