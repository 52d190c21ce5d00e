"""JSON patch (RFC 6902) through the jsonpatch library, its bounds and failures made ours.

Upstream: apiserver/pkg/endpoints/handlers/patch.go.  A malformed patch is 400, one that does not fit the object 422.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jsonpatch
import jsonpointer
import orjson

from cluster.machinery.depth import is_shallow
from cluster.machinery.errors import BadRequest, Cause, Invalid, RequestEntityTooLarge
from cluster.machinery.objects import Obj

OPERATIONS_MAX = 10_000
COPIED_MAX_BYTES = 3 * 1024 * 1024
"""What all `copy` operations of a patch may add together: without it each one could double the object."""

_NEEDS = {
    "add": ("path", "value"),
    "remove": ("path",),
    "replace": ("path", "value"),
    "move": ("from", "path"),
    "copy": ("from", "path"),
    "test": ("path", "value"),
}
_MISFITS = (
    jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, KeyError, IndexError, TypeError, ValueError,
    RecursionError,
)  # fmt: skip


def json_patch(obj: Obj, operations: Any) -> Obj:
    """`obj` after all operations, in order.  Raises BadRequest, RequestEntityTooLarge or Invalid; nothing is half done."""
    steps = _checked(operations)
    document: Any = orjson.loads(orjson.dumps(obj))
    copied_bytes = 0
    for index, step in enumerate(steps):
        try:
            if step["op"] == "copy":
                source = jsonpointer.resolve_pointer(document, step["from"])
                copied_bytes += len(orjson.dumps(source))
                if copied_bytes > COPIED_MAX_BYTES:
                    raise _misfit(index, step, f"copies more than {COPIED_MAX_BYTES} bytes")
            document = jsonpatch.JsonPatch([step]).apply(document, in_place=True)
        except jsonpatch.JsonPatchTestFailed as error:
            # The library quotes both values: the object's may be a secret.
            raise _misfit(index, step, "testing value failed") from error
        except _MISFITS as error:
            raise _misfit(index, step, "the path does not fit the object") from error
    if not isinstance(document, dict):
        raise Invalid("the patch does not leave an object")
    if not is_shallow(document):
        raise Invalid("the patch nests the object too deeply")
    return document


def _checked(operations: Any) -> Sequence[dict[str, Any]]:
    if not isinstance(operations, list):
        raise BadRequest("error decoding patch: a JSON patch is a list of operations")
    if len(operations) > OPERATIONS_MAX:
        raise RequestEntityTooLarge(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}"
        )
    for index, step in enumerate(operations):
        op = step.get("op") if isinstance(step, Mapping) else None
        needed = _NEEDS.get(op) if isinstance(op, str) else None
        if needed is None:
            raise BadRequest(f"error decoding patch: operation {index} has no known op")
        for name in needed:
            if name not in step:
                raise BadRequest(f"error decoding patch: operation {index} ({op}) has no {name}")
            if name != "value" and not (isinstance(step[name], str) and step[name][:1] in ("", "/")):
                raise BadRequest(f"error decoding patch: operation {index} ({op}) has a {name} that is no JSON pointer")
    return operations


def _misfit(index: int, step: Mapping[str, Any], why: str) -> Invalid:
    path = step["path"][:256]
    message = f"the server rejected our request: JSON patch operation {index} ({step['op']} {path}): {why}"
    return Invalid(message, causes=(Cause("UnexpectedServerResponse", why, path),))
