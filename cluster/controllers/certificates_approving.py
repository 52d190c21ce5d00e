"""Nodes' client certificates are approved without a person, when RBAC lets the asker have them.

Upstream: pkg/controller/certificates/approver/sarapprove.go.  Serving certificates of nodes, and certificates of people, wait
for somebody who may approve them.
"""

from __future__ import annotations

from typing import ClassVar

from cluster.base.certificate_requests import BadRequestPem, CertificateRequest, parse_request
from cluster.client.controller import DONE, Controller, Result
from cluster.client.writes import Update
from cluster.controllers.certificates_signers import refusal_of
from cluster.machinery.objects import Key, Obj, field_of
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS, SUBJECT_ACCESS_REVIEWS
from cluster.resources.certificates import (
    APPROVED,
    DENIED,
    GROUP,
    KUBE_APISERVER_CLIENT_KUBELET,
    conditions_of,
    has_condition,
    request_pem_of,
)

SELF, OTHER = "selfnodeclient", "nodeclient"
_MESSAGES = {
    SELF: "Auto approving self kubelet client certificate after SubjectAccessReview.",
    OTHER: "Auto approving kubelet client certificate after SubjectAccessReview.",
}


def permissions_asked(csr: Obj, request: CertificateRequest) -> tuple[str, ...]:
    """The subresources of certificatesigningrequests any of which is leave to have this: none when it is not for a node."""
    if field_of(csr, "spec", "signerName") != KUBE_APISERVER_CLIENT_KUBELET:
        return ()
    if refusal_of(KUBE_APISERVER_CLIENT_KUBELET, request, field_of(csr, "spec", "usages", default=())):
        return ()
    own = field_of(csr, "spec", "username", default="") == request.common_name
    return (SELF, OTHER) if own else (OTHER,)


class CertificateApprovingController(Controller):
    name: ClassVar = "certificate-approving"
    account: ClassVar = "certificate-controller"
    primary: ClassVar = CERTIFICATE_SIGNING_REQUESTS
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        csr = self.cache.get(CERTIFICATE_SIGNING_REQUESTS, key)
        if csr is None or has_condition(csr, APPROVED) or has_condition(csr, DENIED):
            return DONE
        try:
            request = parse_request(request_pem_of(csr))
        except BadRequestPem:
            return DONE
        for permission in permissions_asked(csr, request):
            if await self._may(csr, permission):
                condition = {
                    "type": APPROVED,
                    "status": "True",
                    "reason": "AutoApproved",
                    "message": _MESSAGES[permission],
                }
                approved = {
                    **csr,
                    "status": {**(csr.get("status") or {}), "conditions": [*conditions_of(csr), condition]},
                }
                await self.commit((Update(CERTIFICATE_SIGNING_REQUESTS, approved, subresource="approval"),))
                break
        return DONE

    async def _may(self, csr: Obj, permission: str) -> bool:
        spec = csr["spec"]
        attributes = {
            "verb": "create",
            "group": GROUP,
            "resource": "certificatesigningrequests",
            "subresource": permission,
        }
        review = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "metadata": {},
            "spec": {
                "user": spec.get("username", ""),
                "uid": spec.get("uid", ""),
                "groups": list(spec.get("groups") or ()),
                "extra": {name: list(values) for name, values in (spec.get("extra") or {}).items()},
                "resourceAttributes": attributes,
            },
        }
        answer = await self.transport.create(SUBJECT_ACCESS_REVIEWS, review)
        return bool(field_of(answer, "status", "allowed", default=False))
