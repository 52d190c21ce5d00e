"""Calls to webhooks: a clientConfig and a body in, the answer's body out.

Shared by admission and conversion; it knows neither's objects.  Upstream: apiserver/pkg/util/webhook/client.go.  As there,
a webhook may be anywhere: whoever may write these configurations administers the cluster.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import orjson

from cluster.apiserver.dialing import ClientPool, Dialer, Security
from cluster.apiserver.service_resolver import Endpoint, ServiceResolver, ServiceUnresolved
from cluster.base.http_client import ConnectFailed, ConnectionBroken, HttpError, HttpTimeout, Limits, Response
from cluster.machinery.objects import Obj

ANSWER_SIZE_MAX_BYTES: Final = 16 * 1024 * 1024
CONNECTIONS_MAX: Final = 64
QUOTED_SIZE_MAX: Final = 256
"""Characters of an error answer that are passed on."""
HTTPS_PORT: Final = 443

_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "kube-apiserver"}


class WebhookFailed(Exception):
    """The webhook could not be asked, or did not answer with 200; the message names its URL."""


@dataclass(frozen=True, slots=True)
class _Target:
    endpoint: Endpoint
    security: Security
    host: str


class WebhookClient:
    """Keeps connections to the webhooks it called."""

    def __init__(self, resolver: ServiceResolver, dialer: Dialer) -> None:
        self._resolver = resolver
        limits = Limits(connections_max=CONNECTIONS_MAX, idle_max=4, body_max_bytes=ANSWER_SIZE_MAX_BYTES)
        self._pool = ClientPool(dialer, limits=limits)

    async def call(self, client_config: Obj, body: bytes, *, timeout_s: float) -> bytes:
        """POST `body` (JSON) to what a WebhookClientConfig names; the body of its answer.  Raises WebhookFailed.

        `timeout_s` bounds everything, and the webhook is told of it.
        """
        url = url_of(client_config)
        shown = f"{url}?timeout={timeout_s:g}s"
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._ask(client_config, f"{_path_of(url)}?timeout={timeout_s:g}s", body, timeout_s)
        except (TimeoutError, HttpTimeout):
            raise WebhookFailed(f'Post "{shown}": context deadline exceeded') from None
        except (ServiceUnresolved, HttpError, ValueError) as error:
            raise WebhookFailed(f'Post "{shown}": {error}') from None
        except OSError as error:
            raise WebhookFailed(f'Post "{shown}": {error.strerror or error}') from None
        if answer.status != 200:
            raise WebhookFailed(f'Post "{shown}": {_refusal_of(answer)}')
        return answer.body

    async def close(self) -> None:
        await self._pool.close()

    async def _ask(self, client_config: Obj, path: str, body: bytes, timeout_s: float) -> Response:
        *first, last = self._targets(client_config)
        for target in first:
            try:
                return await self._post(target, path, body, timeout_s)
            except ConnectFailed:
                continue  # another endpoint of the Service may answer
        return await self._post(last, path, body, timeout_s)

    async def _post(self, target: _Target, path: str, body: bytes, timeout_s: float) -> Response:
        async with self._pool.borrow(target.endpoint, target.security, host=target.host) as client:
            try:
                return await client.request("POST", path, headers=_HEADERS, body=body, timeout_s=timeout_s)
            except ConnectionBroken as error:
                # A kept connection that the webhook was just closing.  It may be asked again: reviews have no effects
                # that it would not undo or repeat (sideEffects).
                if error.answered:
                    raise
                return await client.request("POST", path, headers=_HEADERS, body=body, timeout_s=timeout_s)

    def _targets(self, client_config: Obj) -> list[_Target]:
        ca_pem = _ca_of(client_config)
        service = client_config.get("service")
        if service is None:
            parts = urlsplit(str(client_config.get("url") or ""))
            if parts.scheme != "https" or not parts.hostname:
                raise ValueError("the URL of a webhook begins with https:// and names a host")
            endpoint = Endpoint(parts.hostname, parts.port or HTTPS_PORT)
            return [_Target(endpoint, Security(parts.hostname, ca_pem), parts.netloc)]
        namespace, name, port = service["namespace"], service["name"], service.get("port") or HTTPS_PORT
        server_name = f"{name}.{namespace}.svc"
        security = Security(server_name, ca_pem)
        found = self._resolver.endpoints(namespace, name, port)
        return [_Target(endpoint, security, f"{server_name}:{port}") for endpoint in found]


def url_of(client_config: Obj) -> str:
    """Where a webhook is, as messages show it: without credentials, query or fragment."""
    service = client_config.get("service")
    if service is None:
        parts = urlsplit(str(client_config.get("url") or ""))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    path = "/" + str(service.get("path") or "").removeprefix("/")
    return f"https://{service['name']}.{service['namespace']}.svc:{service.get('port') or HTTPS_PORT}{path}"


def _path_of(url: str) -> str:
    return urlsplit(url).path or "/"


def _ca_of(client_config: Obj) -> str:
    """The bundle as PEM.  Raises ValueError."""
    try:
        return base64.b64decode(client_config.get("caBundle") or "", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("the caBundle is not PEM in base64") from None


def _refusal_of(answer: Response) -> str:
    text = answer.body.decode(errors="replace")
    try:
        status = orjson.loads(answer.body)
        if isinstance(status, Mapping) and status.get("kind") == "Status":
            return str(status.get("message") or "")[:QUOTED_SIZE_MAX]
    except orjson.JSONDecodeError:
        pass
    if answer.status == 404:
        return "the server could not find the requested resource"
    quoted = orjson.dumps(text[:QUOTED_SIZE_MAX].strip()).decode()
    return f"an error on the server ({quoted}) has prevented the request from succeeding"
