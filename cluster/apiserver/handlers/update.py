"""PUT of one object."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, WriteParameters, write_parameters_of
from cluster.apiserver.decoding import body_of, checked_fields, typed
from cluster.apiserver.registry import Rules, main_rules
from cluster.machinery.errors import BadRequest, Cause, invalid_object
from cluster.machinery.objects import Obj, meta_of


async def update(backend: Backend, call: Call) -> Result:
    if call.descriptor.strategy.allow_create_on_update and backend.state.table(call.table_id).get(call.key) is None:
        backend.authorizer.require_create(call.user, call.route)
        parameters = write_parameters_of(call)
        return await backend.registry.create(call, _body(call, parameters), parameters)
    return await replace(backend, call, main_rules(call.descriptor))


async def replace(backend: Backend, call: Call, rules: Rules) -> Result:
    """Put the body in the place of the object, as far as `rules` let it."""
    resource = call.descriptor.resource
    parameters = write_parameters_of(call)
    obj = _body(call, parameters)
    version = meta_of(obj).get("resourceVersion") or ""
    if not call.descriptor.strategy.unconditional_update and not version:
        cause = Cause(
            "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update", "metadata.resourceVersion"
        )
        raise invalid_object(resource.group, resource.kind, call.key.name, [cause])
    return await backend.registry.update(call, call.key, lambda old: obj, parameters, rules, version=version)


def _body(call: Call, parameters: WriteParameters) -> Obj:
    body = body_of(call)
    if not body:
        raise BadRequest("the body of the request is empty")
    obj = checked_fields(call, typed(body, call.descriptor.resource), call.descriptor.node, parameters.field_validation)
    name = meta_of(obj).get("name")
    if name and name != call.key.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.key.name})")
    return obj
