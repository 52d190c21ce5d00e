"""Calls of the Docker Engine API: paths with the negotiated version, JSON both ways, failures as EngineError.

It knows how Docker says that something failed, and no container.  Source: Docker Engine API 1.24 to 1.47.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import orjson

from cluster.base.http_client import (
    HttpClient,
    HttpError,
    Response,
    StreamedResponse,
    UpgradedConnection,
    UpgradeRefused,
)
from cluster.kubelet.runtime.api import EngineError, EngineUnavailable

VERSION_MIN = (1, 24)
VERSION_MAX = (1, 47)
MESSAGE_MAX_CHARS = 2000
_ERROR_BODY_MAX_BYTES = 65_536


class DockerRefused(EngineError):
    """An answer of 400 and above."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__("ContainerRuntimeError", message)
        self.status = status


class DockerApi:
    """One engine.  The version is negotiated at the first call and again after the engine was away."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._prefix = ""

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        raw_body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Any:
        """The decoded answer, None if it is empty.  Raises DockerRefused and EngineUnavailable."""
        fields = {"Content-Type": "application/x-tar" if raw_body else "application/json", **(headers or {})}
        data = raw_body or (orjson.dumps(body) if body is not None else b"")
        try:
            target = await self._target(path, query)
            response = await self._client.request(method, target, headers=fields, body=data, timeout_s=timeout_s)
        except HttpError as error:
            self._prefix = ""
            raise EngineUnavailable(f"the container engine does not answer: {error}") from error
        if response.status >= 400:
            raise DockerRefused(response.status, _message(response))
        try:
            return orjson.loads(response.body) if response.body.strip() else None
        except orjson.JSONDecodeError:
            return response.body  # a sequence of progress messages, or text

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[StreamedResponse]:
        """A growing answer.  Raises like `call`, also from within the body when the engine goes away."""
        try:
            target = await self._target(path, query)
            async with self._client.stream(method, target, headers=headers, timeout_s=60.0) as response:
                if response.status >= 400:
                    text = await response.read_all(_ERROR_BODY_MAX_BYTES)
                    raise DockerRefused(response.status, _message(Response(response.status, response.headers, text)))
                yield response
        except HttpError as error:
            self._prefix = ""
            raise EngineUnavailable(f"the container engine does not answer: {error}") from error

    async def hijack(
        self, path: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> UpgradedConnection:
        """POST, then the connection itself."""
        try:
            return await self._client.upgrade(
                "POST",
                await self._target(path, query),
                protocol="tcp",
                headers={"Content-Type": "application/json"},
                body=orjson.dumps(body) if body is not None else b"",
            )
        except UpgradeRefused as refused:
            raise DockerRefused(refused.response.status, _message(refused.response)) from None
        except HttpError as error:
            self._prefix = ""
            raise EngineUnavailable(f"the container engine does not answer: {error}") from error

    async def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        if not self._prefix:
            ping = await self._client.request("GET", "/_ping", timeout_s=10.0)
            version = agree_on_version(ping.headers.get("api-version", ""))
            self._prefix = f"/v{version}"
        return f"{self._prefix}{path}" + (f"?{urlencode(query)}" if query else "")


def agree_on_version(offered: str) -> str:
    """The newest API version both sides know.  Raises EngineError for an engine older than VERSION_MIN."""
    major, _, minor = offered.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise EngineError("ContainerRuntimeError", f"this does not look like a Docker engine (version {offered!r})")
    theirs = (int(major), int(minor))
    if theirs < VERSION_MIN:
        raise EngineError("ContainerRuntimeError", f"the engine's API {offered} is older than 1.24")
    agreed = min(theirs, VERSION_MAX)
    return f"{agreed[0]}.{agreed[1]}"


def _message(response: Response) -> str:
    """What the engine says, bounded."""
    try:
        text = str(orjson.loads(response.body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = response.body.decode("utf-8", "replace")
    return text.strip()[:MESSAGE_MAX_CHARS] or f"the container engine answered {response.status}"
