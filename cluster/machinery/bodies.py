"""Bytes with a media type to plain JSON values: what every request body goes through first.

JSON, YAML and Kubernetes protobuf; the bounds on nesting hold for all three, so that what walks an object later may recurse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from cluster.machinery.depth import DEPTH_MAX, is_shallow
from cluster.machinery.errors import BadRequest, UnsupportedMediaType
from cluster.machinery.protobuf import CONTENT_TYPE as PROTOBUF
from cluster.machinery.protobuf import Schema, decode
from cluster.machinery.yaml import YamlError, load_documents

JSON_TYPES = frozenset({"", "*/*", "text/plain", "application/json", "application/json-patch+json",
                        "application/merge-patch+json", "application/strategic-merge-patch+json"})  # fmt: skip
YAML_TYPES = frozenset({"application/yaml", "application/apply-patch+yaml"})
ACCEPTED = ("application/json", "application/yaml", PROTOBUF)


def decode_body(body: bytes, media_type: str, protobuf: Callable[[], Schema]) -> Any:
    """The value in the body; no media type means JSON.  `protobuf` is asked for its schema only by a body that needs it.

    Raises BadRequest, UnsupportedMediaType.
    """
    if media_type in JSON_TYPES:
        return decode_json(body)
    if media_type in YAML_TYPES:
        return _decode_yaml(body)
    if media_type == PROTOBUF:
        return decode(body, protobuf())
    listed = ", ".join(ACCEPTED)
    raise UnsupportedMediaType(
        f"the body of the request was in an unknown format - accepted media types include: {listed}"
    )


def decode_json(body: bytes) -> Any:
    """A JSON text of at most DEPTH_MAX levels.  Raises BadRequest."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and not is_shallow(value):
        raise BadRequest(f"the body is nested deeper than {DEPTH_MAX} levels")
    return value


def _decode_yaml(body: bytes) -> Any:
    if body.lstrip()[:1] == b"{":
        # Clients send JSON under the YAML types: it is YAML, but read thirty times faster as what it is.
        try:
            return decode_json(body)
        except BadRequest as error:
            if "nested" in error.message:
                raise
    try:
        documents = load_documents(body)
    except YamlError as error:
        raise BadRequest(f"error decoding YAML: {error}") from error
    if len(documents) != 1:
        raise BadRequest(f"error decoding YAML: one document is expected, found {len(documents)}")
    return documents[0].obj
