"""Questions about identity and access, asked by creating an object that is answered and never stored.

Upstream: pkg/registry/{authentication,authorization}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from cluster.apiserver.authn import authenticated
from cluster.apiserver.authz import ANONYMOUS
from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, write_parameters_of
from cluster.apiserver.decoding import body_of, checked_fields, typed
from cluster.apiserver.http import Identity
from cluster.apiserver.jwt import parse_token
from cluster.apiserver.rbac import Access
from cluster.machinery.errors import BadRequest, Cause, Unauthorized, invalid_object
from cluster.machinery.objects import Obj, field_of

Review: TypeAlias = Callable[[Backend, Call, Obj], Obj]


async def review(backend: Backend, call: Call) -> Result:
    """POST of any review kind."""
    parameters = write_parameters_of(call)
    body = typed(body_of(call), call.descriptor.resource)
    body = checked_fields(call, body, call.descriptor.node, parameters.field_validation)
    status = REVIEWS[call.descriptor.resource.kind](backend, call, body)
    metadata = {"creationTimestamp": None, **(body.get("metadata") or {})}
    return ObjResult({**body, "metadata": metadata, "status": status}, 201)


def _self_subject_access(backend: Backend, call: Call, body: Obj) -> Obj:
    return _decision(backend, call.user, _access_in(call, body))


def _subject_access(backend: Backend, call: Call, body: Obj) -> Obj:
    spec = body.get("spec") or {}
    if not spec.get("user") and not spec.get("groups"):
        cause = Cause(
            "FieldValueInvalid", 'Invalid value: "": at least one of user or group must be specified', "spec.user"
        )
        raise invalid_object("authorization.k8s.io", call.descriptor.resource.kind, "", [cause])
    user = Identity(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
    return _decision(backend, user, _access_in(call, body))


def _local_subject_access(backend: Backend, call: Call, body: Obj) -> Obj:
    namespace = field_of(body, "spec", "resourceAttributes", "namespace", default="")
    if namespace != call.route.namespace:
        raise BadRequest("spec.resourceAttributes.namespace must match the namespace of the request")
    return _subject_access(backend, call, body)


def _access_in(call: Call, body: Obj) -> Access:
    resource, path = field_of(body, "spec", "resourceAttributes"), field_of(body, "spec", "nonResourceAttributes")
    if (resource is None) == (path is None):
        why = "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified"
        cause = Cause("FieldValueInvalid", why, "spec.resourceAttributes")
        raise invalid_object("authorization.k8s.io", call.descriptor.resource.kind, "", [cause])
    if path is not None:
        return Access(path.get("verb", ""), path=path.get("path", ""))
    plural = resource.get("resource", "")
    if subresource := resource.get("subresource"):
        plural = f"{plural}/{subresource}"
    return Access(
        resource.get("verb", ""),
        resource.get("group", ""),
        plural,
        resource.get("namespace", ""),
        resource.get("name", ""),
    )


def _decision(backend: Backend, user: Identity, access: Access) -> Obj:
    return {"allowed": backend.authorizer.allows(user, access)}


def _self_subject_rules(backend: Backend, call: Call, body: Obj) -> Obj:
    namespace = field_of(body, "spec", "namespace", default="")
    if not namespace:
        raise BadRequest("no namespace on request")
    rules = [rule.source for rule in backend.authorizer.rules(call.user, namespace)]
    return {
        "resourceRules": [
            {name: list(rule[name]) for name in ("verbs", "apiGroups", "resources", "resourceNames") if rule.get(name)}
            for rule in rules
            if rule.get("resources")
        ],
        "nonResourceRules": [
            {"verbs": list(rule["verbs"]), "nonResourceURLs": list(rule["nonResourceURLs"])}
            for rule in rules
            if rule.get("nonResourceURLs")
        ],
        "incomplete": False,
    }


def _self_subject(backend: Backend, call: Call, body: Obj) -> Obj:
    return {"userInfo": user_info(call.user)}


def _token(backend: Backend, call: Call, body: Obj) -> Obj:
    token = field_of(body, "spec", "token", default="")
    audiences = [str(audience) for audience in field_of(body, "spec", "audiences", default=())]
    if not token:
        raise BadRequest("token is required for TokenReview in authentication")
    own = list(backend.tokens.audiences)
    asked = audiences or own
    identity: Identity | None
    try:
        identity = authenticated(backend.tokens.verify(parse_token(token), asked))
        claimed = parse_token(token).claims.get("aud") or own
        valid_for = [audience for audience in asked if audience in claimed]
    except Unauthorized:
        # Other tokens know no audiences: they are for this server.
        valid_for = [audience for audience in asked if audience in own]
        identity = backend.authenticator.identity_of_token(token) if valid_for else None
    if identity is None or identity == ANONYMOUS:
        return {"user": {}, "error": "the token is not valid"}
    return {"authenticated": True, "user": user_info(identity), "audiences": valid_for}


def user_info(user: Identity) -> Obj:
    """authentication/v1 UserInfo."""
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in sorted(user.extra.items())}
    return info


REVIEWS: Mapping[str, Review] = {
    "SelfSubjectAccessReview": _self_subject_access,
    "SubjectAccessReview": _subject_access,
    "LocalSubjectAccessReview": _local_subject_access,
    "SelfSubjectRulesReview": _self_subject_rules,
    "SelfSubjectReview": _self_subject,
    "TokenReview": _token,
}
