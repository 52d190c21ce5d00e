"""Certificate requests are forgotten: an hour after they were decided, a day after they were made.

Upstream: pkg/controller/certificates/cleaner/cleaner.go.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import ClassVar

from cluster.base.certificate_requests import BadRequestPem, certificate_end
from cluster.client.controller import DONE, Controller, Result
from cluster.client.writes import Delete
from cluster.machinery.objects import Key, Obj, meta_of, uid_of
from cluster.machinery.timestamps import parse_time
from cluster.resources.builtin import CERTIFICATE_SIGNING_REQUESTS
from cluster.resources.certificates import certificate_pem_of, conditions_of

DECIDED_KEPT = timedelta(hours=1)
PENDING_KEPT = timedelta(hours=24)


def end_of(csr: Obj) -> datetime:
    """When it may go: after its last decision, its creation, or its certificate's end, whichever says so first."""
    ends = [parse_time(meta_of(csr)["creationTimestamp"]) + PENDING_KEPT]
    for condition in conditions_of(csr):
        if at := condition.get("lastUpdateTime"):
            ends.append(parse_time(at) + DECIDED_KEPT)
    if certificate := certificate_pem_of(csr):
        # Admitted certificates can be read; one that cannot ends with its decision.
        with suppress(BadRequestPem):
            ends.append(certificate_end(certificate))
    return min(ends)


class CertificateCleaner(Controller):
    name: ClassVar = "certificate-cleaner"
    account: ClassVar = "certificate-controller"
    primary: ClassVar = CERTIFICATE_SIGNING_REQUESTS
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        csr = self.cache.get(CERTIFICATE_SIGNING_REQUESTS, key)
        if csr is None:
            return DONE
        left_s = (end_of(csr) - self.clock.now()).total_seconds()
        if left_s > 0:
            return Result(again_after_s=left_s)
        await self.commit((Delete(CERTIFICATE_SIGNING_REQUESTS, key, uid=uid_of(csr)),))
        return DONE
