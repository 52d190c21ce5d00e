"""Passing a request on to another HTTP server and its answer back: headers that may cross, bodies as they come, upgrades.

Shared by the proxy subresources and API aggregation.  Upstream: apimachinery/pkg/util/proxy/{upgradeaware,transport}.go.
Deliberate differences: links in HTML are left as they are, and the body of a request is passed on once it is whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from cluster.apiserver.dialing import ClientPool, Security
from cluster.apiserver.http import ApiRequest, RawConnection, Reply
from cluster.apiserver.service_resolver import Endpoint
from cluster.apiserver.streams import IteratedSource
from cluster.base.http_client import (
    Headers,
    HttpClient,
    HttpError,
    Response,
    StreamedResponse,
    UpgradedConnection,
    UpgradeRefused,
)
from cluster.machinery.errors import ServiceUnavailable

HEAD_TIMEOUT_S: Final = 300.0
"""How long a server may take to begin its answer."""

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NEVER_SENT: Final = frozenset(("authorization", "content-length", "expect", "host"))
"""Credentials of the API's caller are nobody else's, and the client sets the others itself."""
_NEVER_SENT_PREFIXES: Final = ("impersonate-", "x-remote-", "x-forwarded-")
"""What says on whose behalf: only this server may say that."""
_NEVER_ANSWERED: Final = frozenset(("content-length", "content-type"))
"""The adapter writes these itself."""
_WITHOUT_BODY: Final = frozenset((204, 304))


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a request goes: `path` is the request target there, with its query; `prefix` what stood before it here.

    `host` is the Host header, by default the endpoint.  `headers` are added to those passed on.
    """

    endpoint: Endpoint
    security: Security | None
    path: str
    prefix: str = ""
    host: str = ""
    headers: Headers = field(default_factory=dict)


async def forward(pool: ClientPool, request: ApiRequest, destination: Destination) -> Reply:
    """The answer of `destination`, its body still to come.  Raises ServiceUnavailable when it cannot be reached."""
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(
                pool.borrow(destination.endpoint, destination.security, host=destination.host)
            )
            headers = {**_sent(request), **destination.headers}
            if upgrade := request.headers.get("upgrade"):
                return await _upgraded(client, stack, request, destination, headers, upgrade)
            answer = await stack.enter_async_context(
                client.stream(
                    request.method, destination.path, headers=headers, body=request.body, timeout_s=HEAD_TIMEOUT_S
                )
            )
        except (HttpError, OSError, ValueError) as error:
            raise unreachable(error) from None
        kept = _answered(answer.headers, request, destination)
        content_type = answer.headers.get("content-type", "")
        if request.method == "HEAD" or answer.status in _WITHOUT_BODY:
            return Reply(answer.status, body=b"", headers=kept, content_type=content_type)
        body = _body(answer, stack.pop_all())
        return Reply(answer.status, stream=IteratedSource(body), headers=kept, content_type=content_type)


def target_of(path: str, request: ApiRequest) -> str:
    """A request target: `path`, still encoded, with the request's query."""
    query = urlencode({name: list(values) for name, values in request.query.items()}, doseq=True)
    return f"{path}?{query}" if query else path


def unreachable(error: Exception) -> ServiceUnavailable:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ServiceUnavailable(f"error trying to reach service: {reason}")


async def _body(answer: StreamedResponse, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        try:
            while chunk := await answer.read():
                yield chunk
        except HttpError as error:
            raise unreachable(error) from None


async def _upgraded(
    client: HttpClient,
    stack: AsyncExitStack,
    request: ApiRequest,
    destination: Destination,
    headers: Headers,
    upgrade: str,
) -> Reply:
    """The switched connection, carried both ways; any other answer is passed on, and its connection is not kept."""
    try:
        there = await client.upgrade(
            request.method,
            destination.path,
            protocol=upgrade,
            headers=headers,
            body=request.body,
            timeout_s=HEAD_TIMEOUT_S,
        )
    except UpgradeRefused as refused:
        return _whole(refused.response, request, destination)
    held = stack.pop_all()

    async def serve(here: RawConnection) -> None:
        async with held:
            try:
                await _carry(here, there)
            finally:
                there.close()

    kept = _answered(there.headers, request, destination)
    return Reply(101, upgrade=serve, headers={**kept, "Connection": "Upgrade", "Upgrade": upgrade})


async def _carry(here: RawConnection, there: UpgradedConnection) -> None:
    """Until either side ends."""

    async def outward() -> None:
        while data := await here.read():
            await there.write(data)

    async def inward() -> None:
        while data := await there.read():
            await here.write(data)

    pumps = [asyncio.create_task(outward()), asyncio.create_task(inward())]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        here.close()


def _whole(answer: Response, request: ApiRequest, destination: Destination) -> Reply:
    kept = _answered(answer.headers, request, destination)
    return Reply(answer.status, body=answer.body, headers=kept, content_type=answer.headers.get("content-type", ""))


def _sent(request: ApiRequest) -> dict[str, str]:
    """The caller's headers that may cross, and where the request came in."""
    dropped = _HOP_BY_HOP | _NEVER_SENT | _listed(request.headers)
    sent = {
        name: value
        for name, value in request.headers.items()
        if name not in dropped and not name.startswith(_NEVER_SENT_PREFIXES)
    }
    if request.source:
        sent["X-Forwarded-For"] = request.source
    return {
        **sent,
        "X-Forwarded-Host": request.headers.get("host", ""),
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Uri": request.path,
    }


def _answered(headers: Mapping[str, str], request: ApiRequest, destination: Destination) -> dict[str, str]:
    dropped = _HOP_BY_HOP | _NEVER_ANSWERED | _listed(headers)
    kept = {name: value for name, value in headers.items() if name not in dropped}
    if destination.prefix and (location := kept.get("location")):
        kept["location"] = redirected(location, destination)
    return kept


def redirected(location: str, destination: Destination) -> str:
    """Where a redirect leads to as the caller has to name it: paths of the server itself lie below the prefix."""
    try:
        parts = urlsplit(location)
        own = not parts.netloc or (parts.hostname, parts.port) == destination.endpoint[:2]
    except ValueError:
        return location
    if not own or not parts.path.startswith("/"):
        return location
    return urlunsplit(("", "", destination.prefix + parts.path, parts.query, parts.fragment))


def _listed(headers: Mapping[str, str]) -> frozenset[str]:
    """What the Connection header says is for this hop only."""
    return frozenset(name.strip().lower() for name in headers.get("connection", "").split(","))
