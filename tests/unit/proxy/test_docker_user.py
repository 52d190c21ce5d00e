"""What is edited in Docker's chain for users."""

from __future__ import annotations

from cluster.proxy.docker_user import Edit, plan_accepts, plan_removal
from cluster.proxy.ruleset import NodeNetwork

NETWORK = NodeNetwork("test", "rb-test", "10.244.0.0/16", "10.244.0.0/24")
IN = "-A DOCKER-USER -i rb-test -m comment --comment reconciler-test -j ACCEPT"
OUT = "-A DOCKER-USER -o rb-test -m comment --comment reconciler-test -j ACCEPT"
RETURN = "-A DOCKER-USER -j RETURN"
OTHERS = "-A DOCKER-USER -s 203.0.113.0/24 -j DROP"


def edits(*listing: str) -> list[str]:
    return [" ".join(edit.arguments) for edit in plan_accepts(["-N DOCKER-USER", *listing], NETWORK)]


def test_the_accepts_go_between_the_operators_rules_and_the_return() -> None:
    assert edits(OTHERS, RETURN) == [
        "-I DOCKER-USER 2 -i rb-test -m comment --comment reconciler-test -j ACCEPT",
        "-I DOCKER-USER 3 -o rb-test -m comment --comment reconciler-test -j ACCEPT",
    ]


def test_a_chain_that_is_right_is_left_alone() -> None:
    assert edits(OTHERS, IN, OUT, RETURN) == []
    assert edits(IN, OUT) == []


def test_half_a_pair_and_rules_that_are_never_reached_are_made_new() -> None:
    assert edits(OUT, RETURN) == [
        "-D DOCKER-USER -o rb-test -m comment --comment reconciler-test -j ACCEPT",
        "-I DOCKER-USER 1 -i rb-test -m comment --comment reconciler-test -j ACCEPT",
        "-I DOCKER-USER 2 -o rb-test -m comment --comment reconciler-test -j ACCEPT",
    ]
    assert edits(IN, RETURN, OUT)[-1].startswith("-I DOCKER-USER 2 -o")


def test_removal_touches_only_what_carries_our_mark() -> None:
    neighbour = IN.replace("reconciler-test", "reconciler-test2")
    assert plan_removal([neighbour, OTHERS, IN, RETURN], NETWORK) == (Edit(("-D", *IN.split(" ")[1:])),)
