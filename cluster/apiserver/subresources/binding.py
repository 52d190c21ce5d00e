"""`pods/NAME/binding`: the scheduler's decision, taken once.  Upstream: registry/core/pod/storage BindingREST."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, write_parameters_of
from cluster.apiserver.decoding import body_as
from cluster.apiserver.registry import uid_conflict, verbatim_rules
from cluster.machinery.conditions import set_condition
from cluster.machinery.errors import BadRequest, conflict
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, meta_of, with_field
from cluster.resources.builtin import PODS

BINDING = "io.k8s.api.core.v1.Binding"
_CREATED: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


async def bind_named(backend: Backend, call: Call) -> Result:
    """A POST to `bindings`, where the body names the pod: the older way to say the same."""
    name = meta_of(body_as(call, BINDING)).get("name")
    if not name:
        raise BadRequest("a binding names its pod in metadata.name")
    route = replace(call.route, plural=PODS.plural, name=name, subresource="binding")
    return await bind(backend, replace(call, route=route, descriptor=backend.catalog.of(PODS)))


async def bind(backend: Backend, call: Call) -> Result:
    """Set `spec.nodeName` if it is unset.  Raises Conflict for a pod that is bound, deleted or another incarnation."""
    body = body_as(call, BINDING)
    node = field_of(body, "target", "name", default="")
    kind = field_of(body, "target", "kind", default="Node")
    if not node or kind != "Node":
        raise BadRequest("a binding's target is a Node with a name")
    name = meta_of(body).get("name")
    if name and name != call.key.name:
        raise BadRequest(f"the name of the object ({name}) does not match the name on the URL ({call.key.name})")
    wanted = meta_of(body).get("uid") or ""
    annotations = meta_of(body).get("annotations") or {}
    now = backend.registry.now()

    def change(pod: Obj) -> Obj:
        key = Key(call.key.namespace, call.key.name)
        if wanted and wanted != meta_of(pod).get("uid"):
            raise uid_conflict(call.descriptor, key, wanted, meta_of(pod).get("uid", ""))
        if is_deleting(pod):
            raise conflict(
                "", "pods/binding", key.name, f"pod {key.name} is being deleted, cannot be assigned to a host"
            )
        if bound := field_of(pod, "spec", "nodeName"):
            raise conflict("", "pods/binding", key.name, f'pod {key.name} is already assigned to node "{bound}"')
        if field_of(pod, "spec", "schedulingGates"):
            raise conflict("", "pods/binding", key.name, f"pod {key.name} has non-empty .spec.schedulingGates")
        new = with_field(pod, ("spec", "nodeName"), node)
        if annotations:
            merged = {**(meta_of(pod).get("annotations") or {}), **annotations}
            new = with_field(new, ("metadata", "annotations"), merged)
        scheduled: dict[str, Any] = {"type": "PodScheduled", "status": "True"}
        conditions = set_condition(field_of(pod, "status", "conditions", default=()), scheduled, now)
        return with_field(new, ("status", "conditions"), conditions)

    parameters = write_parameters_of(call)
    await backend.registry.admit_body(call, {"apiVersion": "v1", "kind": "Binding", **body}, dry_run=parameters.dry_run)
    await backend.registry.update(call, call.key, change, parameters, verbatim_rules("binding"))
    return ObjResult(_CREATED, 201)
