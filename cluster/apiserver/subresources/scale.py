"""`/scale`: the replicas of any scalable kind as an autoscaling/v1 Scale.

Upstream: registry/apps/deployment/storage ScaleREST; for custom resources apiextensions' scale subresource.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, RowResult, WriteParameters, write_parameters_of
from cluster.apiserver.decoding import body_as, fitted, media_type_of
from cluster.apiserver.handlers.patch import patch_body_of
from cluster.apiserver.registry import MODIFIED, main_rules
from cluster.client.transport import PatchType
from cluster.machinery.errors import Cause, conflict, invalid_object, not_found
from cluster.machinery.objects import Obj, field_of, meta_of, with_field, without_field
from cluster.machinery.patch import json_patch, merge_patch
from cluster.machinery.selectors import SelectorError, selector_of
from cluster.resources.strategy import ScaleFields

SCALE = "io.k8s.api.autoscaling.v1.Scale"


def fields_of(call: Call) -> ScaleFields:
    """Raises NotFound for a kind that cannot be scaled."""
    scale = call.descriptor.strategy.scale
    if scale is None:
        resource = call.descriptor.resource
        raise not_found(resource.group, resource.plural, call.key.name)
    return scale


def scale_of(obj: Obj, fields: ScaleFields) -> Obj:
    meta = meta_of(obj)
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": int(field_of(obj, *fields.status_replicas, default=0))}
    selector = field_of(obj, *fields.selector) if fields.selector else None
    if text := _selector_text({"matchLabels": selector} if fields.plain_selector else selector):
        status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: meta[name] for name in shown if name in meta},
        "spec": {"replicas": int(field_of(obj, *fields.spec_replicas, default=0))},
        "status": status,
    }


def _selector_text(selector: Any) -> str:
    if isinstance(selector, str):
        return selector
    try:
        return str(selector_of(selector)) if selector else ""
    except SelectorError:
        return ""


async def get_scale(backend: Backend, call: Call) -> Result:
    fields = fields_of(call)
    row = await backend.registry.read(call.descriptor, call.key)
    return ObjResult(scale_of(backend.registry.obj(call.descriptor, row), fields))


async def update_scale(backend: Backend, call: Call) -> Result:
    return await write_scale(backend, call, body_as(call, SCALE), write_parameters_of(call))


async def write_scale(backend: Backend, call: Call, scale: Obj, parameters: WriteParameters) -> Result:
    """Set the replicas that `scale` says, if the object is the one it was read from."""
    fields = fields_of(call)
    resource = call.descriptor.resource
    replicas = field_of(scale, "spec", "replicas", default=0)
    if replicas < 0:
        cause = Cause(
            "FieldValueInvalid", f"Invalid value: {replicas}: must be greater than or equal to 0", "spec.replicas"
        )
        raise invalid_object("autoscaling", "Scale", call.key.name, [cause])
    version, uid = meta_of(scale).get("resourceVersion"), meta_of(scale).get("uid") or ""

    def change(old: Obj) -> Obj:
        if version and version != meta_of(old)["resourceVersion"]:
            raise conflict(resource.group, resource.plural, call.key.name, MODIFIED)
        return with_field(old, fields.spec_replicas, replicas)

    rules = replace(main_rules(call.descriptor), shown=lambda obj: scale_of(obj, fields))
    result = await backend.registry.update(call, call.key, change, parameters, rules, uid=uid)
    match result:
        case RowResult(row):
            return ObjResult(scale_of(backend.registry.obj(call.descriptor, row), fields))
        case ObjResult(obj):
            return ObjResult(scale_of(obj, fields))
        case _:
            return result


async def patch_scale(backend: Backend, call: Call) -> Result:
    fields = fields_of(call)
    body = patch_body_of(call)
    row = await backend.registry.read(call.descriptor, call.key)
    shown = scale_of(backend.registry.obj(call.descriptor, row), fields)
    if media_type_of(call) == PatchType.JSON:
        patched = json_patch(shown, body)
    else:
        patched = merge_patch(shown, body)
        if not field_of(body, "metadata", "resourceVersion"):
            patched = without_field(patched, ("metadata", "resourceVersion"))
    return await write_scale(backend, call, fitted(patched, SCALE), write_parameters_of(call))
