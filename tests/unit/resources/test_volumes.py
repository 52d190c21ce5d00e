"""PersistentVolumes and PersistentVolumeClaims: defaults, rules, what may change, rows."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.machinery.objects import Obj
from tests.unit.resources.kinds import CONTEXT, begin, cells, complaints, kind_of, named

VOLUME = kind_of("", "PersistentVolume")
CLAIM = kind_of("", "PersistentVolumeClaim")
ONCE = ["ReadWriteOnce"]
SPEC: Obj = {"capacity": {"storage": "1Gi"}, "accessModes": ONCE, "hostPath": {"path": "/data"}}
WANTED: Obj = {"accessModes": ONCE, "resources": {"requests": {"storage": "1Gi"}}}


def volume(**spec: Any) -> Obj:
    return named("v", spec={**SPEC, **spec})


def claim(**spec: Any) -> Obj:
    return named("c", "n", spec={**WANTED, **spec})


def sized(size: str) -> Obj:
    return {"requests": {"storage": size}}


def bound(obj: Obj, capacity: str = "1Gi") -> Obj:
    return {**obj, "status": {"phase": "Bound", "capacity": {"storage": capacity}, "accessModes": ONCE}}


def test_a_volume_is_kept_and_pending_at_first() -> None:
    made = VOLUME.strategy.prepare_create(volume(), CONTEXT)
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert made["spec"]["volumeMode"] == "Filesystem"
    assert made["spec"]["hostPath"] == {"path": "/data", "type": ""}
    assert made["status"] == {"phase": "Pending"}
    assert VOLUME.strategy.validate(made) == ()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value"),
        ({"accessModes": ["Any"]}, 'spec.accessModes: Unsupported value: "Any": supported values: "ReadOnlyMany", "ReadWr'),
        ({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]},
         "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"),
        ({"capacity": {}}, "spec.capacity: Required value"),
        ({"capacity": {"storage": "1", "iops": "1"}}, "spec.capacity: Unsupported value"),
        ({"capacity": {"storage": "0"}}, 'spec.capacity[storage]: Invalid value: "0": must be greater than zero'),
        ({"hostPath": None}, "spec: Required value: must specify a volume type"),
        ({"nfs": {"server": "s", "path": "/p"}}, "spec.nfs: Forbidden: may not specify more than 1 volume type"),
        ({"hostPath": {"path": "/a/../b"}}, 'spec.hostPath.path: Invalid value: "/a/../b": must not contain'),
        ({"hostPath": {}}, "spec.hostPath.path: Required value"),
        ({"hostPath": None, "local": {"path": "/d"}},
         "spec.nodeAffinity: Required value: Local volume requires node affinity"),
        ({"hostPath": None, "csi": {"driver": "d"}}, "spec.csi.volumeHandle: Required value"),
        ({"hostPath": None, "nfs": {"server": "s", "path": "p"}}, 'spec.nfs.path: Invalid value: "p": must be an absolute'),
        ({"hostPath": {"path": "/"}, "persistentVolumeReclaimPolicy": "Recycle"},
         "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath volume mapped to '/'"),
        ({"persistentVolumeReclaimPolicy": "Keep"}, "spec.persistentVolumeReclaimPolicy: Unsupported value"),
        ({"volumeMode": "Tape"}, 'spec.volumeMode: Unsupported value: "Tape": supported values: "Block", "Filesystem"'),
        ({"storageClassName": "A"}, "spec.storageClassName: Invalid value"),
        ({"nodeAffinity": {}}, "spec.nodeAffinity.required: Required value: must specify required node constraints"),
        ({"nodeAffinity": {"required": {"nodeSelectorTerms": []}}},
         "spec.nodeAffinity.required.nodeSelectorTerms: Required value: must have at least one node selector term"),
    ],
)  # fmt: skip
def test_a_volume_that_cannot_be_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(VOLUME, volume(**spec)), text)


def test_what_a_volume_is_made_of_never_changes() -> None:
    assert complaints(VOLUME, volume(capacity={"storage": "2Gi"}, claimRef={"name": "c"}), volume()) == []
    moved = volume(hostPath={"path": "/other"})
    assert begin(
        complaints(VOLUME, moved, volume()), "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is"
    )
    assert begin(
        complaints(VOLUME, volume(volumeMode="Block"), volume()), 'spec.volumeMode: Invalid value: "Block": field is'
    )


def test_a_claim_is_pending_at_first() -> None:
    made = CLAIM.strategy.prepare_create(claim(), CONTEXT)
    assert (made["spec"]["volumeMode"], made["status"]) == ("Filesystem", {"phase": "Pending"})
    assert CLAIM.strategy.validate(made) == ()


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"accessModes": []}, "spec.accessModes: Required value: at least 1 access mode is required"),
        ({"resources": {}}, "spec.resources[storage]: Required value"),
        ({"resources": sized("-1")}, 'spec.resources[storage]: Invalid value: "-1": must be greater than zero'),
        ({"volumeMode": "Tape"}, "spec.volumeMode: Unsupported value"),
        ({"selector": {"matchLabels": {"a": "-"}}}, "spec.selector.matchLabels: Invalid value"),
        ({"dataSource": {"kind": "Odd", "name": "x"}},
         'spec.dataSource: Invalid value: "Odd": must be \'PersistentVolumeClaim\' when referencing the default apiGroup'),
        ({"dataSource": {"kind": "PersistentVolumeClaim"}}, "spec.dataSource.name: Required value"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_bound_is_refused(spec: dict[str, Any], text: str) -> None:
    assert begin(complaints(CLAIM, claim(**spec)), text)


FIXED = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound"


@pytest.mark.parametrize(
    ("new", "old", "text"),
    [
        (claim(volumeName="v"), claim(), ""),
        (claim(storageClassName="default"), claim(), ""),
        (claim(storageClassName="other"), claim(storageClassName="one"), FIXED),
        (claim(volumeName="w"), claim(volumeName="v"), FIXED),
        (claim(accessModes=["ReadWriteMany"]), claim(), FIXED),
        (claim(resources=sized("2Gi")), claim(), FIXED),
        (claim(resources=sized("2Gi")), bound(claim()), ""),
        (claim(resources=sized("500Mi")), bound(claim()),
         "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"),
        (claim(resources=sized("2Gi")), bound(claim(resources=sized("3Gi"))), ""),
    ],
)  # fmt: skip
def test_what_may_change_of_a_claim(new: Obj, old: Obj, text: str) -> None:
    found = complaints(CLAIM, new, old)
    assert begin(found, text) if text else found == []


def test_the_rows() -> None:
    reference = {"claimRef": {"namespace": "n", "name": "c"}, "persistentVolumeReclaimPolicy": "Retain"}
    assert cells(VOLUME, {**volume(**reference, volumeMode="Block"), "status": {"phase": "Bound"}}) == [
        "v", "1Gi", "RWO", "Retain", "Bound", "n/c", "", "<unset>", "", "60s", "Block",
    ]  # fmt: skip
    assert cells(CLAIM, bound(claim(volumeName="v", storageClassName="fast"))) == [
        "c", "Bound", "v", "1Gi", "RWO", "fast", "<unset>", "60s", "<unset>",
    ]  # fmt: skip
    assert cells(CLAIM, {**claim(), "status": {"phase": "Pending"}})[1:5] == ["Pending", "", "", ""]
    going = {**claim(), "metadata": {"name": "c", "deletionTimestamp": "2025-01-01T11:59:30Z"}}
    assert cells(CLAIM, going)[1] == "Terminating"
