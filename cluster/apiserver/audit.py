"""What happened at the API, told to whoever keeps the record: one entry per write and per refusal.  Pure values.

Upstream: apiserver/pkg/audit, level Metadata: never a body, so no secret can be in it.
"""

from __future__ import annotations

from dataclasses import dataclass

_READS = frozenset(("get", "list", "watch", "head", "options"))


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """`acting_as` differs from `user` for an impersonated request; `code` is the HTTP status it was answered with."""

    user: str
    acting_as: str
    verb: str
    path: str
    code: int


def is_recorded(verb: str, code: int) -> bool:
    """Reads that succeed are not: they would drown the rest."""
    return verb not in _READS or code in (401, 403)
