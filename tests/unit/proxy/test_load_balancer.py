"""Which addresses a load balancer gets, and when it gets none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.client.writes import SetStatus
from cluster.proxy.host_ports import listening_ports, parse_listeners
from cluster.proxy.load_balancer import BalancerPlan, balancer_addresses, plan_load_balancer
from tests.unit.proxy.objects import service


def node(name: str, address: str, *, ready: bool = True, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


NODES = [node("n1", "192.0.2.1")]


def balancer(name: str = "web", *, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> dict[str, Any]:
    made = service(name, type="LoadBalancer", **spec)
    made["metadata"]["creationTimestamp"] = created
    return made


def given(plan: BalancerPlan) -> list[str]:
    assert len(plan.writes) == 1
    write = plan.writes[0]
    assert isinstance(write, SetStatus)
    return [one["ip"] for one in write.status["loadBalancer"].get("ingress", ())]


def test_a_load_balancer_gets_the_address_of_every_ready_node() -> None:
    nodes = [node("n2", "192.0.2.2"), *NODES, node("n3", "192.0.2.3", ready=False)]
    plan = plan_load_balancer(balancer(), [], nodes, set())
    assert given(plan) == ["192.0.2.1", "192.0.2.2"]
    assert plan.pending == ""


def test_what_is_right_is_not_written_again() -> None:
    assert plan_load_balancer(balancer(ingress=["192.0.2.1"]), [], NODES, set()) == BalancerPlan()


def test_nodes_may_be_excluded_and_while_none_is_ready_all_count() -> None:
    excluded = node("n2", "192.0.2.2", **{"node.kubernetes.io/exclude-from-external-load-balancers": ""})
    assert balancer_addresses([*NODES, excluded]) == ["192.0.2.1"]
    assert balancer_addresses([node("n1", "192.0.2.1", ready=False)]) == ["192.0.2.1"]


def test_a_port_of_the_host_is_not_taken_away() -> None:
    plan = plan_load_balancer(balancer(), [], NODES, {("TCP", 80)})
    assert plan.writes == ()
    assert "80/TCP is in use by a program of the host" in plan.pending
    assert plan_load_balancer(balancer(), [], NODES, {("UDP", 80)}).pending == ""


def test_of_two_that_want_one_port_the_older_gets_it_unless_the_other_has_it() -> None:
    old, new = balancer("old"), balancer("new", created="2026-02-01T00:00:00Z")
    assert "taken by Service default/old" in plan_load_balancer(new, [old, new], NODES, set()).pending
    assert given(plan_load_balancer(old, [old, new], NODES, set())) == ["192.0.2.1"]
    holder = balancer("new", created="2026-02-01T00:00:00Z", ingress=["192.0.2.1"])
    assert "taken by Service default/new" in plan_load_balancer(old, [old, holder], NODES, set()).pending


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"]}, "loadBalancerSourceRanges"),
        ({"ports": [{"port": 80, "protocol": "SCTP"}]}, "SCTP"),
    ],
)
def test_what_cannot_be_served_as_asked_stays_pending(spec: dict[str, Any], word: str) -> None:
    assert word in plan_load_balancer(balancer(**spec), [], NODES, set()).pending


def test_a_class_belongs_to_another_implementation() -> None:
    assert plan_load_balancer(balancer(loadBalancerClass="example.com/lb"), [], NODES, set()) == BalancerPlan()


def test_a_service_that_is_no_longer_a_load_balancer_loses_its_address() -> None:
    assert given(plan_load_balancer(service(ingress=["192.0.2.1"]), [], NODES, set())) == []


TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   2: 010200C0:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   3: 010200C0:8000 090200C0:0050 01 00000000:00000000 00:00000000 00000000     0
"""


def test_listeners_on_loopback_and_connections_are_no_ports_in_use(tmp_path: Path) -> None:
    assert parse_listeners(TCP, "TCP", "0A") == {("TCP", 22), ("TCP", 443)}
    (tmp_path / "tcp").write_text(TCP)
    (tmp_path / "tcp6").write_text(f"head\n 0: {'0' * 24}01000000:0035 {'0' * 32}:0000 0A\n")
    (tmp_path / "udp6").write_text(f"head\n 0: {'0' * 32}:0035 {'0' * 32}:0000 07\n")
    assert listening_ports(tmp_path) == {("TCP", 22), ("TCP", 443), ("UDP", 53)}
