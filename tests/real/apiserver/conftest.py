"""The API server on a loopback socket, for real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cluster.apiserver.server import HttpsServer, serving_context
from cluster.base.clock import SystemClock
from cluster.base.pki import create_ca, issue_client, issue_serving
from tests.apiservers import running
from tests.unit.apiserver.test_streams import EchoNode


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    """The kubeconfig of a superuser of a served API whose every node echoes."""
    now = datetime.now(UTC)
    ca = create_ca("ca", now=now)
    serving = issue_serving(ca, "api", ["localhost", "127.0.0.1"], now=now)
    client = issue_client(ca, "kubernetes-admin", ["system:masters"], now=now)
    files = {"ca": ca.certificate, "crt": serving.certificate, "key": serving.key}
    files |= {"client.crt": client.certificate, "client.key": client.key}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    async with running(clock=SystemClock(), node_channels=EchoNode()) as api:
        server = HttpsServer(
            handler=api,
            authenticator=api.authenticator,
            tls=serving_context(*(str(tmp_path / name) for name in ("crt", "key", "ca"))),
            clock=SystemClock(),
            refused=api.note_refused,
        )
        port = server.listen("127.0.0.1", 0)
        config = tmp_path / "kubeconfig"
        config.write_text(
            f"apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            f"clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: {tmp_path}/ca}}}}]\n"
            f"users: [{{name: u, user: {{client-certificate: {tmp_path}/client.crt, client-key: {tmp_path}/client.key}}}}]\n"
            f"contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n"
        )
        yield config
        await server.stop()
