"""How an etcd is named in settings and on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_MEMBER = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one member serves clients."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Address:
    """The members of one etcd, and whether they speak TLS."""

    endpoints: Sequence[Endpoint]
    tls: bool


def parse_address(text: str) -> Address:
    """`etcd://HOST:PORT[,HOST:PORT...]`, with TLS `etcds://`.  Raises ValueError that says what is wrong."""
    scheme, separator, members = text.partition("://")
    if not separator or scheme not in ("etcd", "etcds"):
        raise ValueError(f"{text!r} is not etcd://HOST:PORT or etcds://HOST:PORT")
    endpoints: list[Endpoint] = []
    for member in members.split(","):
        match = _MEMBER.fullmatch(member)
        if match is None or not 0 < int(match["port"]) < 65536:
            raise ValueError(f"{member!r} in {text!r} is not HOST:PORT")
        endpoints.append(Endpoint(match["host"].strip("[]"), int(match["port"])))
    return Address(endpoints, tls=scheme == "etcds")
