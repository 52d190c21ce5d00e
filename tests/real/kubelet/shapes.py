"""Pods of shell scripts, and what may be asked of their status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.machinery.objects import Obj

Holds = Callable[[Obj], bool]

PATIENT = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
"""A script that runs until it is asked to stop."""


def script(text: str, **fields: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", text], **fields}


def ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or ())


def phase(wanted: str) -> Holds:
    return lambda pod: pod["status"].get("phase") == wanted


def restarted(times: int) -> Holds:
    return lambda pod: ready(pod) and pod["status"]["containerStatuses"][0]["restartCount"] >= times


def waits_for(reason: str, container: str = "app") -> Holds:
    return lambda pod: (status_of(pod, container).get("state") or {}).get("waiting", {}).get("reason") == reason


def status_of(pod: Obj, container: str = "app") -> Obj:
    """The container's status; empty before there is one."""
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    every = [status for kind in kinds for status in pod["status"].get(kind) or ()]
    return next((status for status in every if status["name"] == container), {})
