"""Deleted claims wait for the pods that use them, deleted volumes for the claim that they are bound to.

Admission gives each a finalizer; these loops take it away.  Upstream: pkg/controller/volume/{pvcprotection,pvprotection}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Update, Write
from cluster.controllers.pods import is_finished
from cluster.machinery.objects import Key, Obj, field_of, is_deleting, meta_of, name_of, namespace_of, with_field
from cluster.machinery.resource import Resource
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS

CLAIM_FINALIZER = "kubernetes.io/pvc-protection"
VOLUME_FINALIZER = "kubernetes.io/pv-protection"


def plan_release(resource: Resource, obj: Obj, finalizer: str, *, in_use: bool) -> tuple[Write, ...]:
    """The finalizer goes from what is being deleted once it is not in use."""
    finalizers: Sequence[str] = meta_of(obj).get("finalizers") or ()
    if not is_deleting(obj) or finalizer not in finalizers or in_use:
        return ()
    left = [name for name in finalizers if name != finalizer]
    return (Update(resource, with_field(obj, ("metadata", "finalizers"), left)),)


def claims_of(pod: Obj) -> Iterable[str]:
    """Names of the claims that the pod's volumes use, its own ephemeral ones included."""
    for volume in field_of(pod, "spec", "volumes", default=()):
        if (claim := field_of(volume, "persistentVolumeClaim", "claimName")) is not None:
            yield str(claim)
        elif volume.get("ephemeral") is not None:
            yield f"{name_of(pod)}-{volume.get('name', '')}"


def _claim_keys(pod: Obj, _: Resource, __: Cache) -> Iterable[Key]:
    return [Key(namespace_of(pod), claim) for claim in claims_of(pod)]


class ClaimProtectionController(Controller):
    name: ClassVar = "claim-protection"
    account: ClassVar = "pvc-protection-controller"
    primary: ClassVar = PERSISTENT_VOLUME_CLAIMS
    wakes: ClassVar = (Wakeup(PODS, _claim_keys),)
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        claim = self.cache.get(PERSISTENT_VOLUME_CLAIMS, key)
        if claim is not None and is_deleting(claim):
            pods = self.cache.list(PODS, namespace=key.namespace)
            in_use = any(key.name in claims_of(pod) for pod in pods if not is_finished(pod))
            await self.commit(plan_release(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_FINALIZER, in_use=in_use))
        return DONE


class VolumeProtectionController(Controller):
    name: ClassVar = "volume-protection"
    account: ClassVar = "pv-protection-controller"
    primary: ClassVar = PERSISTENT_VOLUMES
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        volume = self.cache.get(PERSISTENT_VOLUMES, key)
        if volume is not None:
            in_use = field_of(volume, "status", "phase") == "Bound"
            await self.commit(plan_release(PERSISTENT_VOLUMES, volume, VOLUME_FINALIZER, in_use=in_use))
        return DONE
