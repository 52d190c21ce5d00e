"""Making one probe or hook call: http, tcp, exec, grpc.  What the outcomes mean is `probes`'.

Implementations of `ProbeRunner`: `NetworkProbeRunner` here and `cluster.simulation.probes`.

Upstream: pkg/probe/{http,tcp,exec,grpc}, pkg/kubelet/lifecycle/handlers.go.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from cluster.kubelet.grpc_health import HealthReader, request_bytes
from cluster.kubelet.probes import Outcome, ProbeSpec
from cluster.kubelet.runtime.api import ContainerStreams, EngineError, Execution
from cluster.machinery.objects import Obj

OUTPUT_MAX = 10 * 1024
HEAD_MAX = 10 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


@dataclass(frozen=True, slots=True)
class Target:
    """The container probed: `address` is the pod's (the host's for host-network pods)."""

    container: Obj
    container_id: str
    address: str


@dataclass(frozen=True, slots=True)
class Answer:
    outcome: Outcome
    message: str = ""


class BadHandler(Exception):
    """The probe or hook cannot be made as it is written."""


class ProbeRunner(Protocol):
    """Makes calls; each ends within its timeout."""

    async def probe(self, target: Target, spec: ProbeSpec) -> Answer:
        """One probe.  A refusal by the container is FAILURE; what could not even be tried is UNKNOWN."""
        ...

    async def call(self, target: Target, handler: Obj, *, timeout_s: float) -> Answer:
        """One call of a handler.  Raises BadHandler."""
        ...


class NetworkProbeRunner:
    """Connects from this host to the pod; commands run through the engine."""

    def __init__(self, streams: ContainerStreams) -> None:
        self._streams = streams

    async def probe(self, target: Target, spec: ProbeSpec) -> Answer:
        try:
            return await self.call(target, spec.handler, timeout_s=spec.timeout_s)
        except BadHandler as error:
            return Answer(Outcome.FAILURE, str(error))

    async def call(self, target: Target, handler: Obj, *, timeout_s: float) -> Answer:
        match next(iter(sorted(handler)), ""):
            case "httpGet":
                return await self._http(target, handler["httpGet"], timeout_s)
            case "tcpSocket":
                return await self._tcp(target, handler["tcpSocket"], timeout_s)
            case "exec":
                return await self._exec(target, handler["exec"].get("command") or (), timeout_s)
            case "grpc":
                return await self._grpc(target, handler["grpc"], timeout_s)
            case other:
                raise BadHandler(f"handler {other or 'of no kind'} is not supported")

    async def _http(self, target: Target, action: Obj, timeout_s: float) -> Answer:
        host = str(action.get("host") or target.address)
        port = port_of(target.container, action.get("port"))
        secure = str(action.get("scheme") or "HTTP").upper() == "HTTPS"
        path = str(action.get("path") or "/")
        url = f"{'https' if secure else 'http'}://{host}:{port}{path}"
        request = _http_request(host, port, path, action.get("httpHeaders") or ())
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(
                    host, port, ssl=_unverified() if secure else None, limit=HEAD_MAX
                )
                try:
                    writer.write(request)
                    await writer.drain()
                    line = await reader.readuntil(b"\n")
                finally:
                    writer.transport.abort()
        except TimeoutError:
            return Answer(Outcome.FAILURE, f'Get "{url}": context deadline exceeded')
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            return Answer(Outcome.FAILURE, f'Get "{url}": {_words(error)}')
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            return Answer(Outcome.FAILURE, f'Get "{url}": malformed HTTP response')
        code = int(match[1])
        if 200 <= code < 400:
            return Answer(Outcome.SUCCESS)
        return Answer(Outcome.FAILURE, f"HTTP probe failed with statuscode: {code}")

    async def _tcp(self, target: Target, action: Obj, timeout_s: float) -> Answer:
        host = str(action.get("host") or target.address)
        port = port_of(target.container, action.get("port"))
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(host, port)
                writer.transport.abort()
        except TimeoutError:
            return Answer(Outcome.FAILURE, f"dial tcp {host}:{port}: i/o timeout")
        except OSError as error:
            return Answer(Outcome.FAILURE, f"dial tcp {host}:{port}: {_words(error)}")
        return Answer(Outcome.SUCCESS)

    async def _exec(self, target: Target, command: Sequence[str], timeout_s: float) -> Answer:
        output = b""
        session: Execution | None = None
        try:
            async with asyncio.timeout(timeout_s):
                session = await self._streams.exec(
                    target.container_id, command, stdin=False, stdout=True, stderr=True, tty=False
                )
                async for chunk in session.output():
                    output = (output + chunk.data)[:OUTPUT_MAX]
                code = await session.wait()
        except TimeoutError:
            await _end(session)
            return Answer(Outcome.FAILURE, f"command timed out: {' '.join(command)!r} timed out after {timeout_s:g}s")
        except EngineError as error:
            return Answer(Outcome.UNKNOWN, error.message)
        finally:
            if session is not None:
                await session.close()
        text = output.decode("utf-8", "replace").strip()
        return Answer(Outcome.SUCCESS if code == 0 else Outcome.FAILURE, text)

    async def _grpc(self, target: Target, action: Obj, timeout_s: float) -> Answer:
        port = port_of(target.container, action.get("port"))
        service = str(action.get("service") or "")
        health = HealthReader()
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(target.address, port)
                try:
                    writer.write(request_bytes(f"{target.address}:{port}", service))
                    while health.serving is None:
                        health.feed(await reader.read(HEAD_MAX))
                        writer.write(health.replies)
                        health.replies = b""
                        await writer.drain()
                finally:
                    writer.transport.abort()
        except TimeoutError:
            return Answer(Outcome.FAILURE, f'timeout: failed to connect service "{target.address}:{port}" in time')
        except OSError as error:
            return Answer(Outcome.FAILURE, f'failed to connect service "{target.address}:{port}": {_words(error)}')
        if health.serving:
            return Answer(Outcome.SUCCESS)
        return Answer(Outcome.FAILURE, 'service unhealthy (responded with "NOT_SERVING")')


async def _end(session: Execution | None) -> None:
    """A command beyond its time goes on in the container unless it is ended: one more at every probe."""
    if session is None:
        return
    try:
        await session.kill()
    except (EngineError, OSError) as error:
        logger.warning("a probe's command cannot be ended", reason=str(error))


def port_of(container: Obj, port: object) -> int:
    """A port by number or by the name the container gives it.  Raises BadHandler."""
    if isinstance(port, str) and not port.isdigit():
        named = next((p for p in container.get("ports") or () if p.get("name") == port), None)
        if named is None:
            raise BadHandler(f"couldn't find port: {port!r}")
        port = named["containerPort"]
    number = int(port) if isinstance(port, (int, str)) else 0
    if not 0 < number < 65536:
        raise BadHandler(f"invalid port number: {port!r}")
    return number


def _http_request(host: str, port: int, path: str, headers: Sequence[Obj]) -> bytes:
    """The request's bytes.  Raises BadHandler for what would break out of a header line."""
    sent = {"user-agent": ("User-Agent", "kube-probe/1.33"), "accept": ("Accept", "*/*")}
    sent["host"] = ("Host", f"{host}:{port}")
    for header in headers:
        sent[str(header["name"]).lower()] = (str(header["name"]), str(header.get("value") or ""))
    sent["connection"] = ("Connection", "close")
    path = path if path.startswith("/") else f"/{path}"
    lines = [f"GET {path} HTTP/1.1"]
    for name, value in sent.values():
        if not _TOKEN.match(name):
            raise BadHandler(f"invalid header name {name!r}")
        lines.append(f"{name}: {value}")
    if any(ord(char) < 32 or ord(char) == 127 for line in lines for char in line) or " " in path:
        raise BadHandler("the probe's path or headers hold characters that are not allowed")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _unverified() -> ssl.SSLContext:
    """TLS without verification: a probe asks whether its own container answers, and trusts nothing it says."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _words(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connect: connection refused"
        case asyncio.IncompleteReadError():
            return "EOF"
        case OSError(strerror=str(text)) if text:
            return text
    return type(error).__name__
