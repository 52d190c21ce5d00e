"""ConfigMaps and Secrets made of files, env files and literals, and the suffix that names their content.

Upstream: kustomize api/internal/generators and api/hasher.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from reconciler.render.kustomize.resource import Built

_LETTERS = str.maketrans({"0": "g", "1": "h", "3": "k", "a": "m", "e": "t"})
_LINE_CHARS = 70


def object_of(kind: str, args: Mapping[str, Any], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """The object that a generator's entry describes; `contents` by key, in any order."""
    meta: dict[str, Any] = {"name": args["name"]}
    if args.get("namespace"):
        meta["namespace"] = args["namespace"]
    made: dict[str, Any] = {"apiVersion": "v1", "kind": kind, "metadata": meta}
    if kind == "Secret":
        made["type"] = args.get("type") or "Opaque"
        if contents:
            made["data"] = {key: _encoded(value, wrap=True) for key, value in sorted(contents.items())}
        return made
    for key, value in sorted(contents.items()):
        try:
            made.setdefault("data", {})[key] = value.decode()
        except UnicodeDecodeError:
            made.setdefault("binaryData", {})[key] = _encoded(value, wrap=True)
    return made


def _encoded(value: bytes, *, wrap: bool) -> str:
    """Base64 in lines, as upstream writes it: the suffix is made of exactly this text."""
    text = base64.b64encode(value).decode()
    if not wrap or len(text) <= _LINE_CHARS:
        return text
    return "".join(text[start : start + _LINE_CHARS] + "\n" for start in range(0, len(text), _LINE_CHARS))


def literal_of(text: str) -> tuple[str, bytes]:
    """`key=value`, quotes around the value removed.  Raises ValueError."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError("a literal is key=value")
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return key, value.encode()


def entries_of(data: bytes) -> Mapping[str, bytes]:
    """The lines of an env file.  Raises ValueError: a key without value would come from the environment, and there is none."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(data.decode().removeprefix("\ufeff").splitlines(), 1):
        text = line.lstrip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ValueError(f"line {number} is not key=value")
        found[key] = value.encode()
    return found


def hash_of(obj: Mapping[str, Any]) -> str:
    """Ten letters that change with the content of a ConfigMap, a Secret, or anything else; a prefix changes nothing."""
    kind = obj.get("kind")
    if kind == "ConfigMap":
        content = {"data": obj.get("data", ""), "kind": kind, "name": ""}
        if obj.get("binaryData"):
            content["binaryData"] = obj["binaryData"]
    elif kind == "Secret":
        content = {"data": obj.get("data", ""), "kind": kind, "name": "", "type": obj.get("type", "")}
        if obj.get("stringData"):
            content["stringData"] = obj["stringData"]
    else:
        content = dict(obj)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(_LETTERS)


def add_hash(each: Built) -> None:
    each.renamed(name=f"{each.id.name}-{hash_of(each.obj)}")
