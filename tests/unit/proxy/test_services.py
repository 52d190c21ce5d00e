"""Which frontends a Service has on a node, and which endpoints serve each."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.proxy.services import Endpoint, Frontend, NodeFacts, ServiceMap, service_map
from tests.unit.proxy.objects import endpoint, endpoint_slice, pod, service

NODE = NodeFacts("n1", ("192.0.2.1",))
A, B = Endpoint("10.244.0.5", 8080), Endpoint("10.244.1.6", 8080)


def decided(service_: dict[str, Any], *endpoints: dict[str, Any]) -> ServiceMap:
    return service_map([service_], [endpoint_slice("web", *endpoints)], [], NODE)


def test_a_cluster_address_is_served_by_all_ready_endpoints_in_order() -> None:
    found = decided(service(), endpoint("10.244.1.6", node="n2"), endpoint("10.244.0.5"))
    assert found.frontends == (Frontend("10.96.0.7", "TCP", 80, (A, B)),)
    assert found.cluster_ips == ("10.96.0.7",)


def test_endpoints_that_are_not_ready_serve_nothing() -> None:
    found = decided(service(), endpoint("10.244.0.5", ready=False), endpoint("10.244.1.6", ready=True))
    assert found.frontends[0].endpoints == (B,)


def test_endpoints_that_end_but_still_serve_are_the_last_resort() -> None:
    ending = endpoint("10.244.0.5", ready=False, serving=True, terminating=True)
    assert decided(service(), ending).frontends[0].endpoints == (A,)
    assert decided(service(), ending, endpoint("10.244.1.6", ready=True)).frontends[0].endpoints == (B,)


def test_an_endpoint_that_ends_and_no_longer_serves_is_not_used() -> None:
    found = decided(service(), endpoint("10.244.0.5", ready=False, serving=False, terminating=True))
    assert found.frontends[0].endpoints == ()


@pytest.mark.parametrize(
    "alias",
    [
        service(cluster_ip="None"),
        service(type="ExternalName", externalName="elsewhere.example"),
        service(cluster_ip=""),
    ],
)
def test_headless_services_and_aliases_have_no_rules(alias: dict[str, Any]) -> None:
    assert decided(alias, endpoint("10.244.0.5")) == ServiceMap()


def test_a_named_port_takes_the_number_of_its_slice() -> None:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    slices = [
        endpoint_slice("web", endpoint("10.244.0.5"), name="a", port=8080, port_name="http"),
        endpoint_slice("web", endpoint("10.244.1.6"), name="b", port=8081, port_name="http"),
        endpoint_slice("web", endpoint("10.244.0.5"), name="c", port=5353, port_name="dns", protocol="UDP"),
        endpoint_slice("other", endpoint("10.244.0.9"), name="d", port=1, port_name="http"),
    ]
    found = service_map([service(ports=ports)], slices, [], NODE)
    assert found.frontends == (
        Frontend("10.96.0.7", "TCP", 80, (A, Endpoint("10.244.1.6", 8081))),
        Frontend("10.96.0.7", "UDP", 53, (Endpoint("10.244.0.5", 5353),)),
    )


NODE_PORT = [{"port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30080}]


def test_a_node_port_answers_on_every_address_and_hides_the_client() -> None:
    found = decided(service(type="NodePort", ports=NODE_PORT), endpoint("10.244.1.6", node="n2"))
    assert Frontend("", "TCP", 30080, (B,), masquerade=True) in found.frontends


def test_external_policy_local_keeps_the_client_and_uses_this_nodes_endpoints_only() -> None:
    local = service(type="NodePort", ports=NODE_PORT, externalTrafficPolicy="Local")
    found = decided(local, endpoint("10.244.0.5", node="n1"), endpoint("10.244.1.6", node="n2"))
    assert found.frontends == (Frontend("", "TCP", 30080, (A,)), Frontend("10.96.0.7", "TCP", 80, (A, B)))


def test_internal_policy_local_uses_this_nodes_endpoints_only() -> None:
    found = decided(service(internalTrafficPolicy="Local"), endpoint("10.244.1.6", node="n2"))
    assert found.frontends == (Frontend("10.96.0.7", "TCP", 80, ()),)


def test_a_load_balancer_is_served_on_addresses_of_this_node_alone() -> None:
    found = decided(service(type="LoadBalancer", ingress=["192.0.2.1", "192.0.2.99"]), endpoint("10.244.0.5"))
    assert {one.address for one in found.frontends} == {"10.96.0.7", "192.0.2.1"}


def test_what_cannot_be_enforced_is_refused_with_a_reason() -> None:
    sctp = [{"port": 80, "protocol": "SCTP"}]
    found = decided(service(ports=sctp, externalIPs=["198.51.100.1"]), endpoint("10.244.0.5"))
    assert found.frontends == ()
    assert ["externalIPs" in one.reason or "SCTP" in one.reason for one in found.refused] == [True, True]
    ranged = service(type="LoadBalancer", ingress=["192.0.2.1"], loadBalancerSourceRanges=["10.0.0.0/8"])
    found = decided(ranged, endpoint("10.244.0.5"))
    assert {one.address for one in found.frontends} == {"10.96.0.7"}
    assert "loadBalancerSourceRanges" in found.refused[0].reason


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "10.1.1.1; drop", "::1"])
def test_an_endpoint_must_not_lead_to_the_node_itself_or_to_metadata(address: str) -> None:
    assert decided(service(), endpoint(address)).frontends[0].endpoints == ()


def test_session_affinity_is_the_services() -> None:
    assert decided(service(sessionAffinity="ClientIP"), endpoint("10.244.0.5")).frontends[0].affinity


def test_host_ports_of_running_pods_are_frontends() -> None:
    found = service_map([], [], [pod(containerPort=8080, hostPort=9000)], NODE)
    assert found.frontends == (Frontend("", "TCP", 9000, (A,)),)
    found = service_map([], [], [pod(containerPort=8080, hostPort=9000, hostIP="192.0.2.1")], NODE)
    assert found.frontends == (Frontend("192.0.2.1", "TCP", 9000, (A,)),)


def test_host_ports_end_with_the_pod_and_are_not_for_pods_in_the_hosts_network() -> None:
    finished = pod(containerPort=8080, hostPort=9000)
    finished["status"]["phase"] = "Succeeded"
    on_host = pod(containerPort=8080, hostPort=9000)
    on_host["spec"]["hostNetwork"] = True
    assert service_map([], [], [finished, on_host, pod(containerPort=8080)], NODE) == ServiceMap()


def test_a_frontend_wanted_twice_is_the_first_services() -> None:
    one = service("a", type="NodePort", ports=NODE_PORT)
    two = service("b", cluster_ip="10.96.0.8", type="NodePort", ports=NODE_PORT)
    slices = [endpoint_slice("a", endpoint("10.244.0.5")), endpoint_slice("b", endpoint("10.244.1.6"))]
    for order in ([one, two], [two, one]):
        found = service_map(order, slices, [], NODE)
        assert [f.endpoints for f in found.frontends if f.port == 30080] == [(A,)]
