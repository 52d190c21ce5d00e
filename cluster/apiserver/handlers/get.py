"""GET of one object."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, RowResult
from cluster.apiserver.listing import revision_of


async def get(backend: Backend, call: Call) -> Result:
    if version := call.request.parameter("resourceVersion"):
        await backend.state.not_older_than(revision_of(version))
    return RowResult(await backend.registry.read(call.descriptor, call.key))
