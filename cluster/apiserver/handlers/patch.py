"""PATCH: four formats, one meaning: a change to whatever is there now, tried again when somebody else was faster.

Upstream: apiserver/pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, write_parameters_of
from cluster.apiserver.decoding import checked_fields, decoded, duplicates_in, media_type_of, report
from cluster.apiserver.handlers.apply import apply_object
from cluster.apiserver.registry import Rules, main_rules
from cluster.client.transport import PatchType
from cluster.machinery.errors import BadRequest, UnsupportedMediaType
from cluster.machinery.objects import Obj, field_of, gvk_of
from cluster.machinery.patch import json_patch, merge_patch, strategic_merge

Change: TypeAlias = Callable[[Obj], Obj]


async def patch(backend: Backend, call: Call) -> Result:
    return await patch_object(backend, call, main_rules(call.descriptor))


async def patch_object(backend: Backend, call: Call, rules: Rules) -> Result:
    """Patch the object as far as `rules` let the patch."""
    if media_type_of(call) == PatchType.APPLY:
        return await apply_object(backend, call, rules)
    descriptor = call.descriptor
    parameters = write_parameters_of(call)
    body = patch_body_of(call)
    apply_patch = change_of(call, body)
    if parameters.field_validation != "Ignore" and (twice := duplicates_in(call.request.body, body)):
        report(call, [f'duplicate field "{path}"' for path in twice], parameters.field_validation)

    def change(old: Obj) -> Obj:
        new = apply_patch(old)
        if new is old:
            return old
        if gvk_of(new) != descriptor.resource.gvk:
            raise BadRequest("a patch may not change apiVersion or kind")
        return checked_fields(call, new, descriptor.node, parameters.field_validation)

    version = str(field_of(body, "metadata", "resourceVersion", default="")) if isinstance(body, Mapping) else ""
    uid = str(field_of(body, "metadata", "uid", default="")) if isinstance(body, Mapping) else ""
    return await backend.registry.update(call, call.key, change, parameters, rules, version=version, uid=uid)


def patch_body_of(call: Call) -> Any:
    """The patch, decoded.  Raises BadRequest."""
    if call.request.obj is not None:
        return call.request.obj
    return decoded(call.request.body, "application/json")


def change_of(call: Call, body: Any) -> Change:
    """What the patch does to an object.  Raises UnsupportedMediaType."""
    node = call.descriptor.node
    match media_type_of(call):
        case PatchType.JSON:
            return lambda old: json_patch(old, body)
        case PatchType.MERGE:
            return lambda old: merge_patch(old, body)
        case PatchType.STRATEGIC if not call.descriptor.custom:
            return lambda old: strategic_merge(old, body, node)
        case _:
            served = [patch_type.value for patch_type in PatchType]
            if call.descriptor.custom:
                served.remove(PatchType.STRATEGIC.value)
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: " + ", ".join(served)
            )
