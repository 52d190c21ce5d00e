"""DELETE of a collection: each selected object by itself, in key order.  What vanishes meanwhile is no error."""

from __future__ import annotations

from dataclasses import replace

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, RowsResult
from cluster.apiserver.deletion import delete_object, deletion_of
from cluster.apiserver.listing import list_rows
from cluster.machinery.errors import NotFound


async def delete_collection(backend: Backend, call: Call) -> Result:
    """Answers with the objects as they were."""
    deletion = deletion_of(call)
    # resourceVersion on a collection limits what is listed, not what may be deleted.
    selected = await list_rows(call, backend.state, backend.store, backend.converter)
    for row in selected.rows:
        one = replace(call, route=replace(call.route, namespace=row.key.namespace, name=row.key.name))
        try:
            await delete_object(backend.registry, backend.clock, one, row.key, deletion)
        except NotFound:
            continue
    return RowsResult(selected.rows, backend.state.revision)
