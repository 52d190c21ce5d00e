"""Replies to bytes: heads, whole answers, and the Status of what is refused before any handler sees it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from cluster.apiserver.http import Reply
from cluster.apiserver.request_parser import BadHttp, HttpRequest
from cluster.machinery.errors import ApiError

JSON_TYPE: Final = "application/json"
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


def rendered(request: HttpRequest, reply: Reply) -> bytes:
    """The whole answer, for replies that are no streams."""
    body = reply.body if reply.body is not None else orjson.dumps(reply.obj)
    head = head_of(reply.status, len(body), reply.content_type, headers_of(reply), close=not request.keep_alive)
    return head if request.method == "HEAD" else head + body


def headers_of(reply: Reply) -> Mapping[str, str]:
    if not reply.warnings:
        return reply.headers
    return {**reply.headers, "Warning": ", ".join(f'299 - "{_quoted(text)}"' for text in reply.warnings)}


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")


_START: Final = "HTTP/1.1 {status} {reason}\r\nCache-Control: {caching}\r\nContent-Type: {content_type}\r\n"
_UNCACHED: Final = "no-cache, private"
_USUAL_HEAD: Final = (
    _START.format(status=200, reason="OK", caching=_UNCACHED, content_type=JSON_TYPE) + "Content-Length: "
).encode()


def head_of(status: int, length: int | None, content_type: str, headers: Mapping[str, str], *, close: bool) -> bytes:
    """A response's head; no length means a chunked body."""
    if status == 200 and not headers and not close and length is not None and content_type == JSON_TYPE:
        return b"%b%d\r\n\r\n" % (_USUAL_HEAD, length)
    caching = next((value for name, value in headers.items() if name.lower() == "cache-control"), _UNCACHED)
    reason = _REASONS.get(status, "Status")
    lines = [_START.format(status=status, reason=reason, caching=caching, content_type=content_type)]
    lines.append("Transfer-Encoding: chunked\r\n" if length is None else f"Content-Length: {length}\r\n")
    for name, value in headers.items():
        if name.lower() != "cache-control":
            lines.append(f"{name}: {value}\r\n")
    if close:
        lines.append("Connection: close\r\n")
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", "replace")


def switching(headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n".encode("latin-1")


_STATUS_REASONS: Mapping[int, str] = {
    400: "BadRequest",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
}


def status_of_refusal(refusal: BadHttp) -> Mapping[str, Any]:
    """A refused request as the Status that every other refusal is, so that clients say why."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": refusal.why}
    return {**status, "reason": _STATUS_REASONS.get(refusal.status, ""), "code": refusal.status}


def status_reply(error: ApiError) -> Reply:
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return Reply(status=error.code, obj=error.to_status(), headers=headers)


def plain_reply(status: int, text: str) -> Reply:
    return Reply(status=status, body=text.encode(), content_type="text/plain")
