"""What admission's CEL expressions see of a request, and who answers `authorizer`.

Shared by webhooks' match conditions and by admission policies.  Upstream: apiserver/pkg/admission/plugin/cel/activation.go.
"""

from __future__ import annotations

from typing import Any

from cluster.apiserver.admission.api import Attributes
from cluster.apiserver.admission.review import converted, request_of
from cluster.apiserver.authz import Authorizer
from cluster.apiserver.http import Identity
from cluster.apiserver.rbac import SERVICE_ACCOUNT_PREFIX, Access
from cluster.machinery.cel.authorizer import Authorizer as CelAuthorizer
from cluster.machinery.cel.authorizer import Decider, ResourceCheck
from cluster.resources.catalog import Descriptor


class Rights:
    """What one identity may do, as expressions ask it."""

    def __init__(self, authorizer: Authorizer, user: Identity) -> None:
        self._authorizer = authorizer
        self._user = user

    def allows(
        self, verb: str, *, group: str, resource: str, subresource: str, namespace: str, name: str, path: str
    ) -> bool:
        if path:
            return self._authorizer.allows(self._user, Access(verb, path=path))
        plural = f"{resource}/{subresource}" if subresource else resource
        return self._authorizer.allows(self._user, Access(verb, group, plural, namespace, name))

    def service_account(self, namespace: str, name: str) -> Decider:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return Rights(self._authorizer, Identity(f"{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}", groups))


def values_of(attributes: Attributes, matched: Descriptor, authorizer: Authorizer) -> dict[str, Any]:
    """The variables every expression has, for a request that was taken as one for `matched`."""
    rights = Rights(authorizer, attributes.user)
    own, key = attributes.descriptor, attributes.key
    request = request_of(attributes, matched, "")
    resource = own.resource
    return {
        "object": None if attributes.operation == "DELETE" else converted(attributes.obj, own, matched),
        "oldObject": None if attributes.old is None else converted(attributes.old, own, matched),
        "request": {name: value for name, value in request.items() if name not in ("object", "oldObject", "uid")},
        "authorizer": CelAuthorizer(rights),
        "authorizer.requestResource": ResourceCheck(
            rights, resource.group, resource.plural, attributes.subresource, key.namespace, key.name
        ),
    }
