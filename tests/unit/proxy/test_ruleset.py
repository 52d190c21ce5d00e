"""The table a service map becomes, and what changes of it cost."""

from __future__ import annotations

import pytest

from cluster.proxy.diff import transaction
from cluster.proxy.ruleset import NodeNetwork, Ruleset, ruleset
from cluster.proxy.services import Endpoint, Frontend, ServiceMap

NETWORK = NodeNetwork("test", "rb-test", "10.244.0.0/16", "10.244.0.0/24")


def endpoints(count: int) -> tuple[Endpoint, ...]:
    return tuple(sorted(Endpoint(f"10.244.0.{number + 2}", 8080) for number in range(count)))


def rules(*frontends: Frontend) -> Ruleset:
    return ruleset(ServiceMap(tuple(sorted(frontends))), NETWORK)


def test_each_endpoint_has_a_slot() -> None:
    made = rules(Frontend("10.96.0.1", "TCP", 80, endpoints(3)))
    assert made.elements["frontends"] == {"10.96.0.1 . tcp . 80": "goto spread_3"}
    assert made.elements["endpoints"] == {
        "10.96.0.1 . tcp . 80 . 0": "10.244.0.2 . 8080",
        "10.96.0.1 . tcp . 80 . 1": "10.244.0.3 . 8080",
        "10.96.0.1 . tcp . 80 . 2": "10.244.0.4 . 8080",
    }


def test_a_frontend_without_endpoints_is_rejected() -> None:
    made = rules(Frontend("10.96.0.1", "TCP", 80), Frontend("", "UDP", 30053))
    assert made.elements["rejected"] == {"10.96.0.1 . tcp . 80": ""}
    assert made.elements["rejected_ports"] == {"udp . 30053": ""}
    assert made.elements["frontends"] == made.elements["ports"] == {}


def test_only_pods_of_this_node_can_reach_themselves_through_it() -> None:
    made = rules(Frontend("10.96.0.1", "TCP", 80, (Endpoint("10.244.0.9", 80), Endpoint("10.244.7.9", 80))))
    assert made.elements["hairpin"] == {"10.244.0.9 . 10.244.0.9": ""}


def _owners(made: Ruleset) -> dict[str, str]:
    return dict(made.elements["endpoints"])


def test_affinity_shares_clients_evenly_and_a_new_endpoint_takes_only_its_share() -> None:
    before = _owners(rules(Frontend("10.96.0.1", "TCP", 80, endpoints(3), affinity=True)))
    after = _owners(rules(Frontend("10.96.0.1", "TCP", 80, endpoints(4), affinity=True)))
    shares = [list(before.values()).count(f"{one.address} . 8080") for one in endpoints(3)]
    assert sum(shares) == 64 and min(shares) > 10
    moved = [key for key in before if before[key] != after[key]]
    assert moved and all(after[key] == "10.244.0.5 . 8080" for key in moved)


def test_affinity_leads_a_client_to_one_pod_for_all_ports() -> None:
    one = _owners(rules(Frontend("10.96.0.1", "TCP", 80, endpoints(3), affinity=True)))
    moved = tuple(Endpoint(each.address, 9090) for each in endpoints(3))
    two = _owners(rules(Frontend("10.96.0.1", "TCP", 90, moved, affinity=True)))
    assert [v.split(" ")[0] for v in one.values()] == [v.split(" ")[0] for v in two.values()]


def test_equal_maps_print_equally_and_change_nothing() -> None:
    frontends = [Frontend("10.96.0.2", "TCP", 80, endpoints(2)), Frontend("", "TCP", 30080, endpoints(1))]
    assert rules(*frontends).text() == rules(*reversed(frontends)).text()
    assert transaction(rules(*frontends), rules(*frontends)).is_empty


def test_scaling_one_service_changes_only_its_own_elements() -> None:
    others = [Frontend(f"10.96.1.{number}", "TCP", 80, endpoints(3)) for number in range(50)]
    change = transaction(
        rules(*others, Frontend("10.96.0.1", "TCP", 80, endpoints(2))),
        rules(*others, Frontend("10.96.0.1", "TCP", 80, endpoints(3))),
    )
    assert not change.is_full
    assert (change.deleted, change.added) == (1, 2)  # the verdict; the verdict and a slot
    assert "10.96.1." not in change.text


def test_more_endpoints_than_chains_replace_the_table() -> None:
    change = transaction(rules(), rules(Frontend("10.96.0.1", "TCP", 80, endpoints(17))))
    assert change.is_full
    assert change.text.startswith("add table ip reconciler-test\ndelete table ip reconciler-test\n")
    assert "chain spread_17 {" in change.text


def test_an_unknown_table_is_replaced() -> None:
    assert transaction(None, rules()).is_full


@pytest.mark.parametrize("name", ["", "a b", 'x"; flush ruleset', "-x", "X", "a" * 41])
def test_a_cluster_id_that_cannot_name_a_table_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a table"):
        NodeNetwork(name, "rb-test", "10.244.0.0/16", "10.244.0.0/24")


def test_a_bridge_name_with_syntax_in_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no interface name"):
        NodeNetwork("test", 'rb" drop', "10.244.0.0/16", "10.244.0.0/24")
