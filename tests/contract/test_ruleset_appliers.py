"""Every applier of packet rules: the kernel's nftables, and the simulated packet filter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from cluster.proxy.diff import Transaction, transaction
from cluster.proxy.nft import NftApplier, RulesetApplier, RulesetRefused
from cluster.proxy.ruleset import NodeNetwork, Ruleset, ruleset
from cluster.proxy.services import Endpoint, Frontend, ServiceMap
from cluster.simulation.packets import HostView, SimulatedPackets
from tests.real.network.hosts import Host

NETWORK = NodeNetwork("suite", "rb-suite", "10.244.0.0/16", "10.244.0.0/24")


@pytest.fixture(params=["simulated", pytest.param("nft", marks=pytest.mark.needs("root", "nft", "ip"))])
def applier(request: pytest.FixtureRequest) -> Iterator[RulesetApplier]:
    if request.param == "simulated":
        yield SimulatedPackets(NETWORK.table, HostView(frozenset(), ()), pick=lambda count: 0)
        return
    host = Host("k")
    yield NftApplier(NETWORK.table, commands=host.commands)
    host.close()


def rules(count: int, *, affinity: bool = False) -> Ruleset:
    endpoints = tuple(sorted(Endpoint(f"10.244.0.{number + 2}", 80) for number in range(count)))
    fronts = itertools.product(("10.96.0.7", ""), ("TCP", "UDP"), (80, 90))
    made = [Frontend(*front, endpoints, affinity, masquerade=not front[0]) for front in fronts]
    return ruleset(ServiceMap(tuple(sorted(made)), ("10.96.0.7",)), NETWORK)


async def test_what_was_applied_is_read_back(applier: RulesetApplier) -> None:
    assert await applier.read() is None
    applied = None
    for wanted in (rules(2), rules(3), rules(0), rules(2, affinity=True), rules(20), rules(1)):
        await applier.apply(transaction(applied, wanted))
        applied = wanted
        installed = await applier.read()
        assert installed is not None
        assert installed.elements == wanted.elements


async def test_elements_leave_the_structure_as_it_is(applier: RulesetApplier) -> None:
    await applier.apply(transaction(None, rules(2)))
    before = await applier.read()
    await applier.apply(transaction(rules(2), rules(5)))
    after = await applier.read()
    assert before is not None
    assert after is not None
    assert before.structure == after.structure


async def test_a_refused_transaction_changes_nothing(applier: RulesetApplier) -> None:
    await applier.apply(transaction(None, rules(2)))
    before = await applier.read()
    table = f"element ip {NETWORK.table}"
    text = f"add {table} cluster_ips {{ 10.96.0.8 }}\ndelete {table} cluster_ips {{ 10.96.0.99 }}\n"
    with pytest.raises(RulesetRefused):
        await applier.apply(Transaction(text, deleted=1, added=1, is_full=False))
    assert await applier.read() == before


async def test_removal_leaves_nothing_and_can_be_repeated(applier: RulesetApplier) -> None:
    await applier.apply(transaction(None, rules(2)))
    await applier.remove()
    await applier.remove()
    assert await applier.read() is None
