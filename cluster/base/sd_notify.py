"""What this process tells the service manager: ready, stopping, a line of status, and that its event loop turns.

The protocol is one datagram of `NAME=value` lines to the socket that `$NOTIFY_SOCKET` names, a path or (with a leading
`@`) an abstract name: sd_notify(3).  Without that variable nothing is told and nothing fails.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping, MutableMapping

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.tasks import Supervisor

SOCKET_VARIABLE = "NOTIFY_SOCKET"
PERIOD_VARIABLE = "WATCHDOG_USEC"
PROCESS_VARIABLE = "WATCHDOG_PID"
BEATS_A_PERIOD = 3
"""How often the watchdog is fed before it would bite: one beat may come late."""


class ServiceManager:
    """Tells `address`, or nobody when it is empty; never raises.  `watchdog_s` is the watchdog's period, 0 without one."""

    def __init__(self, address: str, *, watchdog_s: float = 0.0) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = watchdog_s

    def ready(self, status: str) -> None:
        """Start-up is finished: what waits for this service may start now."""
        self._tell("READY=1", f"STATUS={_line(status)}")

    def stopping(self) -> None:
        self._tell("STOPPING=1", "STATUS=stopping")

    def alive(self) -> None:
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            logger.warning("service manager not told", reason=lines[0], error=str(error))


def manager_of(environment: MutableMapping[str, str]) -> ServiceManager:
    """Whom the environment names.  The variables are taken out: a child process has nothing to tell.

    A watchdog that is meant for another process is not ours to feed (sd_watchdog_enabled(3)).
    """
    watchdog_s = _watchdog_s(environment)
    address = environment.get(SOCKET_VARIABLE, "")
    for name in (SOCKET_VARIABLE, PERIOD_VARIABLE, PROCESS_VARIABLE):
        environment.pop(name, None)
    return ServiceManager(address if address.startswith(("/", "@")) else "", watchdog_s=watchdog_s)


@contextlib.asynccontextmanager
async def service_manager(clock: Clock, environment: MutableMapping[str, str]) -> AsyncIterator[ServiceManager]:
    """Who started this process, its watchdog fed for as long as the event loop turns and the block is not left."""
    manager = manager_of(environment)
    async with Supervisor(clock) as supervisor:
        if manager.watchdog_s:
            supervisor.start("watchdog", lambda: feed(manager, clock))
        yield manager


async def feed(manager: ServiceManager, clock: Clock) -> None:
    """Tell the watchdog that this loop turns, until cancelled: a loop that hangs does not, and is killed for it."""
    while True:
        manager.alive()
        await clock.sleep(manager.watchdog_s / BEATS_A_PERIOD)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    period, process = environment.get(PERIOD_VARIABLE, ""), environment.get(PROCESS_VARIABLE, "")
    if not period.isdecimal() or (process and process != str(os.getpid())):
        return 0.0
    return int(period) / 1e6


def _line(text: str) -> str:
    """One line: a line break would begin another variable."""
    return " ".join(text.split())
