from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.client.writes import Create, Delete, Update
from cluster.controllers.history import plan_history, plan_truncation
from cluster.controllers.statefulset_plan import Revisions, is_available, plan_stateful_set
from cluster.controllers.statefulset_pods import ordinal_of, plan_retention, pod_of
from cluster.controllers.statefulset_status import next_look_s, status_of
from cluster.machinery.objects import Key, is_deleting, labels_of, name_of
from tests.unit.controllers.objects import pod, template

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LABEL = "controller-revision-hash"


def stateful_set(*, replicas: int = 3, image: str = "db:2", **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": "d", "name": "db", "uid": "uid-db", "generation": 2, "resourceVersion": "1"}
    body = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "serviceName": "db",
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "template": template(image),
        **spec,
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": body}


def revision(number: int) -> dict[str, Any]:
    data = {"spec": {"template": {**template(f"db:{number}"), "$patch": "replace"}}}
    metadata = {"namespace": "d", "name": f"db-r{number}", "uid": f"uid-r{number}"}
    return {"metadata": metadata, "data": data, "revision": number}


BOTH = Revisions(revision(1), revision(2))


def member(ordinal: int, number: int = 2, **state: Any) -> dict[str, Any]:
    return pod(f"db-{ordinal}", labels={"app": "web", LABEL: f"db-r{number}"}, **state)


def planned(stateful: dict[str, Any], pods: list[dict[str, Any]]) -> list[str]:
    """`+db-0@db-r2` for a pod that is created, `-db-0` for one that is deleted."""
    found: list[str] = []
    for write in plan_stateful_set(stateful, pods, {}, BOTH, now=NOW):
        if isinstance(write, Create):
            found.append(f"+{name_of(write.obj)}@{labels_of(write.obj)[LABEL]}")
        elif isinstance(write, Delete):
            found.append(f"-{write.key.name}")
    return found


PARALLEL = {"podManagementPolicy": "Parallel"}
OLD = [member(0, 1), member(1, 1), member(2, 1)]


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        ({}, [], ["+db-0@db-r2"]),
        ({}, [member(0, ready=False)], []),
        ({}, [member(0, phase="Pending", ready=False)], []),
        ({}, [member(0)], ["+db-1@db-r2"]),
        ({}, [member(0), member(2)], ["+db-1@db-r2"]),
        ({}, [member(0, deleting=True), member(1)], []),
        ({}, [member(0, phase="Failed"), member(1)], ["-db-0"]),
        ({}, [member(0, phase="Succeeded")], ["-db-0"]),
        ({"minReadySeconds": 60}, [member(0, ready="2026-01-02T03:04:00Z")], []),
        ({"ordinals": {"start": 4}}, [member(4)], ["+db-5@db-r2"]),
        (PARALLEL, [member(1, ready=False)], ["+db-0@db-r2", "+db-2@db-r2"]),
        ({}, OLD, ["-db-2"]),
        ({}, [*OLD[:2], member(2, ready=False)], []),
        ({}, [*OLD[:2], member(2)], ["-db-1"]),
        ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}, [*OLD[:2], member(2)], []),
        ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}, [], ["+db-0@db-r1"]),
        ({"updateStrategy": {"type": "OnDelete"}}, OLD, []),
        ({"updateStrategy": {"type": "OnDelete"}}, OLD[:2], ["+db-2@db-r2"]),
        ({"replicas": 1}, OLD, ["-db-2"]),
        ({"replicas": 1}, [member(0), member(1), member(2, deleting=True)], []),
        ({"replicas": 1}, [member(0), member(1, ready=False), member(2, ready=False)], []),
        ({"replicas": 1, **PARALLEL}, [member(0), member(1), member(2)], ["-db-2", "-db-1"]),
    ],
)
def test_what_happens_next(spec: dict[str, Any], pods: list[dict[str, Any]], expected: list[str]) -> None:
    assert planned(stateful_set(**spec), pods) == expected


states = st.fixed_dictionaries(
    {
        "number": st.sampled_from([1, 2]),
        "ready": st.booleans(),
        "deleting": st.booleans(),
        "phase": st.sampled_from(["Pending", "Running", "Running", "Failed"]),
    }
)


