from __future__ import annotations

from typing import Any

import pytest

from cluster.client.writes import PatchObject, SetStatus, Update
from cluster.controllers.persistent_volume_binding import choose, phase_of, plan_bind, plan_expand, provisioned
from cluster.machinery.objects import name_of
from cluster.resources.local_path import DRIVER, local_path_class


def claim(size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, "storageClassName": "s"}
    return {
        "metadata": {"namespace": "d", "name": "data", "uid": "u1"},
        "spec": base | spec,
        "status": {"phase": "Pending"},
    }


def volume(name: str, size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}, "storageClassName": "s"}
    return {"metadata": {"name": name}, "spec": base | spec}


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        ([volume("big", "5Gi"), volume("small", "2Gi"), volume("tiny", "1Mi")], "small"),
        ([volume("b"), volume("a")], "a"),
        ([volume("a", accessModes=["ReadOnlyMany"])], None),
        ([volume("a", storageClassName="other")], None),
        ([volume("a", volumeMode="Block")], None),
        ([volume("a", claimRef={"namespace": "d", "name": "other", "uid": "u2"})], None),
        ([volume("a"), volume("mine", claimRef={"namespace": "d", "name": "data"})], "mine"),
        ([volume("a", claimRef={"namespace": "d", "name": "data", "uid": "an earlier one"})], None),
    ],
)
def test_a_claim_gets_what_is_reserved_for_it_or_the_smallest_that_fits(
    volumes: list[Any], expected: str | None
) -> None:
    chosen = choose(claim(), volumes)
    assert (None if chosen is None else name_of(chosen)) == expected


def test_binding_goes_volume_first_then_claim_then_status_and_ends() -> None:
    wanted, free = claim(), volume("v")
    (reserve,) = plan_bind(wanted, free)
    assert isinstance(reserve, Update)
    (point,) = plan_bind(wanted, reserve.obj)
    assert isinstance(point, Update)
    assert point.obj["spec"]["volumeName"] == "v"
    (status,) = plan_bind(point.obj, reserve.obj)
    assert isinstance(status, SetStatus)
    assert status.status == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    assert phase_of(reserve.obj, point.obj) == "Bound"


def test_a_volume_whose_claim_was_deleted_or_made_anew_is_released() -> None:
    held = volume("v", claimRef={"namespace": "d", "name": "data", "uid": "u0"})
    assert phase_of(held, None) == "Released"
    assert phase_of(held, claim()) == "Released"
    assert phase_of(volume("v"), None) == "Available"


def test_a_made_volume_is_reserved_for_its_claim_on_the_chosen_node_and_grows_with_it() -> None:
    node = {"metadata": {"name": "n1", "labels": {"kubernetes.io/hostname": "host-1"}}}
    made = provisioned(claim(), local_path_class(), node).obj
    assert made["spec"]["csi"] == {"driver": DRIVER, "volumeHandle": "pvc-u1"}
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["host-1"]
    (grow,) = plan_expand(claim("2Gi"), made, local_path_class())
    assert isinstance(grow, PatchObject)
    assert grow.patch.body == {"spec": {"capacity": {"storage": "2Gi"}}}
    assert plan_expand(claim("2Gi"), made, {"allowVolumeExpansion": False}) == ()
    assert plan_expand(claim("1Mi"), made, local_path_class()) == ()
