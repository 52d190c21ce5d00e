"""DELETE of one object."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.deletion import delete_object, deletion_of


async def delete(backend: Backend, call: Call) -> Result:
    return await delete_object(backend.registry, backend.clock, call, call.key, deletion_of(call))
