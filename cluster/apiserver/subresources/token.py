"""`serviceaccounts/NAME/token`: a TokenRequest answered with a token.

Upstream: registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, write_parameters_of
from cluster.apiserver.decoding import body_as
from cluster.apiserver.node_authorizer import node_name_of
from cluster.apiserver.state import TableId
from cluster.apiserver.tokens import LIFETIME_DEFAULT_S, LIFETIME_MAX_S, LIFETIME_MIN_S, Binding
from cluster.machinery.errors import Cause, Forbidden, conflict, invalid_object, not_found
from cluster.machinery.objects import Key, field_of

_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


async def request_token(backend: Backend, call: Call) -> Result:
    """Raises Invalid for a lifetime under ten minutes, NotFound and Conflict for an object it cannot be bound to."""
    parameters = write_parameters_of(call)
    request = body_as(call, "io.k8s.api.authentication.v1.TokenRequest")
    account = backend.registry.row(call.descriptor, call.key)
    lifetime_s = field_of(request, "spec", "expirationSeconds", default=LIFETIME_DEFAULT_S)
    if lifetime_s < LIFETIME_MIN_S:
        cause = Cause(
            "FieldValueInvalid",
            f"Invalid value: {lifetime_s}: may not specify a duration less than 10 minutes",
            "spec.expirationSeconds",
        )
        raise invalid_object("authentication.k8s.io", "TokenRequest", call.key.name, [cause])
    lifetime_s = min(lifetime_s, LIFETIME_MAX_S)
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", **request}
    await backend.registry.admit_body(call, asked, dry_run=parameters.dry_run)
    audiences = list(field_of(request, "spec", "audiences", default=()))
    node = ""
    binding = None
    if reference := field_of(request, "spec", "boundObjectRef"):
        binding, node = _binding_of(backend, call, reference)
    elif node_name_of(call.user):
        raise Forbidden("node requested token not bound to a pod", kind="serviceaccounts", name=call.key.name)
    token = (
        ""
        if parameters.dry_run
        else backend.tokens.issue(
            call.key,
            account.uid,
            audiences=audiences,
            lifetime_s=lifetime_s,
            binding=binding,
            node=node,
        )
    )
    expires = (backend.clock.now() + timedelta(seconds=lifetime_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer: dict[str, Any] = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.key.name,
            "namespace": call.key.namespace,
            "creationTimestamp": backend.registry.now(),
        },
        "spec": {
            **(request.get("spec") or {}),
            "audiences": audiences or list(backend.tokens.audiences),
            "expirationSeconds": lifetime_s,
        },
        "status": {"token": token, "expirationTimestamp": expires},
    }
    return ObjResult(answer, 201)


def _binding_of(backend: Backend, call: Call, reference: Any) -> tuple[Binding, str]:
    kind, name, uid = reference.get("kind", ""), reference.get("name", ""), reference.get("uid") or ""
    plural = _BOUND.get(kind)
    if plural is None:
        cause = Cause(
            "FieldValueNotSupported",
            f'Unsupported value: "{kind}": supported values: "Node", "Pod", "Secret"',
            "spec.boundObjectRef.kind",
        )
        raise invalid_object("authentication.k8s.io", "TokenRequest", call.key.name, [cause])
    home = "" if kind == "Node" else call.key.namespace
    row = backend.state.table(TableId("", plural)).get(Key(home, name))
    if row is None:
        raise not_found("", plural, name)
    if uid and uid != row.uid:
        why = f"the UID in the bound object reference ({uid}) does not match the UID in record"
        raise conflict("", plural, name, why)
    asking = node_name_of(call.user)
    if asking and (kind != "Pod" or row.node != asking):
        raise Forbidden("node requested token bound to a pod scheduled on a different node", kind=plural, name=name)
    if kind == "Pod":
        account = field_of(backend.state.obj(row), "spec", "serviceAccountName", default="default")
        if account != call.key.name:
            why = f"cannot bind token for serviceaccount {call.key.name} to pod running with different serviceaccount name"
            raise Forbidden(why, kind=plural, name=name)
    return Binding(kind, name, row.uid), row.node
