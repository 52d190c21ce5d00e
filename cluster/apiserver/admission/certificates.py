"""Certificate requests: only who may approve or sign for a signer does, and nobody asks for superuser rights.

Upstream: plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}; the times of conditions are filled here,
where there is a clock (upstream: registry/certificates strategy, populateConditionTimestamps).
"""

from __future__ import annotations

from typing import Any

from cluster.apiserver.admission.api import Attributes
from cluster.apiserver.authz import MASTERS, Authorizer
from cluster.apiserver.rbac import Access
from cluster.base.certificate_requests import BadRequestPem, parse_request
from cluster.base.clock import Clock
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Obj, field_of, with_field
from cluster.machinery.timestamps import format_time
from cluster.resources.certificates import GROUP, KUBE_APISERVER_CLIENT, conditions_of, request_pem_of

_REQUESTS = (GROUP, "certificatesigningrequests")


class CertificateRequests:
    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer = authorizer
        self._clock = clock

    def mutate(self, attributes: Attributes) -> Obj:
        if attributes.group_resource != _REQUESTS or not attributes.subresource or not conditions_of(attributes.obj):
            return attributes.obj
        now = format_time(self._clock.now())
        before = {condition.get("type"): condition for condition in conditions_of(attributes.old or {})}
        timed = [
            _timed(condition, before.get(condition.get("type")), now) for condition in conditions_of(attributes.obj)
        ]
        return with_field(attributes.obj, ("status", "conditions"), timed)

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        if attributes.group_resource != _REQUESTS:
            return
        new, old = attributes.obj, attributes.old
        match attributes.operation, attributes.subresource:
            case "CREATE", "":
                self._restrict_subject(attributes)
            case "UPDATE", "approval":
                self._require(attributes, "approve", "approve requests")
            case "UPDATE", "status" if old is not None and _signed_part(new) != _signed_part(old):
                self._require(attributes, "sign", "sign requests")

    def _require(self, attributes: Attributes, verb: str, what: str) -> None:
        # The stored object's signer: the body of an update cannot choose another.
        signer = field_of(attributes.old or attributes.obj, "spec", "signerName", default="")
        wildcard = signer.partition("/")[0] + "/*"
        for name in (signer, wildcard):
            if self._authorizer.allows(attributes.user, Access(verb, GROUP, "signers", name=name)):
                return
        raise _forbidden(attributes, f'user not permitted to {what} with signerName "{signer}"')

    def _restrict_subject(self, attributes: Attributes) -> None:
        if field_of(attributes.obj, "spec", "signerName") != KUBE_APISERVER_CLIENT:
            return
        try:
            request = parse_request(request_pem_of(attributes.obj))
        except BadRequestPem:
            return  # validation has refused it
        if MASTERS in request.organizations:
            why = f"use of {KUBE_APISERVER_CLIENT} signer with {MASTERS} group is not allowed"
            raise _forbidden(attributes, why)


def _signed_part(csr: Obj) -> tuple[Any, Any]:
    return field_of(csr, "status", "certificate", default=""), list(conditions_of(csr))


def _timed(condition: Obj, before: Obj | None, now: str) -> Obj:
    timed = dict(condition)
    if not timed.get("lastUpdateTime"):
        timed["lastUpdateTime"] = now
    if not timed.get("lastTransitionTime"):
        same = before is not None and before.get("status") == condition.get("status")
        timed["lastTransitionTime"] = (before or {}).get("lastTransitionTime") if same else now
        timed["lastTransitionTime"] = timed["lastTransitionTime"] or now
    return timed


def _forbidden(attributes: Attributes, why: str) -> Forbidden:
    resource, name = attributes.descriptor.resource, attributes.key.name
    return Forbidden(
        f'{resource.qualified_name} "{name}" is forbidden: {why}', group=resource.group, kind=resource.plural, name=name
    )
