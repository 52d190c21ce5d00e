"""From a commit to a container: which run is the cause, which pod is followed, and where the way ends."""

from __future__ import annotations

from typing import Any

from cluster.machinery.objects import Obj
from reconciler.cli.events import events_about
from reconciler.cli.trace import Trace, line_of, report
from reconciler.cli.tree import Branch
from reconciler.cli.tree import report as tree_of
from reconciler.history.trace import cause_of, newest_below, steps_of
from reconciler.model import ref_of

ROOT: Obj = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default", "uid": "d", "creationTimestamp": "2026-01-01T09:00:00Z"},
    "spec": {"replicas": 1},
}


def made(kind: str, name: str, uid: str, owner: str, at: str, **more: Any) -> Obj:
    version = "v1" if kind == "Pod" else "apps/v1"
    meta: dict[str, Any] = {
        "name": name,
        "namespace": "default",
        "uid": uid,
        "creationTimestamp": f"2026-01-01T10:00:{at}Z",
    }
    meta["annotations"] = more.pop("annotations", {})
    meta["ownerReferences"] = [{"controller": True, "uid": owner, "kind": "x", "name": "y"}]
    return {"apiVersion": version, "kind": kind, "metadata": meta, **more}


def pod(
    name: str, owner: str, at: str, *, scheduled: str = "True", ready: str = "True", state: Obj | None = None
) -> Obj:
    when = f"2026-01-01T10:00:{at}Z"
    conditions = [
        {"type": "PodScheduled", "status": scheduled, "reason": "Unschedulable", "lastTransitionTime": when},
        {"type": "Ready", "status": ready, "lastTransitionTime": when},
    ]
    status = {
        "conditions": conditions,
        "containerStatuses": [{"name": "c", "restartCount": 0, "state": state or {"running": {"startedAt": when}}}],
    }
    return made("Pod", name, name, owner, at, spec={"nodeName": "n"}, status=status)


def run(name: str, started: str, **stages: str) -> Obj:
    action = {"action": "Update", "object": "Deployment.apps default/web", "origin": "web.yaml:3"}
    started_at = f"2026-01-01T10:00:{started}Z"
    spec = {"revision": "0123456789abcdef", "author": "Ada <a@b>", "subject": "More", "trigger": "Revision"}
    return {
        "metadata": {"name": name},
        "spec": {**spec, "startedAt": started_at, "finishedAt": started_at, "stages": stages, "actions": [action]},
    }


OLD = made("ReplicaSet", "web-1", "r1", "d", "01", annotations={"deployment.kubernetes.io/revision": "9"})
NEW = made("ReplicaSet", "web-2", "r2", "d", "00", annotations={"deployment.kubernetes.io/revision": "10"})


def test_the_newest_generation_is_followed_and_of_its_pods_one_that_is_not_ready() -> None:
    objects = [OLD, NEW, pod("a", "r2", "05"), pod("b", "r2", "02", ready="False"), pod("c", "r1", "07")]
    assert [each["metadata"]["name"] for each in newest_below(ROOT, objects)] == ["web-2", "b"]


def test_the_cause_is_the_newest_run_before_what_it_made() -> None:
    runs = [run("a", "01"), run("b", "03"), run("c", "09")]
    cause = cause_of(runs, ref_of(ROOT), "2026-01-01T10:00:03Z")
    assert cause is not None
    assert cause["metadata"]["name"] == "b"
    assert cause_of(runs, ref_of(ROOT), "2026-01-01T10:00:00Z") is None


def test_a_way_that_is_done_has_every_stage_with_its_time() -> None:
    asked = run(
        "a",
        "00",
        committed="2026-01-01T10:00:00Z",
        seen="2026-01-01T10:00:00.250000Z",
        applied="2026-01-01T10:00:00.5Z",
    )
    steps = steps_of(ROOT, [NEW, pod("a", "r2", "02")], asked)
    assert report(steps).splitlines() == [
        "TIME                      AFTER   STAGE                WHAT",
        '2026-01-01 10:00:00.000   +0.0s   committed            01234567 "More" by Ada (web.yaml:3)',
        "2026-01-01 10:00:00.250   +0.2s   seen",
        "unknown                           planned              Revision",
        "2026-01-01 10:00:00.500   +0.5s   applied              a",
        "2026-01-01 10:00:00.000   +0.0s   ReplicaSet created   web-2",
        "2026-01-01 10:00:02.000   +2.0s   Pod created          a",
        "2026-01-01 10:00:02.000   +2.0s   bound                n",
        "2026-01-01 10:00:02.000   +2.0s   started",
        "2026-01-01 10:00:02.000   +2.0s   ready",
    ]
    assert Trace(ref_of(ROOT), steps).is_complete


def test_a_way_that_is_not_done_ends_with_what_it_waits_for() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    found = Trace(ref_of(ROOT), steps_of(ROOT, [pod("a", "d", "02", state=waiting)], None))
    assert not found.is_complete
    assert line_of(found) == (
        "Deployment.apps default/web: Pod a +0.0s -> bound +0.0s -> not started: c: ImagePullBackOff: no such image"
    )
    unbound = steps_of(ROOT, [pod("a", "d", "02", scheduled="False")], None)
    assert [step.stage for step in unbound] == ["Pod created", "bound"]


def test_who_else_changed_the_spec_in_between_is_a_stage() -> None:
    entry = {
        "manager": "kubectl-set",
        "operation": "Update",
        "time": "2026-01-01T10:00:02Z",
        "fieldsV1": {"f:spec": {}},
    }
    root = {**ROOT, "metadata": {**ROOT["metadata"], "managedFields": [entry]}}
    asked = run("a", "00", applied="2026-01-01T10:00:01Z")
    steps = steps_of(root, [pod("a", "d", "02")], asked)
    assert "by kubectl-set, behind Git" in [step.what for step in steps]


def test_a_tree_shows_what_is_missing_and_leaves_out_past_replica_sets() -> None:
    past = {**OLD, "spec": {"replicas": 0}}
    live = {**NEW, "spec": {"replicas": 1}, "status": {"replicas": 1, "readyReplicas": 1}}
    config = ref_of({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}})
    branch = Branch({config: None, ref_of(ROOT): ROOT}, {"d": [past, live], "r2": [pod("a", "r2", "02")]})
    application = {"metadata": {"name": "shop", "namespace": "team"}, "status": {"sync": "Synced"}}
    lines = tree_of(application, branch)
    assert lines[:2] == ["Application team/shop: Synced Unknown", "|- ConfigMap default/a  Missing: it does not exist"]
    assert [line.split("  ")[0].split(" ")[-1] for line in lines[2:]] == ["default/web", "", ""]
    assert "ReplicaSet web-2" in lines[3]
    assert lines[4].startswith("      `- Pod a")
    assert [each["metadata"]["name"] for each in branch.all()] == ["web", "web-1", "web-2", "a"]


def test_events_are_those_of_these_very_objects_the_newest_last() -> None:
    def event(name: str, uid: str, at: str, kind: str = "Normal") -> Obj:
        return {"metadata": {"name": name}, "involvedObject": {"uid": uid}, "lastTimestamp": at, "type": kind}

    events = [event("late", "a", "2"), event("early", "a", "1", "Warning"), event("other", "z", "3")]
    assert [each["metadata"]["name"] for each in events_about(events, {"a"}, warnings=False)] == ["early", "late"]
    assert [each["metadata"]["name"] for each in events_about(events, {"a"}, warnings=True)] == ["early"]
