"""Claims and volumes go when nothing uses them any more."""

from __future__ import annotations

import pytest

from cluster.client.writes import Update
from cluster.controllers.volume_protection import CLAIM_FINALIZER, claims_of, plan_release
from cluster.machinery.objects import Key
from cluster.resources.builtin import PERSISTENT_VOLUME_CLAIMS, PODS
from tests.unit.controllers.cluster import cluster as running


@pytest.mark.parametrize(
    ("metadata", "in_use", "released"),
    [
        ({"deletionTimestamp": "t", "finalizers": ["other/x", CLAIM_FINALIZER]}, False, True),
        ({"deletionTimestamp": "t", "finalizers": [CLAIM_FINALIZER]}, True, False),
        ({"finalizers": [CLAIM_FINALIZER]}, False, False),
        ({"deletionTimestamp": "t", "finalizers": ["other/x"]}, False, False),
    ],
)
def test_only_what_is_deleted_and_unused_is_released(metadata, in_use, released):
    claim = {"metadata": {"name": "c", **metadata}}
    writes = plan_release(PERSISTENT_VOLUME_CLAIMS, claim, CLAIM_FINALIZER, in_use=in_use)
    assert [isinstance(write, Update) for write in writes] == [True] * released
    if released:
        assert writes[0].obj["metadata"]["finalizers"] == ["other/x"]


def test_a_pod_uses_the_claims_it_names_and_its_own():
    volumes = [
        {"name": "a", "persistentVolumeClaim": {"claimName": "c"}},
        {"name": "b", "ephemeral": {}},
        {"name": "d"},
    ]
    assert list(claims_of({"metadata": {"name": "p"}, "spec": {"volumes": volumes}})) == ["c", "p-b"]


async def test_a_deleted_claim_waits_for_its_pod():
    async with running() as cluster:
        metadata = {"name": "c", "namespace": "default"}
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        await cluster.api.create(PERSISTENT_VOLUME_CLAIMS, claim)
        volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
        pod_spec = {"containers": [{"name": "m", "image": "i:1"}], "volumes": volumes}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "name": "p"}, "spec": pod_spec}
        await cluster.api.create(PODS, pod)
        await cluster.api.delete(PERSISTENT_VOLUME_CLAIMS, Key("default", "c"))
        await cluster.settle(1)
        assert cluster.get(PERSISTENT_VOLUME_CLAIMS, "c") is not None
        await cluster.api.delete(PODS, Key("default", "p"))
        await cluster.until(lambda: cluster.get(PERSISTENT_VOLUME_CLAIMS, "c") is None)
