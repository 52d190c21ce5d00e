from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.client.writes import Create, Delete, Update
from cluster.controllers.deployment import plan_deployment
from cluster.controllers.deployment_revisions import HASH_LABEL, REVISION, REVISION_HISTORY, template_hash
from cluster.controllers.deployment_rollout import limits_of
from cluster.controllers.deployment_status import next_look_s, status_of
from cluster.machinery.conditions import get_condition
from cluster.resources.builtin import DEPLOYMENTS
from tests.unit.controllers.objects import deployment, replica_set, template

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class World:
    """A Deployment and its ReplicaSets, whose pods become available when the test says so."""

    def __init__(self, dep: dict[str, Any]) -> None:
        self.deployment = dep
        self.replica_sets: dict[str, dict[str, Any]] = {}
        self.clock = 0

    def step(self) -> bool:
        """Carry out one plan; False when there was nothing to do."""
        sets = list(self.replica_sets.values())
        run = any(rs["status"].get("replicas") for rs in sets if _image(rs) != _image(self.deployment))
        plan = plan_deployment(self.deployment, sets, old_pods_run=run)
        for write in plan.writes:
            match write:
                case Create(_, obj):
                    self.clock += 1
                    name = obj["metadata"]["name"]
                    assert name not in self.replica_sets
                    created = f"2026-01-01T00:00:{self.clock:02}Z"
                    metadata = {**obj["metadata"], "uid": f"uid-{name}", "creationTimestamp": created, "generation": 1}
                    self.replica_sets[name] = {**obj, "metadata": metadata, "status": {"observedGeneration": 1}}
                case Update(resource, obj) if resource == DEPLOYMENTS:
                    self.deployment = dict(obj)
                case Update(_, obj):
                    self.replica_sets[obj["metadata"]["name"]] = dict(obj)
                case Delete(_, key):
                    del self.replica_sets[key.name]
                case _:
                    raise AssertionError(write)
        return bool(plan.writes)

    def pods_follow(self, name: str, available: int | None = None) -> None:
        rs = self.replica_sets[name]
        size = rs["spec"]["replicas"]
        ready = min(size, size if available is None else available)
        status = {"observedGeneration": 1, "replicas": size, "readyReplicas": ready, "availableReplicas": ready}
        self.replica_sets[name] = {**rs, "status": status}

    def settle(self) -> None:
        for _ in range(200):
            moved = self.step()
            for name in self.replica_sets:
                self.pods_follow(name)
            if not moved and not self.step():
                return
        raise AssertionError("the rollout does not settle")

    def ask(self, **spec: Any) -> None:
        self.deployment = {**self.deployment, "spec": {**self.deployment["spec"], **spec}}

    def sizes(self) -> dict[str, int]:
        return {_image(rs): rs["spec"]["replicas"] for rs in self.replica_sets.values()}

    def serving(self) -> int:
        """Available replicas that are not about to go."""
        return sum(
            min(rs["status"].get("availableReplicas", 0), rs["spec"]["replicas"]) for rs in self.replica_sets.values()
        )

    def revisions(self) -> dict[str, str]:
        return {_image(rs): rs["metadata"]["annotations"][REVISION] for rs in self.replica_sets.values()}


