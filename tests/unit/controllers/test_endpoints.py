from __future__ import annotations

from typing import Any

from cluster.client.writes import Create, Delete, Update
from cluster.controllers.endpoints import plan_endpoints
from cluster.controllers.endpointslice import ENDPOINTS_MAX, plan_endpoint_slices
from tests.unit.controllers.objects import pod


def service(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "d", "name": "web", "uid": "uid-svc", "labels": {"team": "a"}},
        "spec": {
            "selector": {"app": "web"},
            "clusterIP": "10.96.0.5",
            "ipFamilies": ["IPv4"],
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
            **spec,
        },
    }


class Slices:
    """Slices as the server would keep them."""

    def __init__(self) -> None:
        self.slices: dict[str, dict[str, Any]] = {}
        self.written = 0

    def apply(self, svc: dict[str, Any], pods: list[dict[str, Any]]) -> int:
        writes = plan_endpoint_slices(svc, pods, list(self.slices.values()))
        for write in writes:
            self.written += 1
            match write:
                case Create(_, obj):
                    name = f"web-{self.written}"
                    metadata = {**obj["metadata"], "name": name, "uid": f"uid-{name}"}
                    self.slices[name] = {**obj, "metadata": metadata}
                case Update(_, obj):
                    self.slices[obj["metadata"]["name"]] = dict(obj)
                case Delete(_, key):
                    del self.slices[key.name]
                case _:
                    raise AssertionError(write)
        return len(writes)

    def addresses(self) -> list[str]:
        return sorted(e["addresses"][0] for s in self.slices.values() for e in s["endpoints"])


def pods(count: int, **more: Any) -> list[dict[str, Any]]:
    return [pod(f"p{n:04}", ip=f"10.244.{n // 250}.{n % 250 + 2}", **more) for n in range(count)]


def test_ready_pods_become_endpoints_with_the_target_port() -> None:
    slices = Slices()
    slices.apply(service(), pods(2))
    (slice_,) = slices.slices.values()
    assert slice_["metadata"]["labels"] == {
        "team": "a",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert slice_["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert slice_["endpoints"][0] == {
        "addresses": ["10.244.0.2"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": "d", "name": "p0000", "uid": "uid-p0000"},
        "nodeName": "n1",
    }


def test_planning_again_plans_nothing() -> None:
    slices = Slices()
    slices.apply(service(), pods(250))
    assert slices.apply(service(), list(reversed(pods(250)))) == 0


def test_one_changed_pod_rewrites_one_slice() -> None:
    slices = Slices()
    all_pods = pods(3 * ENDPOINTS_MAX)
    slices.apply(service(), all_pods)
    assert len(slices.slices) == 3
    all_pods[150] = pod("p0150", ip="10.244.9.9")
    assert slices.apply(service(), all_pods) == 1
    assert "10.244.9.9" in slices.addresses()


def test_slices_that_empty_are_deleted_but_one_stands_for_a_service_without_pods() -> None:
    slices = Slices()
    slices.apply(service(), pods(250))
    slices.apply(service(), [])
    assert [s["endpoints"] for s in slices.slices.values()] == [[]]
    assert slices.apply(service(), []) == 0


def test_a_terminating_pod_still_serves_but_is_not_ready() -> None:
    slices = Slices()
    slices.apply(service(), pods(1, deleting=True))
    (slice_,) = slices.slices.values()
    assert slice_["endpoints"][0]["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_unready_addresses_are_published_when_asked_for() -> None:
    slices = Slices()
    slices.apply(service(publishNotReadyAddresses=True), pods(1, ready=False))
    (slice_,) = slices.slices.values()
    assert slice_["endpoints"][0]["conditions"]["ready"] is True
    assert slice_["endpoints"][0]["conditions"]["serving"] is False


def test_a_named_port_is_what_each_pod_calls_so() -> None:
    named = service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    old = pod("old", ip="10.244.0.2", containers=[{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}])
    new = pod("new", ip="10.244.0.3", containers=[{"name": "c", "ports": [{"name": "web", "containerPort": 9090}]}])
    slices = Slices()
    slices.apply(named, [old, new])
    found = {s["ports"][0]["port"]: s["endpoints"][0]["addresses"] for s in slices.slices.values()}
    assert found == {8080: ["10.244.0.2"], 9090: ["10.244.0.3"]}


def test_finished_pods_and_pods_without_an_address_are_left_out() -> None:
    slices = Slices()
    slices.apply(service(), [pod("a", phase="Failed", ip="10.244.0.2"), pod("b"), pod("c", ip="10.244.0.3")])
    assert slices.addresses() == ["10.244.0.3"]


def test_a_pod_of_a_headless_service_keeps_its_host_name() -> None:
    headless = service(clusterIP="None")
    slices = Slices()
    slices.apply(headless, [pod("db-0", ip="10.244.0.2", hostname="db-0", subdomain="web")])
    (slice_,) = slices.slices.values()
    assert slice_["endpoints"][0]["hostname"] == "db-0"
    assert slice_["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_endpoints_keep_ready_and_unready_addresses_apart() -> None:
    (write,) = plan_endpoints(service(), [pod("b", ip="10.244.0.3"), pod("a", ip="10.244.0.2", ready=False)], None)
    assert isinstance(write, Create)
    (subset,) = write.obj["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.244.0.3"]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.244.0.2"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert (
        plan_endpoints(service(), [pod("b", ip="10.244.0.3"), pod("a", ip="10.244.0.2", ready=False)], write.obj) == ()
    )
