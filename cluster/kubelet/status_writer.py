"""Tells the API server a pod's status, and only when it changed.

One pod, one writer: the kubelet of its node.  Knows nothing of how a status comes about.
"""

from __future__ import annotations

from typing import Any

from loguru import logger

from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import ApiError, Conflict, NotFound
from cluster.machinery.objects import Obj, key_of, uid_of
from cluster.resources.builtin import PODS


def status_patch(pod: Obj, status: dict[str, Any]) -> dict[str, Any] | None:
    """The strategic merge patch from the pod's status to `status`; None when nothing differs.

    It names the uid, so that it cannot land on a later pod of the same name.  Upstream: util/pod.PatchPodStatus.
    """
    old = pod.get("status") or {}
    changed: dict[str, Any] = {name: value for name, value in status.items() if old.get(name) != value}
    for name in ("podIP", "podIPs", "reason", "message"):
        if name in old and name not in status:
            changed[name] = None
    if not changed:
        return None
    if "conditions" in changed:
        known = {condition["type"]: condition for condition in old.get("conditions") or ()}
        changed["conditions"] = [c for c in status["conditions"] if known.get(c["type"]) != c]
        changed["conditions"] = [_replacing(c, known.get(c["type"])) for c in changed["conditions"]]
        if not changed["conditions"]:
            del changed["conditions"]
    if isinstance(changed.get("podIPs"), list):
        changed["podIPs"] = [{"$patch": "replace"}, *changed["podIPs"]]
    if isinstance(changed.get("hostIPs"), list):
        changed["hostIPs"] = [{"$patch": "replace"}, *changed["hostIPs"]]
    return {"metadata": {"uid": uid_of(pod)}, "status": changed} if changed else None


def _replacing(condition: dict[str, Any], old: Obj | None) -> dict[str, Any]:
    """`condition`, with fields that only the old one has taken away: a merge would keep them."""
    gone = {name: None for name in old or {} if name not in condition}
    return {**condition, **gone}


class StatusWriter:
    """Writes statuses; what fails is tried again by the caller's next look, since it compares with what the API has."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def write(self, pod: Obj, status: dict[str, Any]) -> Obj | None:
        """The pod with `status`, written if it differs; None when it could not be told and should be tried again.

        The caller goes on from the answer: an older state of the pod would have it written anew, for ever.
        """
        patch = status_patch(pod, status)
        if patch is None:
            return pod
        try:
            return await self._transport.patch(
                PODS, key_of(pod), Patch(PatchType.STRATEGIC, patch), subresource="status"
            )
        except (NotFound, Conflict):
            # Gone, or another pod of that name: nothing of ours to tell.
            return pod
        except ApiError as error:
            logger.warning("pod status not written", pod=str(key_of(pod)), reason=error.message)
            return None
