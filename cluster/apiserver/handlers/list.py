"""GET of a collection."""

from __future__ import annotations

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result
from cluster.apiserver.listing import list_rows


async def list_collection(backend: Backend, call: Call) -> Result:
    return await list_rows(call, backend.state, backend.store, backend.converter)
