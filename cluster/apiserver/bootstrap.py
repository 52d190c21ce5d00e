"""What every cluster has before its first request: the system's namespaces.

Written through the ordinary handlers as a superuser, so that defaults, names and indexes are those of any other object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.apiserver.authz import MASTERS
from cluster.apiserver.http import Identity
from cluster.client.transport import Transport
from cluster.machinery.errors import AlreadyExists
from cluster.resources.builtin import NAMESPACES

BOOTSTRAP = Identity("system:apiserver", (MASTERS,))
SYSTEM_NAMESPACES: Sequence[str] = ("default", "kube-node-lease", "kube-public", "kube-system")


async def bootstrap(transport: Transport) -> None:
    """Idempotent.  Raises ApiError when the store refuses."""
    for name in SYSTEM_NAMESPACES:
        namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await transport.create(NAMESPACES, namespace)
        except AlreadyExists:
            continue
