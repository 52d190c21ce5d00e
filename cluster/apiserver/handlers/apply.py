"""Server-side apply: PATCH with a manager's whole configuration, creating what is absent.

Upstream: apiserver/pkg/endpoints/handlers/patch.go (applyPatcher).
"""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, WriteParameters, write_parameters_of
from cluster.apiserver.decoding import as_decoded, body_of, check_types, typed
from cluster.apiserver.ownership import Writer, reset_of
from cluster.apiserver.registry import Rules
from cluster.machinery.apply import apply
from cluster.machinery.errors import AlreadyExists, BadRequest, Cause, conflict, invalid_object, not_found
from cluster.machinery.objects import Obj, meta_of, without_field
from cluster.resources.catalog import Descriptor


async def apply_object(backend: Backend, call: Call, rules: Rules) -> Result:
    """Raises Conflict with the fields that other managers own, unless `force` is set."""
    parameters = write_parameters_of(call)
    if not parameters.field_manager:
        cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
        raise invalid_object("meta.k8s.io", "PatchOptions", "", [cause])
    applied = _configuration(call, parameters)
    version = str(meta_of(applied).get("resourceVersion") or "")
    uid = str(meta_of(applied).get("uid") or "")
    applied = without_field(applied, ("metadata", "resourceVersion"))
    if backend.state.table(call.table_id).get(call.key) is None:
        if uid and not rules.subresource:
            resource = call.descriptor.resource
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(resource.group, resource.plural, call.key.name, why)
        if rules.subresource:
            raise not_found(call.descriptor.resource.group, call.descriptor.resource.plural, call.key.name)
        backend.authorizer.require_create(call.user, call.route)
        try:
            return await _create(backend, call, applied, parameters)
        except AlreadyExists:
            # Somebody was faster: what was to be made is now to be changed.
            pass

    def change(live: Obj) -> Obj:
        return _applied(backend, call, live, applied, parameters, rules.subresource)

    return await backend.registry.update(
        call, call.key, change, parameters, rules, claim=_as_it_is, version=version, uid=uid
    )


async def _create(backend: Backend, call: Call, applied: Obj, parameters: WriteParameters) -> Result:
    made = _applied(backend, call, None, applied, parameters, "")
    fields = meta_of(made).get("managedFields", [])

    def claim(new: Obj, old: Obj | None, writer: Writer, descriptor: Descriptor) -> Obj:
        return {**new, "metadata": {**meta_of(new), "managedFields": fields}}

    return await backend.registry.create(call, made, parameters, claim=claim)


def _applied(
    backend: Backend, call: Call, live: Obj | None, applied: Obj, parameters: WriteParameters, subresource: str
) -> Obj:
    return apply(
        live,
        applied,
        parameters.field_manager,
        call.descriptor.node,
        force=parameters.force,
        now=backend.registry.now(),
        api_version=call.descriptor.resource.api_version,
        subresource=subresource,
        reset=reset_of(call.descriptor),
    )


def _configuration(call: Call, parameters: WriteParameters) -> Obj:
    body = body_of(call)
    if not body.get("apiVersion") or not body.get("kind"):
        raise BadRequest("invalid object type: an applied configuration names its apiVersion and kind")
    obj = typed(body, call.descriptor.resource)
    # Merging goes by the schema, so even a custom resource has to fit it first.
    check_types(call, obj, call.descriptor.node)
    obj = as_decoded(call, obj, call.descriptor.node)
    meta = meta_of(obj)
    for field, wanted in (("name", call.key.name), ("namespace", call.key.namespace)):
        if meta.get(field) and meta[field] != wanted:
            raise BadRequest(
                f"the {field} of the object ({meta[field]}) does not match the {field} on the URL ({wanted})"
            )
    named = {"name": call.key.name, **({"namespace": call.key.namespace} if call.key.namespace else {})}
    return {**obj, "metadata": {**meta, **named}}


def _as_it_is(new: Obj, old: Obj | None, writer: Writer, descriptor: Descriptor) -> Obj:
    return new
