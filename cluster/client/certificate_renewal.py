"""A node's agent keeps its own certificate fresh: from the kubeconfig when somebody rewrites it, else by asking for another.

Asking is a CertificateSigningRequest for the same name, which the cluster approves by itself (upstream:
client-go/util/certificate/certificate_manager.go).  The connections that are open stay; new ones use the new certificate.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

from loguru import logger

from cluster.base.certificate_requests import create_request
from cluster.base.clock import Clock
from cluster.base.files import write_atomically
from cluster.base.pki import needs_renewal, user_of
from cluster.client.kubeconfig import ClusterAccess, KubeconfigError, kubeconfig_of, load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key, field_of, name_of
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS

PERIOD_S = 60.0
SIGNED_WITHIN_S = 60.0
SIGNED_POLL_S = 1.0
SHARE_LEFT = 0.25
"""Of its life: a server on the same host hands over another one with a third left, so that asking is for nodes elsewhere."""
NODES_GROUP = "system:nodes"
SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"


class CertificateRenewal:
    """`transport` was made from `kubeconfig`, which holds a certificate and its key."""

    def __init__(self, transport: HttpTransport, kubeconfig: Path, clock: Clock) -> None:
        self._transport = transport
        self._kubeconfig = kubeconfig
        self._clock = clock
        self._in_use = b""

    async def run(self) -> None:
        while True:
            try:
                await self._look()
            except (KubeconfigError, OSError, ApiError, ValueError) as error:
                logger.warning("the node's certificate cannot be renewed", error=str(error))
            await self._clock.sleep(PERIOD_S)

    async def _look(self) -> None:
        access = load_kubeconfig(self._kubeconfig)
        if not access.certificate:
            return
        if needs_renewal(access.certificate, now=self._clock.now(), share_left=SHARE_LEFT):
            access = await self._renewed(access)
            write_atomically(self._kubeconfig, kubeconfig_of(access, name="reconciler"))
        if access.certificate != self._in_use:
            self._transport.present(access)
            if self._in_use:
                logger.info("the node's certificate was renewed", path=str(self._kubeconfig))
            self._in_use = access.certificate

    async def _renewed(self, access: ClusterAccess) -> ClusterAccess:
        pair = create_request(user_of(access.certificate), [NODES_GROUP])
        asked = await self._transport.create(
            CERTIFICATE_SIGNING_REQUESTS,
            {
                "apiVersion": CERTIFICATE_SIGNING_REQUESTS.api_version,
                "kind": CERTIFICATE_SIGNING_REQUESTS.kind,
                "metadata": {"generateName": "node-csr-"},
                "spec": {
                    "request": base64.b64encode(pair.certificate).decode(),
                    "signerName": SIGNER,
                    "usages": ["digital signature", "client auth"],
                },
            },
        )
        key = Key("", name_of(asked))
        for _ in range(int(SIGNED_WITHIN_S / SIGNED_POLL_S)):
            request = await self._transport.get(CERTIFICATE_SIGNING_REQUESTS, key)
            if certificate := field_of(request, "status", "certificate"):
                return replace(access, certificate=base64.b64decode(certificate), key=pair.key)
            await self._clock.sleep(SIGNED_POLL_S)
        raise ValueError(f"nobody signed the request {key.name}")