def _image(obj: dict[str, Any]) -> str:
    return str(obj["spec"]["template"]["spec"]["containers"][0]["image"])


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, 0, 0, (0, 1)),
        (3, 1, 0, (1, 0)),
        (0, 0, "25%", (0, 0)),
        (4, "100%", "100%", (4, 4)),
    ],
)
def test_surge_rounds_up_and_unavailable_down(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    limits = limits_of(deployment(replicas=replicas, strategy=rolling))
    assert (limits.surge, limits.unavailable) == expected


def test_a_new_deployment_gets_a_replica_set_with_its_hash_and_revision() -> None:
    plan = plan_deployment(deployment(), [], old_pods_run=False)
    (create,) = plan.writes
    assert isinstance(create, Create)
    hash_ = create.obj["metadata"]["labels"][HASH_LABEL]
    assert create.obj["metadata"]["name"] == f"web-{hash_}"
    assert create.obj["spec"]["selector"]["matchLabels"] == {"app": "web", HASH_LABEL: hash_}
    assert create.obj["spec"]["template"]["metadata"]["labels"][HASH_LABEL] == hash_
    assert create.obj["spec"]["replicas"] == 3
    assert create.obj["metadata"]["annotations"][REVISION] == "1"
    assert plan.notes[0].message == f"Scaled up replica set web-{hash_} from 0 to 3"


def test_the_hash_differs_by_template_and_by_collision() -> None:
    assert len({template_hash(template("a"), 0), template_hash(template("b"), 0), template_hash(template("a"), 1)}) == 3


def test_a_rollout_ends_with_the_new_template_only_and_a_rollback_reuses_the_old_one() -> None:
    world = World(deployment())
    world.settle()
    world.ask(template=template("web:2"))
    world.settle()
    assert world.sizes() == {"web:1": 0, "web:2": 3}
    assert world.revisions() == {"web:1": "1", "web:2": "2"}
    world.ask(template=template("web:1"))
    world.settle()
    assert world.sizes() == {"web:1": 3, "web:2": 0}
    assert world.revisions() == {"web:1": "3", "web:2": "2"}
    assert world.deployment["metadata"]["annotations"][REVISION] == "3"
    first = next(rs for rs in world.replica_sets.values() if _image(rs) == "web:1")
    assert first["metadata"]["annotations"][REVISION_HISTORY] == "1"


@settings(max_examples=150, deadline=None)
@example(2, 0, 0, [(0, 0), (0, 0), (0, 0), (0, 1)], ["web:2", "web:2", "web:1"]).via("a status older than a shrink")
@given(
    replicas=st.integers(0, 12),
    surge=st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda n: f"{n}%")),
    unavailable=st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda n: f"{n}%")),
    moves=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 15)), max_size=30),
    changes=st.lists(st.sampled_from(["web:1", "web:2", "web:3"]), max_size=3),
)
def test_a_rolling_update_stays_within_its_limits_and_arrives(
    replicas: int, surge: Any, unavailable: Any, moves: list[tuple[int, int]], changes: list[str]
) -> None:
    """Whatever the order in which pods come up, and however often the template changes on the way."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
    world = World(deployment(replicas=replicas, strategy=rolling))
    world.settle()
    limits = limits_of(world.deployment)
    for image in [*changes, "web:9"]:
        world.ask(template=template(image))
        for position, available in moves:
            before = world.serving()
            world.step()
            sizes = {name: rs["spec"]["replicas"] for name, rs in world.replica_sets.items()}
            assert sum(sizes.values()) <= replicas + limits.surge
            left = world.serving()
            assert left >= min(before, replicas - limits.unavailable)
            names = sorted(world.replica_sets)
            name = names[position % len(names)]
            # Availability never falls by itself here: pods only come up, or go as the sizes say.
            now_available = world.replica_sets[name]["status"].get("availableReplicas", 0)
            world.pods_follow(name, max(available, now_available))
    world.settle()
    assert world.sizes()["web:9"] == replicas
    assert sum(world.sizes().values()) == replicas


def test_recreate_waits_for_the_old_pods_to_end() -> None:
    world = World(deployment(strategy={"type": "Recreate"}))
    world.settle()
    world.ask(template=template("web:2"))
    world.step()
    assert world.sizes() == {"web:1": 0}
    assert not world.step()
    for name in world.replica_sets:
        world.pods_follow(name)
    world.settle()
    assert world.sizes() == {"web:1": 0, "web:2": 3}


def test_scaling_during_a_rollout_is_shared_in_proportion() -> None:
    dep = deployment(replicas=30)
    stamp = {"deployment.kubernetes.io/desired-replicas": "10", "deployment.kubernetes.io/max-replicas": "13",
             REVISION: "1"}  # fmt: skip
    old = replica_set("web-1", replicas=8, annotations=stamp, created="2026-01-01T00:00:00Z")
    new = replica_set("web-2", replicas=5, image="web:2", annotations=stamp)
    dep["spec"]["template"] = template("web:2")
    plan = plan_deployment(dep, [old, new], old_pods_run=True)
    sizes = {write.obj["metadata"]["name"]: write.obj["spec"]["replicas"] for write in plan.writes}  # type: ignore[union-attr]
    assert sum(sizes.values()) == 38
    assert sizes == {"web-1": 23, "web-2": 15}


def test_a_paused_deployment_creates_nothing_but_scales() -> None:
    world = World(deployment())
    world.settle()
    world.ask(paused=True, template=template("web:2"), replicas=5)
    world.step()
    assert world.sizes() == {"web:1": 5}


def test_history_beyond_the_limit_is_deleted_oldest_first() -> None:
    world = World(deployment(revisionHistoryLimit=1))
    for image in ("web:1", "web:2", "web:3", "web:4"):
        world.ask(template=template(image))
        world.settle()
    assert world.sizes() == {"web:3": 0, "web:4": 3}


def test_an_unhealthy_rollout_keeps_the_old_pods_that_serve() -> None:
    world = World(deployment(replicas=4))
    world.settle()
    world.ask(template=template("bad"))
    for _ in range(20):
        world.step()
        for name, rs in sorted(world.replica_sets.items()):
            world.pods_follow(name, 0 if _image(rs) == "bad" else None)
    assert world.sizes() == {"web:1": 3, "bad": 2}


def _status(dep: dict[str, Any], new: Any, old: Any, minute: int) -> dict[str, Any]:
    dep["status"] = status_of(dep, new, old, now=NOW.replace(minute=minute))
    status: dict[str, Any] = dep["status"]
    return status


def _progressing(status: dict[str, Any]) -> tuple[str, str]:
    condition = get_condition(status["conditions"], "Progressing")
    assert condition is not None
    return condition["status"], condition["reason"]


def test_progress_is_reported_until_complete_and_timed_out_when_it_stalls() -> None:
    dep, old = deployment(replicas=3), replica_set("web-1", replicas=3)
    new = replica_set("web-2", replicas=1, available=0, image="web:2")
    first = _status(dep, new, [old], 4)
    assert _progressing(first) == ("True", "ReplicaSetUpdated")
    assert first["unavailableReplicas"] == 1
    assert next_look_s(dep, first, now=NOW) == pytest.approx(601)
    assert _progressing(_status(dep, new, [old], 10)) == ("True", "ReplicaSetUpdated")
    stalled = _status(dep, new, [old], 15)
    assert _progressing(stalled) == ("False", "ProgressDeadlineExceeded")
    assert next_look_s(dep, stalled, now=NOW) is None
    done = _status(dep, replica_set("web-2", replicas=3, image="web:2"), [], 16)
    assert _progressing(done) == ("True", "NewReplicaSetAvailable")
    lost = _status(dep, replica_set("web-2", replicas=3, available=0, image="web:2"), [], 59)
    assert _progressing(lost) == ("True", "NewReplicaSetAvailable")
    available = get_condition(lost["conditions"], "Available")
    assert available is not None and available["reason"] == "MinimumReplicasUnavailable"


def test_an_unchanged_state_gives_an_unchanged_status() -> None:
    dep, rs = deployment(), replica_set()
    first = _status(dep, rs, [], 4)
    assert _status(dep, rs, [], 30) == first
