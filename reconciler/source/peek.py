"""Has a remote's ref moved?  One small request over a kept https connection, where git would start three processes.

Only a hint that spares work: the answer is believed when it names the commit we have, and git decides everything else.
Source: gitprotocol-v2(5), command ls-refs, sent without the advertisement, as gitprotocol-http(5) allows a stateless server.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from cluster.base.http_client import HttpClient, HttpError, Limits, TcpConnector
from reconciler.source.command import Credentials

ANSWER_MAX_BYTES = 256 * 1024
_TYPE = "application/x-git-upload-pack-{}"


class Peek:
    """For one checked https address.  A server that answers in any other way than expected is not asked again."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._parts = urlsplit(url)
        self._timeout_s = timeout_s
        self._client: HttpClient | None = None
        self._authority = ""
        self._is_understood = self._parts.scheme == "https"

    async def commit(self, ref: str, credentials: Credentials) -> str:
        """The commit that the full ref name (or HEAD) points to, an annotated tag's being peeled; empty: ask git."""
        if not self._is_understood:
            return ""
        path = f"{self._parts.path.rstrip('/')}/git-upload-pack"
        try:
            client = await self._opened(credentials)
            answer = await client.request(
                "POST", path, headers=_headers(credentials), body=question_for(ref), timeout_s=self._timeout_s
            )
        except (HttpError, OSError, ValueError):
            return ""  # git says what is wrong with the network, or with the certificates
        if answer.status != 200 or answer.headers.get("content-type") != _TYPE.format("result"):
            self._is_understood = False
            return ""
        return commit_in(answer.body, ref)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _opened(self, credentials: Credentials) -> HttpClient:
        """A client that trusts whom the credentials name; connections of an earlier trust are closed."""
        authority = credentials.authority.read_text(encoding="ascii") if credentials.authority is not None else ""
        if self._client is not None and authority != self._authority:
            await self.close()
        if self._client is None:
            # The host's certificate authorities, as git uses them, or in their place the one named.
            tls = ssl.create_default_context(cadata=authority or None)
            connector = TcpConnector(self._parts.hostname or "", self._parts.port or 443, tls=tls)
            self._client = HttpClient(connector, limits=Limits(connections_max=1, body_max_bytes=ANSWER_MAX_BYTES))
            self._authority = authority
        return self._client


def _headers(credentials: Credentials) -> dict[str, str]:
    headers = {
        "Content-Type": _TYPE.format("request"),
        "Accept": _TYPE.format("result"),
        "Git-Protocol": "version=2",
        "User-Agent": "git/2 (reconciler)",
    }
    if credentials.store is not None:
        # The line of git-credential-store that this daemon wrote itself, for this very host.
        stored = urlsplit(credentials.store.read_text(encoding="ascii").strip())
        pair = f"{unquote(stored.username or '')}:{unquote(stored.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers


def question_for(ref: str) -> bytes:
    """The request's body."""
    lines = (b"command=ls-refs\n", b"object-format=sha1\n")
    arguments = (b"peel\n", f"ref-prefix {ref}\n".encode())
    return b"".join(map(_line, lines)) + b"0001" + b"".join(map(_line, arguments)) + b"0000"


def _line(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def commit_in(body: bytes, ref: str) -> str:
    """What an answer to `question_for(ref)` names; empty when it names nothing or is none."""
    for line in _lines(body):
        words = line.decode("utf-8", "replace").split()
        if len(words) >= 2 and words[1] == ref:
            peeled = [word.removeprefix("peeled:") for word in words[2:] if word.startswith("peeled:")]
            return peeled[0] if peeled else words[0]
    return ""


def _lines(body: bytes) -> Iterator[bytes]:
    """The lines up to the flush packet; nothing more of an answer that is not in this form."""
    position = 0
    while position + 4 <= len(body):
        try:
            size = int(body[position : position + 4], 16)
        except ValueError:
            return
        if size < 4:
            return
        yield body[position + 4 : position + size]
        position += size
