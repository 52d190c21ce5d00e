from __future__ import annotations

import pytest

from cluster.controllers.garbage_collector import Collect, Drop, Owners, collectable, decide
from cluster.controllers.owner_graph import OwnerGraph, OwnerRef, Vertex
from cluster.machinery.objects import Key
from cluster.resources.builtin import BUILTIN, PODS

A, B, C = (OwnerRef("apps/v1", "ReplicaSet", name, f"uid-{name}", True) for name in "abc")


def vertex(name: str, *owners: OwnerRef, deleting: bool = False, finalizers: tuple[str, ...] = ()) -> Vertex:
    return Vertex(f"uid-{name}", PODS, Key("d", name), owners, deleting, finalizers)


@pytest.mark.parametrize(
    ("owners", "dependents", "expected"),
    [
        (Owners(present=(A,)), False, None),
        (Owners(absent=(A,)), False, Collect("Background")),
        (Owners(absent=(A, B)), True, Collect("Background")),
        (Owners(present=(A,), absent=(B,)), False, Drop(frozenset({"uid-b"}))),
        (Owners(present=(A,), waiting=(B,), absent=(C,)), False, Drop(frozenset({"uid-b", "uid-c"}))),
        (Owners(waiting=(A,)), True, Collect("Foreground")),
        (Owners(waiting=(A,)), False, Collect("Background")),
        (Owners(absent=(A,), unresolved=(B,)), False, None),
        (Owners(unresolved=(A,)), False, None),
    ],
)
def test_a_dependent_goes_only_when_every_owner_is_known_to_be_gone(
    owners: Owners, dependents: bool, expected: object
) -> None:
    assert decide(vertex("p", A), owners, has_dependents=dependents) == expected


def test_a_dependent_that_asks_to_orphan_its_own_is_deleted_so() -> None:
    assert decide(vertex("p", A, finalizers=("orphan",)), Owners(absent=(A,)), has_dependents=True) == Collect("Orphan")


def test_an_owner_that_goes_wakes_its_dependents_in_order() -> None:
    graph = OwnerGraph()
    graph.put(vertex("a"))
    assert graph.put(vertex("q", A)) == ("uid-q",)
    graph.put(vertex("p", A))
    assert graph.remove("uid-a") == ("uid-p", "uid-q")


def test_the_order_of_arrival_does_not_matter() -> None:
    graph = OwnerGraph()
    graph.put(vertex("p", A))
    graph.put(vertex("a"))
    assert [other.uid for other in graph.dependents("uid-a")] == ["uid-p"]


def test_a_foreground_deletion_wakes_dependents_and_the_last_of_them_wakes_the_owner() -> None:
    graph = OwnerGraph()
    graph.put(vertex("a"))
    graph.put(vertex("p", A))
    assert graph.put(vertex("a", deleting=True, finalizers=("foregroundDeletion",))) == ("uid-a", "uid-p")
    assert graph.remove("uid-p") == ("uid-a",)


def test_a_dependent_that_lets_go_of_its_owner_is_no_longer_one() -> None:
    graph = OwnerGraph()
    graph.put(vertex("p", A))
    graph.put(vertex("p"))
    assert graph.dependents("uid-a") == []


def test_virtual_resources_and_events_are_not_collected() -> None:
    names = {resource.plural for resource in collectable(BUILTIN)}
    assert "pods" in names
    assert not names & {"events", "tokenreviews", "selfsubjectaccessreviews"}
