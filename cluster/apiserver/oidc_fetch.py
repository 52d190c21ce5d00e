"""How the identity provider's documents are fetched: https, verified, small, no redirects."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cluster.apiserver.oidc import Fetch
from cluster.base.http_client import HttpClient, Limits, TcpConnector

DOCUMENT_MAX_BYTES = 512 * 1024
TIMEOUT_S = 10.0


def https_fetch(ca_file: Path | None) -> Fetch:
    """Trusts the authorities in `ca_file`, or the host's.  Raises OSError for a file that cannot be read."""
    tls = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    tls.set_alpn_protocols(["http/1.1"])

    async def fetch(url: str) -> bytes:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ValueError(f"{url[:256]!r} is no https address")
        client = HttpClient(
            TcpConnector(parts.hostname, parts.port or 443, tls=tls), limits=Limits(body_max_bytes=DOCUMENT_MAX_BYTES)
        )
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            answer = await client.request("GET", target, headers={"Accept": "application/json"}, timeout_s=TIMEOUT_S)
        finally:
            await client.close()
        if answer.status != 200:
            raise ValueError(f"{url[:256]} answered with status {answer.status}")
        return answer.body

    return fetch
