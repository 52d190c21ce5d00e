"""An agent's certificate: followed when its file is rewritten, asked for when nobody rewrites it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cluster.base.certificate_requests import sign_request
from cluster.base.pki import create_ca, end_of, issue_client, user_of
from cluster.client.certificate_renewal import CertificateRenewal
from cluster.client.kubeconfig import ClusterAccess, kubeconfig_of, load_kubeconfig
from tests.clocks import SteppedClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CA = create_ca("ca", now=NOW)


class Api:
    """A server that signs what it is asked for, and notes which certificates were presented."""

    def __init__(self, clock: SteppedClock) -> None:
        self.clock = clock
        self.asked: list[Any] = []
        self.presented: list[bytes] = []

    def present(self, access: ClusterAccess) -> None:
        self.presented.append(access.certificate)

    async def create(self, resource: Any, obj: Any) -> Any:
        self.asked.append(obj)
        return {**obj, "metadata": {"name": "node-csr-1"}}

    async def get(self, resource: Any, key: Any) -> Any:
        pem = base64.b64decode(self.asked[-1]["spec"]["request"])
        usages = self.asked[-1]["spec"]["usages"]
        made = sign_request(CA, pem, usages=usages, lifetime=timedelta(days=365), now=self.clock.now())
        return {"status": {"certificate": base64.b64encode(made).decode()}}


def written(path: Path, at: datetime) -> bytes:
    pair = issue_client(CA, "system:node:n1", ["system:nodes"], now=at)
    access = ClusterAccess(host="127.0.0.1", port=6443, ca=CA.certificate, certificate=pair.certificate, key=pair.key)
    path.write_bytes(kubeconfig_of(access, name="r"))
    return pair.certificate


async def test_a_rewritten_kubeconfig_is_followed_and_an_old_one_renewed(tmp_path: Path) -> None:
    path, clock = tmp_path / "kubeconfig", SteppedClock()
    clock.time = NOW.timestamp()
    api = Api(clock)
    first = written(path, NOW)
    running = asyncio.create_task(CertificateRenewal(api, path, clock).run())  # type: ignore[arg-type]
    await clock.step(61)
    assert api.presented == [first]
    second = written(path, NOW)
    await clock.step(61)
    assert api.presented == [first, second]
    assert api.asked == []
    await clock.step(300 * 86_400)
    await clock.step(61)
    assert len(api.asked) == 1
    renewed = load_kubeconfig(path)
    assert user_of(renewed.certificate) == "system:node:n1"
    assert end_of(renewed.certificate) > clock.now() + timedelta(days=360)
    assert renewed.key and api.presented[-1] == renewed.certificate
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
