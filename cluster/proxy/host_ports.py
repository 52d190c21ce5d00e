"""Which ports programs of this host listen on, so that no load balancer takes one away from them.

Source: proc(5), /proc/net/tcp and udp.  Needs no privileges.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from loguru import logger

Port = tuple[str, int]
"""Protocol (TCP, UDP) and number."""

_TABLES = (("tcp", "TCP", "0A"), ("tcp6", "TCP", "0A"), ("udp", "UDP", "07"), ("udp6", "UDP", "07"))
"""File, protocol, and the state of a socket that accepts from anybody (TCP_LISTEN, TCP_CLOSE)."""


def parse_listeners(table: str, protocol: str, state: str) -> Set[Port]:
    """The ports bound in one table, those bound to a loopback address aside."""
    found: set[Port] = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == state:
            address, _, port = fields[1].rpartition(":")
            if not _is_loopback(address):
                found.add((protocol, int(port, 16)))
    return found


def listening_ports(directory: Path = Path("/proc/net")) -> Set[Port]:
    """A table that cannot be read (no IPv6) counts as empty."""
    found: set[Port] = set()
    for name, protocol, state in _TABLES:
        try:
            found |= parse_listeners((directory / name).read_text(), protocol, state)
        except OSError as error:
            logger.debug("listeners cannot be read", key=name, reason=str(error))
    return found


def _is_loopback(address: str) -> bool:
    """Hexadecimal words, each in the byte order of the machine; all supported ones are little-endian."""
    return (len(address) == 8 and address.endswith("7F")) or address == "0" * 24 + "01000000"
