"""API failures, by Status reason: the same classes are raised by the server and by its clients.

Upstream: apimachinery/pkg/api/errors.  Callers test the class, never the text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason among several: `reason` is upstream's CauseType (`FieldValueInvalid`), `field` a path (`spec.x[0].y`)."""

    reason: str
    message: str
    field: str = ""

    def to_obj(self) -> dict[str, str]:
        named = {"reason": self.reason, "message": self.message, "field": self.field}
        return {name: text for name, text in named.items() if text}


class ApiError(Exception):
    """A refusal with a Status: HTTP code, machine-readable reason, message for people, structured details."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: Sequence[Cause] = (),
        retry_after_s: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.group = group
        self.kind = kind
        self.name = name
        self.uid = uid
        self.causes = tuple(causes)
        self.retry_after_s = retry_after_s
        self.metadata = dict(metadata or {})

    def to_status(self) -> dict[str, Any]:
        """The Status object that answers the request (metav1.Status)."""
        details: dict[str, Any] = {}
        for name in ("name", "group", "kind", "uid"):
            if text := getattr(self, name):
                details[name] = text
        if self.causes:
            details["causes"] = [cause.to_obj() for cause in self.causes]
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details:
            status["details"] = details
        return status


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class Gone(ApiError):
    code, reason = 410, "Gone"


class Expired(ApiError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object breaks rules; each broken one is a Cause.  `invalid_object` words the message as upstream does."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    """The server could not finish in time; for a write the outcome is unknown."""

    code, reason = 504, "Timeout"


class ServerTimeout(ApiError):
    code, reason = 500, "ServerTimeout"


class InsufficientStorage(ApiError):
    """The store cannot accept writes (disk full); reads still work."""

    code, reason = 507, "InsufficientStorage"


ERRORS: tuple[type[ApiError], ...] = (
    BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, AlreadyExists, Conflict, Gone, Expired,
    RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServiceUnavailable, Timeout,
    ServerTimeout, InsufficientStorage,
)  # fmt: skip

_BY_REASON: dict[str, type[ApiError]] = {error.reason: error for error in ERRORS}
_BY_CODE: dict[int, type[ApiError]] = {error.code: error for error in reversed(ERRORS)}


class UnknownStatus(ApiError):
    """A failure whose reason and code this client has no class for."""


def error_of_status(status: Mapping[str, Any]) -> ApiError:
    """The exception that a Status from a server stands for: by reason, else by code."""
    details = status.get("details") or {}
    code = int(status.get("code") or 0)
    cls = _BY_REASON.get(str(status.get("reason", ""))) or _BY_CODE.get(code) or UnknownStatus
    return cls(
        str(status.get("message") or f"the server answered with status {code}"),
        group=details.get("group", ""),
        kind=details.get("kind", ""),
        name=details.get("name", ""),
        uid=details.get("uid", ""),
        causes=[
            Cause(c.get("reason", ""), c.get("message", ""), c.get("field", "")) for c in details.get("causes") or ()
        ],
        retry_after_s=details.get("retryAfterSeconds"),
        metadata=status.get("metadata"),
    )


def qualified(group: str, resource_or_kind: str) -> str:
    """`deployments.apps` or `pods`: how messages name a resource or kind."""
    return f"{resource_or_kind}.{group}" if group else resource_or_kind


def not_found(group: str, plural: str, name: str) -> NotFound:
    return NotFound(f'{qualified(group, plural)} "{name}" not found', group=group, kind=plural, name=name)


def already_exists(group: str, plural: str, name: str) -> AlreadyExists:
    return AlreadyExists(f'{qualified(group, plural)} "{name}" already exists', group=group, kind=plural, name=name)


def conflict(group: str, plural: str, name: str, why: str) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}',
        group=group,
        kind=plural,
        name=name,
    )


def invalid_object(group: str, kind: str, name: str, causes: Sequence[Cause]) -> Invalid:
    """422 with upstream's wording: one cause is quoted as it is, several are listed in brackets."""
    worded = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in causes]
    text = worded[0] if len(worded) == 1 else "[" + ", ".join(worded) + "]"
    return Invalid(
        f'{qualified(group, kind)} "{name}" is invalid: {text}', group=group, kind=kind, name=name, causes=causes
    )
