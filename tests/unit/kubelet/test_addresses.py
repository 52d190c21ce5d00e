"""Ranges and addresses of the pod network."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kubelet.network.addresses import AddressPool, NoFreeAddress, NoFreeRange, choose_cidr
from cluster.kubelet.network.bridge import BridgeSettings

RANGES = st.builds(
    lambda at, length: str(IPv4Network((at, length), strict=False)),
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(10, 28),
)


def test_the_wanted_range_is_used_when_it_is_free() -> None:
    assert choose_cidr("10.244.0.0/16", ["172.17.0.0/16", "0.0.0.0/0", "192.168.1.7/24"]) == "10.244.0.0/16"


@pytest.mark.parametrize(
    ("wanted", "taken", "chosen"),
    [
        ("10.244.0.0/16", ["10.244.3.0/24"], "10.245.0.0/16"),
        ("10.255.0.0/16", ["10.255.0.0/16"], "10.0.0.0/16"),
        ("10.244.0.0/16", ["10.0.0.0/8"], "172.16.0.0/16"),
        ("10.244.0.0/16", ["10.0.0.0/8", "172.16.0.0/15"], "172.18.0.0/16"),
        ("192.168.0.0/20", ["192.168.0.0/16"], "10.0.0.0/20"),
    ],
)
def test_a_taken_range_gives_way_to_the_next_free_one(wanted: str, taken: list[str], chosen: str) -> None:
    assert choose_cidr(wanted, taken) == chosen


def test_no_free_range_is_an_error() -> None:
    with pytest.raises(NoFreeRange):
        choose_cidr("10.244.0.0/16", ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])


@given(RANGES, st.lists(RANGES, max_size=3))  # four could fill 10.0.0.0/8, and then there is none
def test_the_chosen_range_overlaps_nothing_and_has_the_wanted_size(wanted: str, taken: list[str]) -> None:
    chosen = IPv4Network(choose_cidr(wanted, taken))
    assert chosen.prefixlen == IPv4Network(wanted).prefixlen
    assert not any(chosen.overlaps(IPv4Network(one)) for one in taken)


def test_the_first_address_is_the_gateways_and_the_ends_are_never_given() -> None:
    pool = AddressPool("10.1.0.0/29")
    given_out = [pool.allocate(f"p{n}") for n in range(5)]
    assert pool.gateway_ip == "10.1.0.1"
    assert given_out == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6"]
    with pytest.raises(NoFreeAddress):
        pool.allocate("one too many")


def test_a_pod_keeps_its_address_and_a_freed_one_is_reused_last() -> None:
    pool = AddressPool("10.1.0.0/29")
    assert pool.allocate("a") == pool.allocate("a") == "10.1.0.2"
    pool.release("a")
    pool.release("a")
    assert [pool.allocate(name) for name in "bcdef"] == ["10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]


def test_adopted_addresses_are_not_given_again() -> None:
    pool = AddressPool("10.1.0.0/29")
    pool.adopt({"b": "10.1.0.3", "a": "10.1.0.5"})
    assert pool.of("a") == "10.1.0.5"
    assert [pool.allocate(name) for name in "xyz"] == ["10.1.0.6", "10.1.0.2", "10.1.0.4"]


@pytest.mark.parametrize(
    "addresses", [{"a": "10.2.0.2"}, {"a": "10.1.0.1"}, {"a": "10.1.0.7"}, {"a": "10.1.0.3", "b": "10.1.0.3"}]
)
def test_addresses_that_cannot_be_ours_are_refused(addresses: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"not in|two pods"):
        AddressPool("10.1.0.0/29").adopt(addresses)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), max_size=60))
def test_no_address_is_ever_held_twice(steps: list[tuple[bool, str]]) -> None:
    pool = AddressPool("10.1.0.0/28")
    held: dict[str, str] = {}
    for takes, pod in steps:
        if takes:
            held[pod] = pool.allocate(pod)
        else:
            pool.release(pod)
            held.pop(pod, None)
        assert len(set(held.values())) == len(held)


def test_names_fit_an_interface_and_differ_between_clusters() -> None:
    one, other = BridgeSettings("one", "10.1.0.0/24"), BridgeSettings("other", "10.1.0.0/24")
    assert one.bridge != other.bridge
    assert one.port("uid") != other.port("uid")
    assert max(len(one.bridge), len(one.port("uid"))) <= 15
    assert not one.bridge.startswith(one.port_prefix)
