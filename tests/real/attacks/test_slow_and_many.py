"""Peers that are slow on purpose, or many: others are served meanwhile, and the slow are cut off."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.real.clients.served import Server, until

MEBIBYTE = 1 << 20
IDLE = 200


@pytest.fixture
def sockets(server: Server) -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the peer has ended it, without waiting."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def slowest_answer_s(server: Server, requests: int = 30) -> float:
    with server.connection() as connection:
        slowest = 0.0
        for _ in range(requests):
            began = time.monotonic()
            connection.request("GET", "/api/v1/namespaces/default")
            assert connection.getresponse().read()
            slowest = max(slowest, time.monotonic() - began)
        return slowest


def test_handshakes_that_do_not_come_are_cut_off_and_hold_up_nobody(
    server: Server, sockets: list[socket.socket]
) -> None:
    before = server.resident_bytes()
    for _ in range(IDLE):
        connection = socket.create_connection((server.host, server.port), timeout=10)
        connection.sendall(b"\x16\x03\x01")
        sockets.append(connection)
    # Half a request on a finished handshake, and a body that never ends.
    for data in (
        b"GET /version HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        b"POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\na",
    ):
        for _ in range(20):
            connection = server.tls().wrap_socket(
                socket.create_connection((server.host, server.port), timeout=10), server_hostname=server.host
            )
            connection.sendall(data)
            sockets.append(connection)
    # The bound is what a person would notice, on a machine that does other things too.
    assert slowest_answer_s(server) < 5
    assert server.resident_bytes() - before < 60 * MEBIBYTE
    until(lambda: all(is_closed(each) for each in sockets[:IDLE]), what="half handshakes are cut off", deadline_s=30)
    # What has shaken hands has 32 s for its request; it is not cut off sooner.
    assert not any(is_closed(each) for each in sockets[IDLE:])


def test_readers_that_never_read_cost_little_and_are_told_when_they_fall_behind(server: Server) -> None:
    namespace = "/api/v1/namespaces/never-read"
    assert server.request("POST", "/api/v1/namespaces", {"metadata": {"name": "never-read"}}).status == 201
    before = server.resident_bytes()
    with contextlib.ExitStack() as opened:
        for _ in range(60):
            connection = opened.enter_context(server.connection())
            connection.request("GET", f"{namespace}/configmaps?watch=true")
        for number in range(40):
            body = {"metadata": {"name": f"c{number}"}, "data": {"a": "x" * 100_000}}
            assert server.request("POST", f"{namespace}/configmaps", body).status == 201
        # Four megabytes to each of sixty readers would be a quarter of a gigabyte, were it buffered for them.
        assert server.resident_bytes() - before < 60 * MEBIBYTE
        assert server.request("GET", f"{namespace}/configmaps/c39").status == 200


def answers(server: Server, count: int) -> list[int]:
    """The status of each answer to `count` requests that were sent in one breath, every second one for what is absent."""
    with server.connection() as connection:
        connection.connect()
        sock = connection.sock
        assert sock is not None
        names = ["default" if number % 2 else "absent" for number in range(count)]
        parts = [f"GET /api/v1/namespaces/{name} HTTP/1.1\r\nHost: a\r\n\r\n" for name in names]
        sock.sendall("".join([*parts[:-1], parts[-1].replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")]).encode())
        received = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while part := sock.recv(65_536):
                received += part
    return [int(answer[:3]) for answer in received.split(b"HTTP/1.1 ")[1:]]


def test_a_few_requests_in_one_breath_are_answered_in_order_and_many_are_refused(server: Server) -> None:
    assert answers(server, 12) == [404, 200] * 6
    assert answers(server, 500) == [400]
