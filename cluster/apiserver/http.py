"""Requests and replies as values: what handlers see of the wire.  No sockets here; `server` is the adapter that has them.

An in-process caller builds the same values, so every path meets the same authorization, admission and audit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.base.values import frozen


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks.  Upstream: authentication/user.Info."""

    name: str
    groups: Sequence[str] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)


@frozen
class ApiRequest:
    """One request of an authenticated caller.

    `path` is as it was sent, still percent-encoded: `routes` decodes its parts, once.  `query` maps each parameter to its
    values in order.  `headers` has lower-case names; repeated ones are joined with a comma.  `body` holds the bytes; an
    in-process caller leaves it empty and gives `obj`, already decoded.  `source` is the address it came from, empty in process.
    """

    method: str
    path: str
    user: Identity
    query: Mapping[str, Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    obj: Any = None
    source: str = ""

    def parameter(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default


class ByteSource(Protocol):
    """A body that grows: a watch, a followed log.  The adapter pulls, so a reader that does not read costs no memory."""

    def take(self) -> bytes | None:
        """What is ready now, at most a few hundred kilobytes; empty when nothing is; None at the end."""
        ...

    def on_ready(self, wake: Callable[[], None]) -> None:
        """Call `wake` (on the event loop, cheaply, possibly more than once) whenever `take` may have something new."""
        ...

    def close(self) -> None:
        """The reader is gone; release everything.  Idempotent."""
        ...


class Closing:
    """A ByteSource that tells once when it is closed."""

    def __init__(self, source: ByteSource, closed: Callable[[], None]) -> None:
        # Called for every chunk: no step in between.
        self.take = source.take
        self.on_ready = source.on_ready
        self._source = source
        self._closed: Callable[[], None] | None = closed

    def close(self) -> None:
        self._source.close()
        closed, self._closed = self._closed, None
        if closed is not None:
            closed()


class RawConnection(Protocol):
    """The connection after an upgrade: bytes both ways, with back-pressure."""

    async def read(self) -> bytes:
        """Some bytes; empty once the peer has finished."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when the bytes are handed to the kernel."""
        ...

    def close(self) -> None: ...


@frozen
class Reply:
    """An answer.  Exactly one of `obj`, `body`, `stream` and `upgrade` carries the content.

    `obj` is rendered by the adapter (`encode`) and handed over as it is in process.  `body` is already encoded.  With
    `upgrade` the status is 101 and the function owns the connection until it returns.
    """

    status: int = 200
    obj: Any = None
    body: bytes | None = None
    stream: ByteSource | None = None
    upgrade: Callable[[RawConnection], Awaitable[None]] | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()


class Handler(Protocol):
    """The API server as a function: never raises ApiError, answers it as a Status."""

    async def __call__(self, request: ApiRequest) -> Reply: ...


class Authenticator(Protocol):
    def authenticate(self, headers: Mapping[str, str], peer_certificate: bytes | None) -> Identity | None:
        """The caller, from a verified client certificate (DER) or the Authorization header; None: credentials are bad.

        No credentials at all is `system:anonymous`.  Called once per connection and header block, then memoised.
        """
        ...

    def is_current(self, identity: Identity) -> bool:
        """Whether a memoised answer still holds: what a token was bound to may have gone.  Asked for every request."""
        ...