@given(
    st.dictionaries(st.integers(0, 5), states),
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["OrderedReady", "Parallel"]),
)
def test_a_plan_keeps_its_promises(
    drawn: dict[int, dict[str, Any]], replicas: int, partition: int, policy: str
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    stateful = stateful_set(replicas=replicas, podManagementPolicy=policy, updateStrategy=strategy)
    pods = {ordinal: member(ordinal, **state) for ordinal, state in drawn.items()}
    writes = plan_stateful_set(stateful, list(pods.values()), {}, BOTH, now=NOW)
    created = [ordinal_of(stateful, name_of(write.obj)) for write in writes if isinstance(write, Create)]
    deleted = [ordinal_of(stateful, write.key.name) for write in writes if isinstance(write, Delete)]
    assert len(set(created)) == len(created) and len(set(deleted)) == len(deleted)
    for ordinal in created:
        assert ordinal is not None and ordinal < replicas and ordinal not in pods
    for ordinal in deleted:
        assert ordinal is not None and not is_deleting(pods[ordinal])
        finished = drawn[ordinal]["phase"] == "Failed"
        outdated = drawn[ordinal]["number"] == 1 and ordinal >= partition
        assert finished or outdated or ordinal >= replicas, "it deletes what it wants"
    if policy == "OrderedReady":
        assert len(created) + len(deleted) <= 1
        for ordinal in created:
            assert ordinal is not None
            assert all(is_available(stateful, pods[below], now=NOW) for below in range(ordinal))
    outdated_ones = [
        each for each in deleted if each is not None and each < replicas and drawn[each]["phase"] != "Failed"
    ]
    assert len(outdated_ones) <= 1, "a rollout goes one by one"


def test_the_status_counts_and_ends_the_rollout() -> None:
    stateful = stateful_set()
    midway = status_of(stateful, [member(0, 1), member(1, 1), member(2, ready=False)], BOTH, now=NOW)
    assert midway == {
        "observedGeneration": 2,
        "replicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 2,
        "currentReplicas": 2,
        "updatedReplicas": 1,
        "currentRevision": "db-r1",
        "updateRevision": "db-r2",
        "collisionCount": 0,
    }
    done = status_of(stateful, [member(0), member(1), member(2)], BOTH, now=NOW)
    assert (done["currentRevision"], done["currentReplicas"]) == ("db-r2", 3)


def test_a_ready_pod_is_looked_at_again_when_it_becomes_available() -> None:
    stateful = stateful_set(minReadySeconds=60)
    assert next_look_s(stateful, [member(0, ready="2026-01-02T03:03:35Z")], now=NOW) == pytest.approx(30.1)


@pytest.mark.parametrize(
    ("name", "ordinal"), [("db-0", 0), ("db-12", 12), ("db-01", None), ("db-x", None), ("other-1", None), ("db", None)]
)
def test_only_numbers_as_we_write_them_are_ordinals(name: str, ordinal: int | None) -> None:
    assert ordinal_of(stateful_set(), name) == ordinal


@pytest.mark.parametrize(
    ("deleted", "scaled", "leaves", "owner"),
    [
        ("Retain", "Retain", False, None),
        ("Retain", "Retain", True, None),
        ("Delete", "Retain", False, "StatefulSet"),
        ("Delete", "Retain", True, "StatefulSet"),
        ("Retain", "Delete", False, None),
        ("Retain", "Delete", True, "Pod"),
        ("Delete", "Delete", False, "StatefulSet"),
        ("Delete", "Delete", True, "Pod"),
    ],
)
def test_a_claim_goes_with_whom_the_policy_says(deleted: str, scaled: str, leaves: bool, owner: str | None) -> None:
    claim_template = {"metadata": {"name": "data"}, "spec": {}}
    policy = {"whenDeleted": deleted, "whenScaled": scaled}
    stateful = stateful_set(volumeClaimTemplates=[claim_template], persistentVolumeClaimRetentionPolicy=policy)
    assert pod_of(stateful, BOTH.update, 0)["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-db-0"}
    claim = {"metadata": {"namespace": "d", "name": "data-db-0", "uid": "c"}}
    writes = plan_retention(stateful, member(0), 0, {Key("d", "data-db-0"): claim}, leaves=leaves)
    kinds = [ref["kind"] for w in writes if isinstance(w, Update) for ref in w.obj["metadata"]["ownerReferences"]]
    assert kinds == ([owner] if owner else [])


def test_a_template_that_returns_keeps_its_revision_under_a_new_number() -> None:
    again = plan_history(stateful_set(image="db:1"), [revision(1), revision(2)], hash_label="hash")
    assert isinstance(again.write, Update)
    assert (name_of(again.write.obj), again.write.obj["revision"]) == ("db-r1", 3)
    assert plan_history(stateful_set(), [revision(1), revision(2)], hash_label="hash").write is None
    fresh = plan_history(stateful_set(image="db:9"), [revision(1), revision(2)], hash_label="hash")
    assert isinstance(fresh.write, Create) and fresh.write.obj["revision"] == 3


def test_history_beyond_the_limit_goes_oldest_first_but_nothing_in_use() -> None:
    kept = [revision(number) for number in range(1, 6)]
    writes = plan_truncation(stateful_set(revisionHistoryLimit=2), kept, live={"db-r1", "db-r5"})
    assert [write.key.name for write in writes if isinstance(write, Delete)] == ["db-r2"]
