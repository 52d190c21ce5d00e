"""pods/resize: cpu and memory of containers change, nothing else does, and everybody is told what that does here."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.client.transport import Patch, PatchType, Query, Transport
from cluster.machinery.errors import Invalid
from cluster.machinery.objects import Key, Obj, field_of
from cluster.resources.builtin import PODS
from cluster.resources.pod_defaults import default_pod
from cluster.resources.pod_resize import prepare_resize, validate_resize
from tests.apiservers import ADMIN, running

KEY = Key("default", "p")
RESOURCES: Obj = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}


def pod(**container: Any) -> Obj:
    spec = {"containers": [{"name": "c", "image": "i:1", "resources": RESOURCES, **container}]}
    meta = {"name": "p", "namespace": "default", "generation": 1}
    return default_pod({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})


def complaints(old: Obj, new: Obj) -> list[str]:
    prepared = prepare_resize(new, old)
    return [f"{cause.field}: {cause.message}" for cause in validate_resize(prepared, old)]


def test_only_resources_are_taken_over() -> None:
    smaller = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    made = prepare_resize(pod(image="other", resources=smaller), pod())
    assert made["spec"]["containers"][0]["image"] == "i:1"
    assert made["spec"]["containers"][0]["resources"] == smaller
    assert made["metadata"]["generation"] == 2
    assert prepare_resize(pod(image="other"), pod()) == pod()


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        ({"requests": {"cpu": "1", "memory": "1Gi"}},
         "spec.containers[0].resources: Forbidden: resource limits cannot be removed"),
        ({**RESOURCES, "requests": RESOURCES["limits"]},
         'spec: Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing'),
        ({**RESOURCES, "limits": {**RESOURCES["limits"], "ephemeral-storage": "1Gi"}},
         "spec: Forbidden: only cpu and memory resources are mutable"),
        ({**RESOURCES, "limits": {"cpu": "2", "memory": "1Gi"}},
         "spec.containers[0].resources.limits: Forbidden: memory limits cannot be decreased unless resizePolicy is Restart"),
        ({**RESOURCES, "requests": {"cpu": "3", "memory": "1Gi"}},
         'spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to cpu limit of 2'),
    ],
)  # fmt: skip
def test_what_no_running_pod_can_do_is_refused(resources: Obj, text: str) -> None:
    assert complaints(pod(), pod(resources=resources))[0].startswith(text)


def test_a_container_that_restarts_for_it_may_have_less_memory() -> None:
    policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    less = {**RESOURCES, "limits": {"cpu": "2", "memory": "1Gi"}}
    assert complaints(pod(resizePolicy=policy), pod(resizePolicy=policy, resources=less)) == []


async def test_the_endpoint_changes_what_the_plain_one_refuses() -> None:
    async with running() as server:
        admin: Transport = server.transport(ADMIN)
        created = pod()
        await admin.create(PODS, {**created, "metadata": {"name": "p", "namespace": "default"}})
        body = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}]}}
        patch = Patch(PatchType.STRATEGIC, body)
        with pytest.raises(Invalid, match="pod updates may not change fields"):
            await admin.patch(PODS, KEY, patch)
        resized = await admin.patch(PODS, KEY, patch, subresource="resize")
        cpu = ("requests", "cpu")
        assert field_of(resized["spec"]["containers"][0], "resources", *cpu) == "1500m"
        (listed,) = (await admin.list(PODS, Query(namespace="default"))).items
        assert listed == resized
