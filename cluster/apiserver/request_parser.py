"""HTTP/1.1 requests out of bytes: llhttp in its strict mode, plus the refusals it leaves to us.

Sans-I/O: `feed` takes what arrived and returns the requests it completed.  Refused, with the status to answer: a missing or
repeated Host, too many or too large headers (431), a body over the limit (413), a body with a content coding (415), and
whatever llhttp calls malformed or ambiguous (400), such as Content-Length beside Transfer-Encoding.
"""

from __future__ import annotations

from typing import Final

import httptools

from cluster.base.values import frozen

HEADERS_SIZE_MAX_BYTES: Final = 262_144
HEADERS_MAX: Final = 256
TARGET_SIZE_MAX_BYTES: Final = 32_768
BODY_SIZE_MAX_BYTES: Final = 3 * 1024 * 1024
PIPELINE_MAX: Final = 16

_FIELDS: Final = {
    spelling.encode(): name
    for name in (
        "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host", "user-agent",
    )
    for spelling in (name, name.title())
}  # fmt: skip
"""Names that nearly every request has, in the two ways clients write them."""
_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


class BadHttp(Exception):
    """The peer does not speak acceptable HTTP: answer `status` and close."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


@frozen
class HttpRequest:
    """One request as it arrived; `headers` has lower-case names, repeated ones joined with a comma."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    upgrade: bool


class RequestParser:
    """Parses the requests of one connection, in order."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[HttpRequest] = []
        self._target = b""
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self._headers_size_bytes = 0
        self._body: list[bytes] = []
        self._body_size_bytes = 0
        self._refusal: BadHttp | None = None
        self._in_headers = False
        self.wants_continue = False
        """The peer waits for `100 Continue` before it sends its body."""
        self.in_message = False
        """A request has begun and not ended."""

    def feed(self, data: bytes) -> list[HttpRequest]:
        """The requests that `data` completes.  Raises BadHttp.  After one with `upgrade`, `data` may hold raw bytes too:
        `leftover` has them."""
        self._done = []
        if self._in_headers or not self.in_message:
            self._headers_size_bytes += len(data) if self._in_headers else 0
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.leftover = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            raise self._refusal or BadHttp(400, f"malformed HTTP request: {error}") from error
        if self._refusal is not None:
            raise self._refusal
        if self._in_headers and self._headers_size_bytes > HEADERS_SIZE_MAX_BYTES:
            raise BadHttp(431, "the request's headers are too large")
        if len(self._done) > PIPELINE_MAX:
            raise BadHttp(400, "too many pipelined requests")
        return self._done

    leftover: bytes = b""

    # llhttp's callbacks; an exception in one aborts the parse, `_refuse` keeps its meaning.

    def on_message_begin(self) -> None:
        self.in_message = True
        self._in_headers = True
        self._target = b""
        self._headers = {}
        self._header_count = 0
        self._headers_size_bytes = 0
        self._body = []
        self._body_size_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > TARGET_SIZE_MAX_BYTES:
            self._refuse(414, "the request's URL is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._headers_size_bytes += len(name) + len(value)
        if self._header_count > HEADERS_MAX or self._headers_size_bytes > HEADERS_SIZE_MAX_BYTES:
            self._refuse(431, "the request's headers are too large")
        field = _FIELDS.get(name) or name.decode("latin-1").lower()
        text = value.decode("latin-1")
        if field in self._headers:
            if field in ("host", "content-length", "authorization", "content-type"):
                self._refuse(400, f"the {field} header is repeated")
            self._headers[field] += f", {text}"
        else:
            self._headers[field] = text

    def on_headers_complete(self) -> None:
        self._in_headers = False
        headers = self._headers
        if "host" not in headers:
            self._refuse(400, "the Host header is missing")
        if headers.get("content-encoding", "identity") != "identity":
            self._refuse(415, "a content coding of the request body is not supported")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:12]) > BODY_SIZE_MAX_BYTES:
            self._refuse(413, f"Request entity too large: limit is {BODY_SIZE_MAX_BYTES}")
        if headers.get("expect", "").lower() == "100-continue":
            self.wants_continue = True

    def on_body(self, body: bytes) -> None:
        self._body_size_bytes += len(body)
        if self._body_size_bytes > BODY_SIZE_MAX_BYTES:
            self._refuse(413, f"Request entity too large: limit is {BODY_SIZE_MAX_BYTES}")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.in_message = False
        self.wants_continue = False
        method = self._parser.get_method()
        self._done.append(
            HttpRequest(
                _METHODS.get(method) or method.decode("ascii"),
                self._target.decode("latin-1"),
                self._headers,
                self._body[0] if len(self._body) == 1 else b"".join(self._body),
                self._parser.should_keep_alive(),
                self._parser.should_upgrade(),
            )
        )

    def _refuse(self, status: int, why: str) -> None:
        self._refusal = self._refusal or BadHttp(status, why)
        raise self._refusal
