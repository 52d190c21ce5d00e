"""What the signers of this cluster demand of a request before they sign it.  Pure.

Upstream: pkg/apis/certificates/helpers.go, pkg/controller/certificates/signer/signer.go.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.base.certificate_requests import (
    CLIENT_AUTH,
    DIGITAL_SIGNATURE,
    KEY_ENCIPHERMENT,
    SERVER_AUTH,
    CertificateRequest,
)
from cluster.resources.certificates import KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING

SIGNERS = (KUBE_APISERVER_CLIENT, KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING)
NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
_KEY_USAGES = frozenset((DIGITAL_SIGNATURE, KEY_ENCIPHERMENT))


def refusal_of(signer: str, request: CertificateRequest, usages: Collection[str]) -> str:
    """Why `signer` (one of SIGNERS) does not sign the request for those usages; empty when it does."""
    wanted = SERVER_AUTH if signer == KUBELET_SERVING else CLIENT_AUTH
    if wanted not in usages or set(usages) - _KEY_USAGES - {wanted}:
        allowed = ", ".join((*sorted(_KEY_USAGES), wanted))
        return f"usages must include {wanted} and be of: {allowed}"
    if signer == KUBE_APISERVER_CLIENT:
        return ""
    if DIGITAL_SIGNATURE not in usages:
        return f"usages must include {DIGITAL_SIGNATURE}"
    if tuple(request.organizations) != (NODES_GROUP,):
        return f"subject organization is not {NODES_GROUP}"
    if not request.common_name.startswith(NODE_PREFIX) or request.common_name == NODE_PREFIX:
        return f"subject common name does not begin with {NODE_PREFIX}"
    if request.names_others:
        return "email, URI and other subject alternative names are not allowed"
    named = bool(request.dns_names or request.addresses)
    if signer == KUBELET_SERVING:
        return "" if named else "at least one DNS or IP subject alternative name is required"
    return "DNS and IP subject alternative names are not allowed" if named else ""
