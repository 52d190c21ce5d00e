"""What an application may touch before its own rights are even asked: without a service account, one namespace.

The API server checks the rest, under the application's service account.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.crds.schema import GROUP
from reconciler.model import Ref


@dataclass(frozen=True, slots=True)
class Authority:
    """`restricted`: only `namespace` may be written, and nothing there that would lend this daemon's own rights."""

    restricted: bool
    namespace: str = ""
    may_create_namespace: bool = False

    def refusal(self, ref: Ref) -> str:
        """Why `ref` may not be written; empty when it may."""
        if not self.restricted:
            return ""
        if ref.group == GROUP:
            return f"an application without serviceAccountName may not declare {ref.kind} objects"
        if ref.namespace == self.namespace and self.namespace:
            return ""
        if self.may_create_namespace and (ref.group, ref.kind, ref.name) == ("", "Namespace", self.namespace):
            return ""
        where = f"namespace {ref.namespace}" if ref.namespace else "the whole cluster"
        return f"it belongs to {where}; an application without serviceAccountName may write only to {self.namespace!r}"


UNRESTRICTED = Authority(restricted=False)
