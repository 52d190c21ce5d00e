"""The service manager hears that a process is ready, stops, and that its loop turns."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from cluster.base.clock import SystemClock
from cluster.base.sd_notify import manager_of, service_manager


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path):
    """The manager's end of the socket, and how the environment names it."""
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name if request.param == "path" else "\0" + name)
        receiver.setblocking(False)
        yield receiver, name if request.param == "path" else "@" + name


def heard(receiver: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(receiver.recv(1000).decode())
        except BlockingIOError:
            return messages


def test_ready_and_stopping_are_one_message_each_with_a_status_of_one_line(systemd):
    receiver, address = systemd
    manager = manager_of({"NOTIFY_SOCKET": address})
    manager.ready("serving\nWATCHDOG=trigger")
    manager.stopping()
    assert heard(receiver) == ["READY=1\nSTATUS=serving WATCHDOG=trigger", "STOPPING=1\nSTATUS=stopping"]


async def test_the_watchdog_is_fed_while_the_loop_turns_and_not_after(systemd):
    receiver, address = systemd
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000", "WATCHDOG_PID": str(os.getpid())}
    async with service_manager(SystemClock(), environment):
        beats: list[str] = []
        async with asyncio.timeout(10):
            while len(beats) < 3:
                await asyncio.sleep(0)
                beats += heard(receiver)
    assert set(beats) == {"WATCHDOG=1"}
    heard(receiver)
    await asyncio.sleep(0)
    assert heard(receiver) == []


def test_a_child_process_inherits_nothing_to_tell(systemd):
    environment = {"NOTIFY_SOCKET": systemd[1], "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1", "HOME": "/"}
    manager_of(environment)
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environment", "period_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({}, 0.0),
    ],
)
def test_only_a_watchdog_of_this_process_is_fed(environment, period_s):
    assert manager_of(dict(environment)).watchdog_s == period_s


def test_nobody_to_tell_is_no_failure(tmp_path):
    manager_of({}).ready("on my own")
    manager_of({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("nobody listens")
