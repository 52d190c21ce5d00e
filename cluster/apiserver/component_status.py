"""ComponentStatus: a virtual kind, read-only and deprecated, that says whether the store answers.

Upstream: registry/core/componentstatus.  Only what this server itself can ask is listed: there is no entry for controllers and
scheduler, whose Leases tell more.
"""

from __future__ import annotations

import orjson

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, Result, RowResult, RowsResult
from cluster.apiserver.state import Row
from cluster.machinery.errors import not_found
from cluster.machinery.objects import Key, Obj
from cluster.store.api import StoreError

STORE = "etcd-0"
"""Clients know the store by this name, whatever it is."""
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"
_PROBED = "/"


async def get_component_status(backend: Backend, call: Call) -> Result:
    call.warnings.append(DEPRECATED)
    if call.key.name != STORE:
        raise not_found("", call.descriptor.resource.plural, call.key.name)
    return RowResult(await _store_row(backend))


async def list_component_statuses(backend: Backend, call: Call) -> Result:
    call.warnings.append(DEPRECATED)
    return RowsResult([await _store_row(backend)], backend.state.revision)


async def _store_row(backend: Backend) -> Row:
    try:
        await backend.store.get(_PROBED)
        condition: Obj = {"type": "Healthy", "status": "True", "message": "ok"}
    except StoreError as error:
        condition = {"type": "Healthy", "status": "False", "error": type(error).__name__}
    status = {"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": STORE}, "conditions": [condition]}
    return Row(Key("", STORE), "", orjson.dumps(status), 0, status)
