"""POST to a collection."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, write_parameters_of
from cluster.apiserver.decoding import body_of, checked_fields, typed
from cluster.machinery.errors import BadRequest


async def create(backend: Backend, call: Call) -> Result:
    parameters = write_parameters_of(call)
    body = body_of(call)
    if not body:
        raise BadRequest("the body of the request is empty")
    obj = typed(body, call.descriptor.resource)
    obj = checked_fields(call, obj, call.descriptor.node, parameters.field_validation)
    return await backend.registry.create(call, obj, parameters)
