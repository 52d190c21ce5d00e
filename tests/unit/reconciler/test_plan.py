"""The plan: what happens to each object, and the laws that hold for every set of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.objects import GroupKind
from reconciler.model import Manifest, Origin, Owned, Plan, Ref, Verb, manifest_of
from reconciler.plan.authority import Authority
from reconciler.plan.decide import plan
from reconciler.plan.diff import Live, live_of
from reconciler.plan.guard import Evidence, parse_allowance
from reconciler.plan.normalise import normalise, suggestion_for
from reconciler.plan.policy import Drift
from reconciler.projection import projection_of

SCOPES = {
    GroupKind("", "ConfigMap"): True,
    GroupKind("", "PersistentVolumeClaim"): True,
    GroupKind("", "Namespace"): False,
    GroupKind("apps", "Deployment"): True,
    GroupKind("gitops.reconciler.io", "Application"): True,
}


def declared(name: str, *, kind: str = "ConfigMap", api: str = "v1", line: int = 1, **fields: Any) -> Manifest:
    meta = {"name": name} | ({} if kind == "Namespace" else {"namespace": "shop"})
    return manifest_of({"apiVersion": api, "kind": kind, "metadata": meta, **fields}, Origin("a.yaml", line))


def normalised(*manifests: Manifest, namespace: str = "shop") -> Any:
    return normalise(manifests, scopes=SCOPES, target_namespace=namespace)


def applied(manifest: Manifest, uid: str = "u") -> tuple[Owned, Live]:
    """The state after the server accepted the manifest unchanged."""
    live = {**manifest.obj, "metadata": {**manifest.obj["metadata"], "uid": uid}}
    seen = live_of(live, manifest.obj)
    return Owned(manifest.ref, "v1", uid, manifest.digest, seen.projection), seen


def decide(
    *manifests: Manifest,
    before: tuple[Manifest, ...] = (),
    live: Mapping[Ref, Live] | None = None,
    evidence: Evidence | None = None,
    **options: Any,
) -> Plan:
    state = {manifest.ref: applied(manifest) for manifest in before}
    return plan(
        normalised(*manifests),
        {ref: pair[1] for ref, pair in state.items()} if live is None else live,
        {ref: pair[0] for ref, pair in state.items()},
        claims=options.pop("claims", {}),
        evidence=evidence or Evidence(),
        **options,
    )


def verbs(outcome: Plan) -> dict[str, Verb]:
    return {action.ref.name: action.verb for action in outcome.actions}


A, B = declared("a"), declared("b")


def test_what_is_declared_and_absent_is_created() -> None:
    assert verbs(decide(A)) == {"a": Verb.CREATE}


def test_what_was_applied_and_is_unchanged_is_kept() -> None:
    assert verbs(decide(A, before=(A,))) == {"a": Verb.KEEP}


def test_a_changed_manifest_is_an_update() -> None:
    assert decide(declared("a", data={"k": "v"}), before=(A,)).actions[0].reason == "changed in the source"


def test_what_is_declared_no_more_is_pruned_by_uid() -> None:
    (_, pruned) = decide(A, before=(A, B)).actions
    assert (pruned.verb, pruned.uid) == (Verb.PRUNE, "u")


def test_a_revision_that_declares_nothing_prunes_nothing() -> None:
    outcome = decide(before=(A, B))
    assert verbs(outcome) == {"a": Verb.HOLD, "b": Verb.HOLD}
    assert outcome.held.startswith("the revision declares nothing at all; a commit with the trailer")


@pytest.mark.parametrize(
    ("evidence", "verb"),
    [
        (Evidence(complete=False), Verb.HOLD),
        (Evidence(complete=False, approved=True), Verb.HOLD),
        (Evidence(rewritten=True), Verb.HOLD),
        (Evidence(rewritten=True, proven=True), Verb.PRUNE),
        (Evidence(rewritten=True, approved=True), Verb.PRUNE),
        (Evidence(), Verb.PRUNE),
    ],
)
def test_bad_news_holds_prunes_and_proof_or_approval_releases_them(evidence: Evidence, verb: Verb) -> None:
    assert verbs(decide(A, before=(A, B), evidence=evidence))["b"] is verb


MANY = tuple(declared(f"c{n:02}") for n in range(40))


@pytest.mark.parametrize(
    ("gone", "kept", "verb"),
    [
        (1, 0, Verb.HOLD),
        (1, 1, Verb.PRUNE),
        (2, 4, Verb.HOLD),
        (2, 5, Verb.PRUNE),
        (10, 24, Verb.PRUNE),
        (11, 29, Verb.HOLD),
    ],
)
def test_at_least_two_deletions_over_ten_or_over_thirty_percent_are_held(gone: int, kept: int, verb: Verb) -> None:
    outcome = decide(*MANY[gone : gone + kept], before=MANY[: gone + kept])
    assert {action.verb for action in outcome.actions if action.ref.name < f"c{gone:02}"} == {verb}


def test_a_return_to_a_proven_tree_passes_the_threshold() -> None:
    assert verbs(decide(A, before=(A, *MANY), evidence=Evidence(proven=True)))["c00"] is Verb.PRUNE


@pytest.mark.parametrize(
    ("value", "threshold", "volume"),
    [
        ("all", Verb.PRUNE, Verb.PRUNE),
        ("3", Verb.PRUNE, Verb.HOLD),
        ("2", Verb.HOLD, Verb.HOLD),
        ("2, PersistentVolumeClaim/shop/data", Verb.PRUNE, Verb.PRUNE),
        ("PersistentVolumeClaim/shop/data", Verb.HOLD, Verb.HOLD),
        ("PersistentVolumeClaim/other/data, ALL", Verb.HOLD, Verb.HOLD),
    ],
)
def test_a_trailer_lets_pass_what_it_says_and_no_more(value: str, threshold: Verb, volume: Verb) -> None:
    claim = declared("data", kind="PersistentVolumeClaim")
    evidence = Evidence(allowance=parse_allowance([("reconciler-allow-prune", value), ("Signed-off-by", "all")]))
    found = verbs(decide(A, before=(A, B, MANY[0], claim), evidence=evidence))
    assert (found["b"], found["data"]) == (threshold, volume)
    assert verbs(decide(A, before=(A, B, MANY[0]), evidence=replace(evidence, complete=False)))["b"] is Verb.HOLD


def annotated(name: str, **fields: Any) -> Manifest:
    annotations = {f"gitops.reconciler.io/{key}": value for key, value in fields.pop("policy").items()}
    meta = {"name": name, "namespace": "shop", "annotations": annotations}
    return declared(name, metadata=meta, **fields)


def test_an_object_that_is_only_created_is_neither_changed_nor_taken_over() -> None:
    once = annotated("once", policy={"apply": "if-not-present"}, data={"k": "new"})
    before = annotated("once", policy={"apply": "if-not-present"}, data={"k": "old"})
    assert verbs(decide(once)) == {"once": Verb.CREATE}
    assert verbs(decide(once, before=(before,))) == {"once": Verb.KEEP}
    assert verbs(decide(once, live={once.ref: Live(uid="somebody's")})) == {"once": Verb.KEEP}
    assert verbs(decide(once, before=(before,), live={})) == {"once": Verb.CREATE}
    assert verbs(decide(*MANY[:5], before=(before, *MANY[:5])))["once"] is Verb.PRUNE


@pytest.mark.parametrize(("drift", "verb"), [("correct", Verb.UPDATE), ("report", Verb.HOLD), ("ignore", Verb.KEEP)])
def test_an_object_says_itself_what_its_drift_is_worth(drift: str, verb: Verb) -> None:
    mine = annotated("mine", policy={"drift": drift})
    moved = {mine.ref: Live(uid="u", projection="changed")}
    for general in Drift:
        assert verbs(decide(mine, before=(mine,), live=moved, drift=general)) == {"mine": verb}


@pytest.mark.parametrize("policy", [{"apply": "never"}, {"drift": ""}])
def test_an_annotation_that_says_nothing_known_refuses_the_object(policy: dict[str, str]) -> None:
    (action,) = decide(annotated("typo", policy=policy)).actions
    assert (action.verb, "must be" in action.reason) == (Verb.REFUSE, True)


def test_a_drift_names_the_client_that_wrote_last() -> None:
    live = {**A.obj, "metadata": {**A.obj["metadata"], "uid": "u", "labels": {"a": "b"}, "managedFields": [
        {"manager": "reconciler", "operation": "Apply", "time": "2026-01-01T00:00:09Z"},
        {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T00:00:02Z"},
        {"manager": "early", "operation": "Update", "time": "2026-01-01T00:00:01Z"},
        {"manager": "kubelet", "operation": "Update", "subresource": "status", "time": "2026-01-01T00:00:03Z"},
    ]}}  # fmt: skip
    seen = replace(live_of(live, A.obj), projection="changed")
    (action,) = decide(A, before=(A,), live={A.ref: seen}).actions
    assert action.reason == "was changed by someone else, last written by kubectl-edit"


def test_volumes_are_held_even_when_returning_to_a_proven_tree() -> None:
    claim = declared("data", kind="PersistentVolumeClaim")
    assert verbs(decide(A, before=(A, claim), evidence=Evidence(proven=True)))["data"] is Verb.HOLD
    assert verbs(decide(A, before=(A, claim), evidence=Evidence(approved=True)))["data"] is Verb.PRUNE


def test_a_namespace_is_held_alone_and_the_others_are_pruned() -> None:
    space = declared("shop", kind="Namespace")
    found = verbs(decide(A, *MANY[:5], before=(A, *MANY[:5], B, space)))
    assert (found["a"], found["b"], found["shop"]) == (Verb.KEEP, Verb.PRUNE, Verb.HOLD)


def test_an_object_created_anew_by_someone_else_is_forgotten_and_not_deleted() -> None:
    live = {A.ref: applied(A)[1], B.ref: Live(uid="another")}
    (_, forgotten) = decide(A, before=(A, B), live=live).actions
    assert (forgotten.verb, forgotten.uid) == (Verb.PRUNE, "")


def test_an_object_of_another_application_is_refused() -> None:
    (action,) = decide(A, claims={A.ref: "default/other"}).actions
    assert (action.verb, action.reason) == (Verb.REFUSE, "application default/other owns it")


@pytest.mark.parametrize(
    ("drift", "verb"), [(Drift.CORRECT, Verb.UPDATE), (Drift.REPORT, Verb.HOLD), (Drift.IGNORE, Verb.KEEP)]
)
def test_drift_is_corrected_reported_or_ignored(drift: Drift, verb: Verb) -> None:
    live = {A.ref: Live(uid="u", projection="other")}
    assert verbs(decide(A, before=(A,), live=live, drift=drift)) == {"a": verb}


def test_what_somebody_deleted_is_created_again() -> None:
    assert decide(A, before=(A,), live={}).actions[0].reason == "was deleted"


def test_without_a_service_account_only_the_target_namespace_may_be_written() -> None:
    authority = Authority(restricted=True, namespace="shop", may_create_namespace=True)
    elsewhere = manifest_of(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "kube-system"}}, Origin("b", 1)
    )
    child = declared("child", kind="Application", api="gitops.reconciler.io/v1")
    outcome = decide(A, elsewhere, child, declared("shop", kind="Namespace"), authority=authority)
    assert verbs(outcome) == {"a": Verb.CREATE, "x": Verb.REFUSE, "child": Verb.REFUSE, "shop": Verb.CREATE}


def test_definitions_come_first_and_are_pruned_last() -> None:
    space, workload = declared("shop", kind="Namespace"), declared("web", kind="Deployment", api="apps/v1")
    written = decide(workload, A, space).actions
    assert [action.ref.name for action in written] == ["shop", "a", "web"]
    pruned = decide(B, before=(B, workload, A, space), evidence=Evidence(approved=True)).of(Verb.PRUNE)
    assert [action.ref.name for action in pruned] == ["web", "a", "shop"]


def test_a_double_is_refused_with_the_place_of_the_first() -> None:
    outcome = decide(A, declared("a", line=9, data={"x": "y"}))
    assert [action.reason for action in outcome.of(Verb.REFUSE)] == ["already declared at a.yaml:1"]


def test_a_kind_defined_beside_its_objects_counts_as_served() -> None:
    crd = manifest_of(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "tests.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Test"}},
        },
        Origin("crd.yaml", 1),
    )
    scopes = {**SCOPES, GroupKind("apiextensions.k8s.io", "CustomResourceDefinition"): False}
    custom = declared("t", kind="Test", api="example.com/v1")
    assert not normalise((custom, crd), scopes=scopes, target_namespace="shop").refused
    assert normalise((custom,), scopes=scopes, target_namespace="shop").refused


def test_fields_of_others_are_no_drift_and_ours_are() -> None:
    mine = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "http", "port": 80}]}}
    base = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "http", "port": 80}], "clusterIP": "1"}}
    extra = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "x"}, {"name": "http", "port": 80}], "n": 3}}
    other = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "http", "port": 81}]}}
    assert projection_of(mine, base) == projection_of(mine, extra) != projection_of(mine, other)


def test_a_changed_secret_shows_though_it_was_declared_as_text() -> None:
    mine = {"kind": "Secret", "stringData": {"password": "x"}}
    assert projection_of(mine, {"data": {"password": "eA=="}}) != projection_of(mine, {"data": {"password": "eQ=="}})


names = st.sampled_from([f"n{i}" for i in range(8)])
sets = st.lists(st.tuples(names, st.integers(0, 2)), unique_by=lambda pair: pair[0]).map(
    lambda pairs: tuple(declared(name, data={"v": str(value)}) for name, value in pairs)
)
evidences = st.builds(Evidence, st.booleans(), st.booleans(), st.booleans(), st.booleans())


@given(sets, sets, evidences)
def test_only_what_is_owned_is_pruned_and_every_object_has_one_action(
    desired: tuple[Manifest, ...], before: tuple[Manifest, ...], evidence: Evidence
) -> None:
    outcome = decide(*desired, before=before, evidence=evidence)
    owned = {manifest.ref for manifest in before}
    assert {action.ref for action in outcome.of(Verb.PRUNE)} <= owned - {manifest.ref for manifest in desired}
    refs = [action.ref for action in outcome.actions]
    assert sorted(refs) == sorted(owned | {manifest.ref for manifest in desired})


@given(st.data(), sets, sets)
def test_input_order_is_irrelevant(
    data: st.DataObject, desired: tuple[Manifest, ...], before: tuple[Manifest, ...]
) -> None:
    shuffled = data.draw(st.permutations(desired))
    assert decide(*desired, before=before) == decide(*shuffled, before=before)


@given(sets, sets)
def test_plan_then_apply_then_plan_is_all_keep(desired: tuple[Manifest, ...], before: tuple[Manifest, ...]) -> None:
    first = decide(*desired, before=before, evidence=Evidence(approved=True))
    left = [m for m in before if m.ref in {action.ref for action in first.of(Verb.HOLD)}]
    if not left:
        second = decide(*desired, before=desired)
        assert {action.verb for action in second.actions} <= {Verb.KEEP}


@given(sets, sets)
def test_incomplete_evidence_never_deletes(desired: tuple[Manifest, ...], before: tuple[Manifest, ...]) -> None:
    assert not decide(*desired, before=before, evidence=Evidence(complete=False, proven=True)).of(Verb.PRUNE)


def test_a_kind_nobody_serves_is_answered_with_the_one_that_was_meant() -> None:
    served = [GroupKind("apps", "Deployment"), GroupKind("batch", "Job"), GroupKind("", "Secret")]
    assert suggestion_for(GroupKind("apps", "Deploymnet"), served) == ": did you mean Deployment of group apps?"
    assert suggestion_for(GroupKind("", "Job"), served) == ": did you mean Job of group batch?"
    assert suggestion_for(GroupKind("v2", "secret"), served) == ": did you mean Secret of the core group?"
    assert suggestion_for(GroupKind("shop.example.org", "Order"), served) == ""
