"""Probes against servers of this process: what is answered decides the outcome."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cluster.base.pki import create_ca, issue_serving
from cluster.kubelet.grpc_health import HealthReader, request_bytes
from cluster.kubelet.probe_runners import Answer, BadHandler, NetworkProbeRunner, Target, port_of
from cluster.kubelet.probes import Outcome, ProbeKind, ProbeSpec
from cluster.simulation.engine import SimulatedEngine
from tests.clocks import SteppedClock

HEADERS_FRAME = (1).to_bytes(3, "big") + bytes((1, 4)) + (1).to_bytes(4, "big") + b"\x88"


@asynccontextmanager
async def server(answer: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port that sends `answer` to whatever comes; and what came."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(65536))
        writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1], came


async def probed(handler: dict[str, Any], timeout_s: int = 5) -> Answer:
    target = Target({"name": "app", "ports": []}, "id", "127.0.0.1")
    spec = ProbeSpec(ProbeKind.READINESS, handler, timeout_s=timeout_s)
    return await NetworkProbeRunner(SimulatedEngine(clock=SteppedClock())).probe(target, spec)


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Outcome.SUCCESS),
        (b"HTTP/1.1 302 Found\r\n\r\n", Outcome.SUCCESS),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Outcome.FAILURE),
        (b"HTTP/1.1 500\r\n\r\n", Outcome.FAILURE),
        (b"SSH-2.0-OpenSSH\r\n", Outcome.FAILURE),
        (b"", Outcome.FAILURE),
        (b"x" * 100_000, Outcome.FAILURE),
    ],
)
async def test_an_http_answer_decides(line: bytes, outcome: Outcome) -> None:
    async with server(line) as (port, came):
        headers = [{"name": "Host", "value": "example.com"}]
        answer = await probed({"httpGet": {"port": port, "path": "/healthz?x=1", "httpHeaders": headers}})
    assert answer.outcome is outcome
    assert came[0].startswith(b"GET /healthz?x=1 HTTP/1.1\r\n")
    assert b"\r\nHost: example.com\r\n" in came[0]


async def test_https_trusts_any_certificate_and_needs_one(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    pair = issue_serving(create_ca("nobody knows it", now=now), "elsewhere", ["elsewhere.example"], now=now)
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    async with server(b"HTTP/1.1 204 No Content\r\n\r\n", context) as (port, came):
        assert (await probed({"httpGet": {"port": port, "scheme": "HTTPS"}})).outcome is Outcome.SUCCESS
        assert came[0].startswith(b"GET / HTTP/1.1\r\n")
        assert (await probed({"httpGet": {"port": port}})).outcome is Outcome.FAILURE
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, _):
        assert (await probed({"httpGet": {"port": port, "scheme": "HTTPS"}})).outcome is Outcome.FAILURE


async def test_a_header_that_would_smuggle_another_request_is_not_sent() -> None:
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, came):
        headers = [{"name": "X", "value": "a\r\nEvil: yes"}]
        assert (await probed({"httpGet": {"port": port, "httpHeaders": headers}})).outcome is Outcome.FAILURE
    assert came == []


async def test_a_port_that_nobody_holds_is_a_failure() -> None:
    async with server(b"") as (port, _):
        assert (await probed({"tcpSocket": {"port": port}})).outcome is Outcome.SUCCESS
    answer = await probed({"tcpSocket": {"port": port}})
    assert answer == Answer(Outcome.FAILURE, f"dial tcp 127.0.0.1:{port}: connect: connection refused")


@pytest.mark.parametrize(("status", "outcome"), [(1, Outcome.SUCCESS), (2, Outcome.FAILURE)])
async def test_a_grpc_service_is_asked_for_its_health(status: int, outcome: Outcome) -> None:
    message = b"\0" + (2).to_bytes(4, "big") + bytes((0x08, status))
    frames = bytes(3) + bytes((4, 0)) + bytes(4) + HEADERS_FRAME
    frames += len(message).to_bytes(3, "big") + bytes((0, 0)) + (1).to_bytes(4, "big") + message
    async with server(frames) as (port, came):
        assert (await probed({"grpc": {"port": port, "service": "db"}})).outcome is outcome
    assert came[0].startswith(b"PRI * HTTP/2.0")
    assert came[0].endswith(b"\0\0\0\0\x04\x0a\x02db")


def test_a_grpc_error_without_a_message_is_not_serving() -> None:
    reader = HealthReader()
    reader.feed((1).to_bytes(3, "big") + bytes((1, 5)) + (1).to_bytes(4, "big") + b"\x88")
    assert reader.serving is False
    assert request_bytes("a:1", "").endswith(b"\0\0\0\0\0")


def test_a_port_is_found_by_its_name() -> None:
    container = {"ports": [{"name": "web", "containerPort": 8080}]}
    assert port_of(container, "web") == 8080
    assert port_of(container, "81") == 81
    for port in ("other", 0, 70_000):
        with pytest.raises(BadHandler):
            port_of(container, port)


async def test_an_unknown_handler_fails_and_says_so() -> None:
    assert (await probed({})).outcome is Outcome.FAILURE
