"""The HTTP client against a scripted server on a Unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cluster.base.http_client import (
    BadResponse,
    ConnectFailed,
    ConnectionBroken,
    HttpClient,
    HttpTimeout,
    Limits,
    ResponseTooLarge,
    UnixConnector,
    UpgradeRefused,
)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(tmp_path: Path, serve: Serve, **limits: int | float) -> AsyncIterator[HttpClient]:
    """A client of a server that handles each connection with `serve`, then closes it."""
    path = str(tmp_path / "s")
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(connected, path)
    client = HttpClient(UnixConnector(path), limits=Limits(**limits))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*answers: bytes) -> Serve:
    """Answer each request of a connection with the next of `answers`, then close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nx-a: 2\r\n\r\nhi"


async def test_a_request_returns_status_headers_and_body(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(OK)) as client:
        response = await client.request("GET", "/x?y=1")
    assert (response.status, response.body, response.headers["x-a"]) == (200, b"hi", "1, 2")


async def test_a_field_with_several_values_is_sent_once_for_each(tmp_path: Path) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        await writer.drain()

    async with serving(tmp_path, serve) as client:
        await client.request("GET", "/", headers={"Impersonate-Group": ("a", "b"), "X-One": "1"})
        with pytest.raises(ValueError, match="malformed header"):
            await client.request("GET", "/", headers={"Impersonate-Group": ("a", "b\r\nX-Evil: 1")})
    assert b"\r\nImpersonate-Group: a\r\nImpersonate-Group: b\r\nX-One: 1\r\n" in seen[0]


async def test_a_connection_is_reused(tmp_path: Path) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK, OK, OK)(reader, writer)

    async with serving(tmp_path, serve) as client:
        for _ in range(3):
            assert (await client.request("POST", "/", body=b"x")).body == b"hi"
    assert connections == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_only_a_repeatable_request_is_sent_again_after_a_stale_connection(tmp_path: Path, method: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK)(reader, writer)
        await reader.readuntil(b"\r\n\r\n")  # take the second request, and close without an answer

    async with serving(tmp_path, serve) as client:
        await client.request("GET", "/")
        if method == "GET":
            assert (await client.request(method, "/")).status == 200
        else:
            with pytest.raises(ConnectionBroken):
                await client.request(method, "/")


async def test_a_chunked_body_and_an_interim_response_are_read(tmp_path: Path) -> None:
    text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    async with serving(tmp_path, answering(text, OK)) as client:
        response = await client.request("GET", "/")
        assert response.body == b"abc"
        assert "x-a" not in response.headers
        assert (await client.request("GET", "/")).body == b"hi"


async def test_a_body_without_a_length_ends_with_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(b"HTTP/1.1 200 OK\r\n\r\nabc")) as client:
        assert (await client.request("GET", "/")).body == b"abc"


async def test_a_truncated_body_is_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as client:
        with pytest.raises(ConnectionBroken) as caught:
            await client.request("GET", "/")
    assert caught.value.answered


async def test_head_and_no_content_have_no_body(tmp_path: Path) -> None:
    async with serving(
        tmp_path, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n")
    ) as client:
        assert (await client.request("HEAD", "/")).body == b""
    async with serving(tmp_path, answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as client:
        assert (await client.request("DELETE", "/")).status == 204


async def test_an_unanswered_request_times_out(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(tmp_path, serve) as client:
        with pytest.raises(HttpTimeout):
            await client.request("GET", "/", timeout_s=0.02)


async def test_oversized_headers_and_bodies_are_refused(tmp_path: Path) -> None:
    big = b"HTTP/1.1 200 OK\r\nX: " + b"a" * 5000
    async with serving(tmp_path, answering(big), headers_max_bytes=1000) as client:
        with pytest.raises(ResponseTooLarge):
            await client.request("GET", "/")
    async with serving(tmp_path, answering(OK), body_max_bytes=1) as client:
        with pytest.raises(ResponseTooLarge):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    "text",
    [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    ids=["not-http", "two-lengths"],
)
async def test_what_is_not_http_is_refused(tmp_path: Path, text: bytes) -> None:
    async with serving(tmp_path, answering(text)) as client:
        with pytest.raises(BadResponse):
            await client.request("GET", "/")


async def test_bytes_after_a_response_are_not_taken_for_the_next(tmp_path: Path) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await answering(OK if connections > 1 else OK + OK.replace(b"hi", b"no"))(reader, writer)

    async with serving(tmp_path, serve) as client:
        assert (await client.request("GET", "/")).body == b"hi"
        assert (await client.request("GET", "/")).body == b"hi"


async def test_no_server_is_connect_failed(tmp_path: Path) -> None:
    client = HttpClient(UnixConnector(str(tmp_path / "absent")))
    with pytest.raises(ConnectFailed):
        await client.request("GET", "/")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/a b", {}), ("/a\r\nX: y", {}), ("x", {}), ("/", {"A": "b\r\nC: d"}), ("/", {"A b": "c"}), ("/", {"Host": "x"})],
)
async def test_a_request_that_could_be_read_as_two_is_refused(
    tmp_path: Path, path: str, headers: dict[str, str]
) -> None:
    client = HttpClient(UnixConnector(str(tmp_path / "absent")))
    with pytest.raises(ValueError, match=r"malformed|itself"):
        await client.request("GET", path, headers=headers)


async def test_a_stream_is_read_as_it_grows_and_holds_the_server_back(tmp_path: Path) -> None:
    total = 8_000_000
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 80_000)
            sent += 80_000
            await writer.drain()

    async with serving(tmp_path, serve) as client, client.stream("GET", "/") as response:
        size = len(await response.read())
        for _ in range(200):
            await asyncio.sleep(0)
        assert sent < total / 2
        while chunk := await response.read():
            size += len(chunk)
    assert size == total


async def test_an_upgrade_gives_a_raw_stream(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
        writer.write((await reader.read()).upper())
        await writer.drain()

    async with serving(tmp_path, serve) as client:
        raw = await client.upgrade("POST", "/", protocol="tcp", body=b"")
        got = await raw.read()
        await raw.write(b"late")
        raw.write_eof()
        while chunk := await raw.read():
            got += chunk
        raw.close()
        raw.close()
    assert got == b"earlyLATE"


async def test_a_refused_upgrade_carries_the_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, answering(OK.replace(b"200 OK", b"409 Conflict"))) as client:
        with pytest.raises(UpgradeRefused) as caught:
            await client.upgrade("POST", "/", protocol="tcp")
    assert (caught.value.response.status, caught.value.response.body) == (409, b"hi")


async def test_requests_beyond_the_bound_wait(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(OK, OK, OK)(reader, writer)

    async with serving(tmp_path, serve, connections_max=1) as client:
        async with client.stream("GET", "/"):
            with pytest.raises(HttpTimeout):
                await client.request("GET", "/", timeout_s=0.02)
        assert (await client.request("GET", "/")).status == 200
