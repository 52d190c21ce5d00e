"""Approved certificate requests of this cluster's own signers get their certificate.

Upstream: pkg/controller/certificates/signer/signer.go.  Requests for other signers are somebody else's.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, ClassVar, TypeAlias

from cluster.base.certificate_requests import BadRequestPem, parse_request
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Recorder, Result
from cluster.client.transport import Transport
from cluster.client.writes import Update
from cluster.controllers.certificates_signers import SIGNERS, refusal_of
from cluster.machinery.objects import Key, Obj, field_of
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS
from cluster.resources.certificates import (
    APPROVED,
    DENIED,
    FAILED,
    conditions_of,
    has_condition,
    request_pem_of,
)

LIFETIME_MAX = timedelta(days=365)

Sign: TypeAlias = Callable[[bytes, Collection[str], timedelta], bytes]
"""A request, the usages and the lifetime to a certificate (all PEM).  Raises BadRequestPem."""


def is_to_be_signed(csr: Obj) -> bool:
    decided = has_condition(csr, APPROVED) and not has_condition(csr, DENIED) and not has_condition(csr, FAILED)
    ours = field_of(csr, "spec", "signerName") in SIGNERS
    return decided and ours and not field_of(csr, "status", "certificate")


class CertificateSigningController(Controller):
    name: ClassVar = "certificate-signing"
    account: ClassVar = "certificate-controller"
    primary: ClassVar = CERTIFICATE_SIGNING_REQUESTS
    workers: ClassVar = 1

    def __init__(
        self, *, transport: Transport, cache: Cache, clock: Clock, entropy: Entropy, recorder: Recorder, sign: Sign
    ) -> None:
        super().__init__(transport=transport, cache=cache, clock=clock, entropy=entropy, recorder=recorder)
        self._sign = sign

    async def reconcile(self, key: Key) -> Result:
        csr = self.cache.get(CERTIFICATE_SIGNING_REQUESTS, key)
        if csr is None or not is_to_be_signed(csr):
            return DONE
        changed = {**csr, "status": {**(csr.get("status") or {}), **self._outcome(csr)}}
        await self.commit((Update(CERTIFICATE_SIGNING_REQUESTS, changed, subresource="status"),))
        return DONE

    def _outcome(self, csr: Obj) -> dict[str, Any]:
        """The part of the status that says how it ended: the certificate, or why there will be none."""
        spec = csr["spec"]
        usages = tuple(spec.get("usages") or ())
        lifetime = min(timedelta(seconds=spec.get("expirationSeconds") or LIFETIME_MAX.total_seconds()), LIFETIME_MAX)
        try:
            why = refusal_of(spec["signerName"], parse_request(request_pem_of(csr)), usages)
            if not why:
                certificate = self._sign(request_pem_of(csr), usages, lifetime)
                return {"certificate": base64.b64encode(certificate).decode()}
        except BadRequestPem as error:
            why = str(error)
        failed = {"type": FAILED, "status": "True", "reason": "SignerValidationFailure", "message": why}
        return {"conditions": [*conditions_of(csr), failed]}
