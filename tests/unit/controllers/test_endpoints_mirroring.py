from __future__ import annotations

from typing import Any

import pytest

from cluster.client.writes import Create, Delete, Update
from cluster.controllers.endpoints_mirroring import is_mirrored, plan_mirror
from cluster.machinery.objects import Key
from cluster.resources.builtin import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from tests.unit.controllers.cluster import cluster

HTTP = {"name": "http", "port": 8080, "protocol": "TCP"}


def endpoints(*ips: str, waiting: tuple[str, ...] = (), **meta: Any) -> dict[str, Any]:
    subset: dict[str, Any] = {"ports": [HTTP]}
    if ips:
        subset["addresses"] = [{"ip": ip} for ip in ips]
    if waiting:
        subset["notReadyAddresses"] = [{"ip": ip} for ip in waiting]
    metadata = {"name": "db", "namespace": "default", "uid": "u", **meta}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": [subset]}


def service(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "db", "namespace": "default"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}


def made(slice_: Any, name: str = "db-x") -> dict[str, Any]:
    return {**slice_, "metadata": {**slice_["metadata"], "name": name, "uid": f"uid-{name}"}}


def test_each_address_family_has_a_slice_that_the_endpoints_own() -> None:
    first, second = plan_mirror(endpoints("192.0.2.1", "2001:db8::1", waiting=("192.0.2.2",)), [])
    assert isinstance(first, Create) and isinstance(second, Create)
    assert [first.obj["addressType"], second.obj["addressType"]] == ["IPv4", "IPv6"]
    assert first.obj["endpoints"] == [
        {"addresses": ["192.0.2.1"], "conditions": {"ready": True}},
        {"addresses": ["192.0.2.2"], "conditions": {"ready": False}},
    ]
    assert first.obj["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    assert first.obj["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == (
        "endpointslicemirroring-controller.k8s.io"
    )


def test_what_is_mirrored_already_is_left_and_a_change_rewrites_the_slice_in_place() -> None:
    (create,) = plan_mirror(endpoints("192.0.2.1"), [])
    assert isinstance(create, Create)
    present = made(create.obj)
    assert plan_mirror(endpoints("192.0.2.1"), [present]) == ()
    (update,) = plan_mirror(endpoints("192.0.2.9"), [present])
    assert isinstance(update, Update)
    assert update.obj["metadata"]["name"] == "db-x"
    (delete,) = plan_mirror({**endpoints(), "subsets": []}, [present])
    assert isinstance(delete, Delete)


@pytest.mark.parametrize(
    ("obj", "of", "mirrored"),
    [
        (endpoints("192.0.2.1"), service(), True),
        (endpoints("192.0.2.1"), None, False),
        (endpoints("192.0.2.1"), service(selector={"app": "db"}), False),
        (endpoints("192.0.2.1", labels={"endpointslice.kubernetes.io/skip-mirror": "true"}), service(), False),
        (endpoints("192.0.2.1", annotations={"control-plane.alpha.kubernetes.io/leader": "x"}), service(), False),
        (endpoints("192.0.2.1", deletionTimestamp="2026-01-01T00:00:00Z"), service(), False),
    ],
)
def test_only_endpoints_written_by_hand_for_a_service_without_selector(
    obj: dict[str, Any], of: dict[str, Any] | None, mirrored: bool
) -> None:
    assert is_mirrored(obj, of) is mirrored


async def test_slices_come_and_go_with_the_endpoints() -> None:
    async with cluster() as world:
        written = endpoints("192.0.2.1")
        del written["metadata"]["uid"]
        await world.api.create(SERVICES, service())
        await world.api.create(ENDPOINTS, written)

        def served() -> list[str]:
            return [
                address
                for slice_ in world.list(ENDPOINT_SLICES)
                if slice_["metadata"]["labels"].get("kubernetes.io/service-name") == "db"
                for entry in slice_.get("endpoints") or ()
                for address in entry["addresses"]
            ]

        await world.until(lambda: served() == ["192.0.2.1"])
        await world.api.delete(ENDPOINTS, Key("default", "db"))
        await world.until(lambda: served() == [])
