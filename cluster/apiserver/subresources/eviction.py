"""`pods/NAME/eviction`: delete a pod as a disruption.  Upstream: registry/core/pod/storage EvictionREST.

No disruption budgets are served, so none can forbid it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, write_parameters_of
from cluster.apiserver.decoding import body_as
from cluster.apiserver.deletion import Deletion, delete_object

_EVICTED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def evict(backend: Backend, call: Call) -> Result:
    body = body_as(call, "io.k8s.api.policy.v1.Eviction")
    options: Mapping[str, Any] = body.get("deleteOptions") or {}
    preconditions = options.get("preconditions") or {}
    deletion = Deletion(
        grace_s=options.get("gracePeriodSeconds"),
        uid=preconditions.get("uid") or "",
        resource_version=preconditions.get("resourceVersion") or "",
        dry_run=write_parameters_of(call).dry_run or "All" in (options.get("dryRun") or ()),
    )
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", **body}
    await backend.registry.admit_body(call, eviction, dry_run=deletion.dry_run)
    await delete_object(backend.registry, backend.clock, call, call.key, deletion)
    return ObjResult(_EVICTED, 201)
