"""Claims get volumes, and volumes follow their claims: bound, released, removed.

A volume of the built-in class is a directory of the node that the scheduler chose (its `selected-node` annotation).
Upstream: pkg/controller/volume/persistentvolume.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from cluster.client.cache import Cache
from cluster.client.controller import DONE, Controller, Result, Wakeup
from cluster.client.writes import Delete, SetStatus
from cluster.controllers.persistent_volume_binding import (
    SELECTED_NODE,
    choose,
    class_of,
    phase_of,
    plan_bind,
    plan_expand,
    provisioned,
)
from cluster.machinery.objects import Key, Obj, annotations_of, field_of, is_deleting, uid_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from cluster.resources.local_path import DRIVER


def _claim_key(volume: Obj) -> Key | None:
    reference = field_of(volume, "spec", "claimRef", default={})
    return Key(reference.get("namespace", ""), reference.get("name", "")) if reference.get("name") else None


def _claims_for(volume: Obj, _: Resource, cache: Cache) -> Iterable[Key]:
    """The claim it is for; of a free volume, every claim that has none."""
    if (key := _claim_key(volume)) is not None:
        return (key,)
    return [_key(claim) for claim in cache.list(PERSISTENT_VOLUME_CLAIMS) if _is_unbound(claim)]


def _claims_of_class(storage_class: Obj, _: Resource, cache: Cache) -> Iterable[Key]:
    name = storage_class["metadata"]["name"]
    return [_key(claim) for claim in cache.list(PERSISTENT_VOLUME_CLAIMS) if class_of(claim) == name]


def _volumes_of(claim: Obj, _: Resource, cache: Cache) -> Iterable[Key]:
    """The volumes that say they are the claim's."""
    key = _key(claim)
    return [_key(volume) for volume in cache.list(PERSISTENT_VOLUMES) if _claim_key(volume) == key]


def _key(obj: Obj) -> Key:
    meta = obj["metadata"]
    return Key(meta.get("namespace", ""), meta["name"])


def _is_unbound(claim: Obj) -> bool:
    return not field_of(claim, "spec", "volumeName", default="")


class ClaimBinder(Controller):
    name: ClassVar = "persistent-volume-claims"
    account: ClassVar = "persistent-volume-binder"
    primary: ClassVar = PERSISTENT_VOLUME_CLAIMS
    wakes: ClassVar = (Wakeup(PERSISTENT_VOLUMES, _claims_for), Wakeup(STORAGE_CLASSES, _claims_of_class))
    reads: ClassVar = (NODES,)
    workers: ClassVar = 1  # Two claims must not be given one volume.

    async def reconcile(self, key: Key) -> Result:
        claim = self.cache.get(PERSISTENT_VOLUME_CLAIMS, key)
        if claim is None or is_deleting(claim):
            return DONE
        storage_class = self.cache.get(STORAGE_CLASSES, Key("", class_of(claim)))
        named = str(field_of(claim, "spec", "volumeName", default=""))
        if named:
            volume = self.cache.get(PERSISTENT_VOLUMES, Key("", named))
            held_by = field_of(volume, "spec", "claimRef", "uid", default="") if volume is not None else ""
            if volume is None or (held_by and held_by != uid_of(claim)):
                await self._lose(claim)
                return DONE
            await self.commit((*plan_expand(claim, volume, storage_class), *plan_bind(claim, volume)))
            return DONE
        waits = (storage_class or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
        selected = annotations_of(claim).get(SELECTED_NODE, "")
        volumes = self.cache.list(PERSISTENT_VOLUMES)
        if waits and not selected:
            # Only what is reserved for it by name may be bound before a pod says where.
            volumes = [volume for volume in volumes if _claim_key(volume) == key]
        volume = choose(claim, volumes)
        if volume is not None:
            await self.commit(plan_bind(claim, volume))
        elif waits and not selected:
            self._tell(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
        else:
            await self._provision(claim, storage_class, selected)
        return DONE

    async def _provision(self, claim: Obj, storage_class: Obj | None, selected: str) -> None:
        if not class_of(claim):
            self._tell(
                claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
            )
            return
        if storage_class is None:
            message = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
            self.recorder.event(claim, "Warning", "ProvisioningFailed", message)
            return
        if storage_class.get("provisioner") != DRIVER:
            self._tell(
                claim,
                "ExternalProvisioning",
                "Waiting for a volume to be created either by the external provisioner "
                f"'{storage_class.get('provisioner')}' or manually by the system administrator.",
            )
            return
        if field_of(claim, "spec", "volumeMode", default="") == "Block":
            self.recorder.event(claim, "Warning", "ProvisioningFailed", "a directory cannot be a block device")
            return
        nodes = self.cache.list(NODES)
        node = self.cache.get(NODES, Key("", selected)) if selected else next(iter(nodes), None)
        if node is None:
            self.recorder.event(claim, "Warning", "ProvisioningFailed", "there is no node to make the volume on")
            return
        await self.commit((provisioned(claim, storage_class, node),))
        self._tell(claim, "ProvisioningSucceeded", f"Successfully provisioned volume pvc-{uid_of(claim)}")

    async def _lose(self, claim: Obj) -> None:
        """The volume it was bound to is gone or another's."""
        if field_of(claim, "status", "phase") == "Bound":
            self.recorder.event(
                claim, "Warning", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            )
            await self.commit((SetStatus(PERSISTENT_VOLUME_CLAIMS, claim, {**claim["status"], "phase": "Lost"}),))

    def _tell(self, claim: Obj, reason: str, message: str) -> None:
        self.recorder.event(claim, "Normal", reason, message)


class VolumeBinder(Controller):
    name: ClassVar = "persistent-volumes"
    account: ClassVar = "persistent-volume-binder"
    primary: ClassVar = PERSISTENT_VOLUMES
    wakes: ClassVar = (Wakeup(PERSISTENT_VOLUME_CLAIMS, _volumes_of),)
    workers: ClassVar = 1

    async def reconcile(self, key: Key) -> Result:
        volume = self.cache.get(PERSISTENT_VOLUMES, key)
        if volume is None:
            return DONE
        claim_key = _claim_key(volume)
        claim = None if claim_key is None else self.cache.get(PERSISTENT_VOLUME_CLAIMS, claim_key)
        phase = phase_of(volume, claim)
        policy = field_of(volume, "spec", "persistentVolumeReclaimPolicy", default="Retain")
        await self.commit((SetStatus(PERSISTENT_VOLUMES, volume, {**(volume.get("status") or {}), "phase": phase}),))
        if phase == "Released" and policy == "Delete" and not is_deleting(volume):
            if field_of(volume, "spec", "csi", "driver") == DRIVER:
                await self.commit((Delete(PERSISTENT_VOLUMES, key, uid=uid_of(volume)),))
            else:
                self.recorder.event(volume, "Warning", "VolumeFailedDelete", "no plugin here can delete this volume")
        return DONE
