"""The verb `plan`: its verdict, the restarts it counts, and what it shows."""

from __future__ import annotations

from typing import Any

from reconciler.cli.diff import Rendered
from reconciler.cli.plan import Tried, report, restarts_of, verdict
from reconciler.model import Action, Manifests, Origin, Ref, Revision, Verb, manifest_of

WEB = Ref("apps", "Deployment", "default", "web")


def tried(verb: Verb, *, declared: bool = True, restarts: int = 0) -> Tried:
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}}
    manifest = manifest_of(obj, Origin("web.yaml", 3)) if declared else None
    return Tried(Action(verb, WEB, 4, "because", manifest), restarts)


def test_a_plan_exits_0_without_a_change_1_with_one_and_2_with_a_refusal_or_a_fault() -> None:
    assert verdict([tried(Verb.KEEP)], [], gate=False) == 0
    assert verdict([tried(Verb.KEEP), tried(Verb.UPDATE)], [], gate=False) == 1
    assert verdict([tried(Verb.REFUSE)], [], gate=False) == 2
    assert verdict([tried(Verb.KEEP)], ["a.yaml:1: broken"], gate=False) == 2


def test_a_gate_lets_changes_through_but_no_refusal_and_no_deletion_held_back() -> None:
    assert verdict([tried(Verb.UPDATE), tried(Verb.PRUNE, declared=False)], [], gate=True) == 0
    assert verdict([tried(Verb.HOLD, declared=False)], [], gate=True) == 1
    assert verdict([tried(Verb.HOLD)], [], gate=True) == 0, "drift that is only reported is no deletion"
    assert verdict([tried(Verb.REFUSE)], [], gate=True) == 2


def deployment(replicas: int, image: str) -> dict[str, Any]:
    return {"spec": {"replicas": replicas, "template": {"spec": {"image": image}}}}


def test_only_a_changed_template_restarts_pods_and_only_those_there_are() -> None:
    assert restarts_of(WEB, deployment(2, "a"), deployment(5, "a")) == 0
    assert restarts_of(WEB, deployment(2, "a"), deployment(5, "b")) == 2
    assert restarts_of(WEB, deployment(5, "a"), deployment(1, "b")) == 1
    assert restarts_of(WEB._replace(kind="Job"), deployment(1, "a"), deployment(1, "b")) == 0


def test_every_action_is_shown_with_its_reason_and_place_and_what_is_kept_is_counted() -> None:
    made = Rendered(Manifests((), (), ""), Revision("0123456789ab", "", subject="Change it"))
    rows = [tried(Verb.UPDATE, restarts=2), tried(Verb.KEEP), tried(Verb.HOLD, declared=False)]
    assert report(made, rows, held="too many").splitlines() == [
        "01234567 Change it",
        "",
        "ACTION   OBJECT                        REASON                     FROM",
        "Update   Deployment.apps default/web   because; restarts 2 pods   web.yaml:3",
        "Hold     Deployment.apps default/web   because",
        "",
        "1 to update, 1 to keep, 1 to hold, 2 pods restarted",
        "deletions are held back: too many",
    ]
