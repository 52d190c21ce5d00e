"""Runs as records: which prove a tree, and in which order they are shown and let go."""

from __future__ import annotations

from typing import Any

from cluster.machinery.objects import Obj, name_of
from reconciler.history.runs import newest_first, proven_trees


def run(name: str, *, version: str = "1", **spec: Any) -> Obj:
    known = {"finishedAt": "2024-01-01T12:00:00Z", "outcome": "Succeeded", "tree": name, "counts": {"held": 0}}
    return {"metadata": {"name": name, "resourceVersion": version}, "spec": {**known, **spec}}


def test_only_a_run_that_ended_healthy_with_nothing_held_proves_its_tree() -> None:
    runs = [run("good"), run("held", counts={"held": 3}), run("bad", outcome="Partial"), run("slow", outcome="Applied")]
    assert set(proven_trees(runs)) == {"good"}


def test_runs_of_one_second_are_in_the_order_they_were_stored() -> None:
    later = run("a", version="2", finishedAt="2024-01-01T12:00:01Z")
    runs = [run("z", version="9"), later, run("b", version="10")]
    assert [name_of(each) for each in newest_first(runs)] == ["a", "b", "z"]
