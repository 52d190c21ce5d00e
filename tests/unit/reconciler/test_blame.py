"""Fields, their owners and their lines: what managedFields and a YAML parse say together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cluster.machinery.objects import Obj
from reconciler.cli.blame import named, report
from reconciler.cli.declared import declared_in
from reconciler.history.fields import LiveField, Owner, live_fields
from reconciler.history.ownership import change_in, changes_of, owner_in, revision_held
from reconciler.model import Ref
from reconciler.source.annotate import parse

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GIT = {"manager": "reconciler", "operation": "Apply", "time": "2026-01-01T11:00:00Z"}
PERSON = {"manager": "kubectl-edit", "operation": "Update", "time": "2026-01-01T11:59:00Z"}
REF = Ref("apps", "Deployment", "default", "web")
DECLARED = b"""\
kind: ConfigMap
apiVersion: v1
metadata: {name: web}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  template:
    spec:
      containers:
        - name: side
          image: a
        - name: web
          image: b
          args: [one,
                 two]

# the end
---
kind: List
items: []
"""


def deployment(*entries: Obj) -> dict[str, Any]:
    containers = [{"name": "side", "image": "a"}, {"name": "web", "image": "b", "args": ["one", "two"]}]
    meta = {"name": "web", "namespace": "default", "uid": "1", "managedFields": list(entries)}
    spec = {"replicas": 1, "template": {"spec": {"containers": containers}}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def containers_owned(**names: dict[str, Any]) -> Obj:
    items = {f'k:{{"name":"{name}"}}': {".": {}, "f:name": {}, **fields} for name, fields in names.items()}
    return {"f:spec": {"f:template": {"f:spec": {"f:containers": items}}}}


def by_path(obj: Obj) -> dict[str, LiveField]:
    return {field.path: field for field in live_fields(obj)}


WEB = 'spec.template.spec.containers[name="web"]'


def test_each_field_has_the_owners_that_the_server_recorded_and_a_default_has_none() -> None:
    mine = containers_owned(web={"f:image": {}, "f:args": {}})
    found = by_path(deployment({**GIT, "fieldsV1": mine}, {**PERSON, "fieldsV1": {"f:spec": {"f:replicas": {}}}}))
    assert [owner.manager for owner in found["spec.replicas"].owners] == ["kubectl-edit"]
    assert [owner.manager for owner in found[f"{WEB}.image"].owners] == ["reconciler"]
    assert found["spec.template.spec.containers[0].image"].owners == ()
    assert not [path for path in found if "uid" in path]


def test_a_list_owned_as_a_whole_is_one_field() -> None:
    found = by_path(deployment({**GIT, "fieldsV1": containers_owned(web={"f:args": {}})}))
    assert f"{WEB}.args" in found
    assert not [path for path in found if path.startswith(f"{WEB}.args[")]


def test_a_field_of_two_managers_has_both() -> None:
    replicas = {"f:spec": {"f:replicas": {}}}
    found = by_path(deployment({**GIT, "fieldsV1": replicas}, {**PERSON, "fieldsV1": replicas}))
    assert [owner.manager for owner in found["spec.replicas"].owners] == ["reconciler", "kubectl-edit"]


def test_a_field_is_named_by_key_or_by_index_and_a_prefix_ends_at_a_word() -> None:
    field = by_path(deployment({**GIT, "fieldsV1": containers_owned(web={"f:image": {}})}))[f"{WEB}.image"]
    wanted = (".spec", "spec.template.spec.containers[name=web]", "spec.template.spec.containers[1].image")
    assert all(field.is_at(each) for each in wanted)
    assert not field.is_at("spec.temp")
    assert not field.is_at("spec.template.spec.containers[0]")


def test_a_declared_field_has_its_lines_and_one_that_is_not_declared_those_above_it() -> None:
    found = declared_in("a.yaml", DECLARED, REF, "default")
    assert found is not None
    fields = by_path(deployment({**GIT, "fieldsV1": containers_owned(web={"f:image": {}, "f:args": {}})}))
    assert found.span_of(fields[f"{WEB}.image"].words) == (16, 17, True)
    assert found.span_of(fields[f"{WEB}.args"].words).start == 17
    assert found.span_of(("f:spec", "f:replicas"))[0::2] == (9, False)


def test_an_object_is_found_by_its_namespace_or_its_applications_and_never_by_its_name_alone() -> None:
    assert declared_in("a.yaml", DECLARED, REF, "other") is None
    assert declared_in("a.yaml", DECLARED, REF._replace(kind="StatefulSet"), "default") is None
    assert declared_in("a.yaml", b"a: [", REF, "default") is None


def test_git_blame_is_read_with_each_commits_facts_once() -> None:
    first, second = "a" * 40, "b" * 40
    text = (
        f"{first} 1 1 2\nauthor Ada\nauthor-time 1767225600\nsummary Begin\nfilename a\n\tone\n{first} 2 2\n\ttwo\n"
        f"{second} 3 3 1\nauthor Grace\nauthor-time x\nsummary More\nfilename a\n\t{first} 1 1 1\n"
    )
    lines = parse(text)
    assert [(line.author, line.text) for line in lines] == [("Ada", "one"), ("Ada", "two"), ("Grace", f"{first} 1 1 1")]
    assert [line.authored_at for line in lines] == ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", ""]


def run(name: str, revision: str, *actions: Obj, at: int, outcome: str = "Succeeded") -> Obj:
    spec = {"revision": revision, "author": "Ada <a@b>", "outcome": outcome, "actions": list(actions)}
    return {"metadata": {"name": name}, "spec": {**spec, "finishedAt": f"2026-01-01T10:0{at}:00Z"}}


CHANGED = {"action": "Update", "object": str(REF), "origin": "a.yaml:5"}


def test_only_a_change_that_succeeded_is_a_change() -> None:
    runs = [run("a", "1", CHANGED, at=1), run("b", "2", {**CHANGED, "error": "no"}, at=2), run("c", "3", at=3)]
    assert [change["metadata"]["name"] for change in changes_of(runs, REF)] == ["a"]
    assert change_in(runs[1], REF) == {}


def test_an_object_is_at_the_newest_revision_that_changed_it_or_was_applied_whole() -> None:
    changed, whole, failed = run("a", "1", CHANGED, at=1), run("b", "2", at=2), run("c", "3", at=3, outcome="Partial")
    assert revision_held([changed, whole, failed], REF, "2") == "2"
    assert revision_held([changed, failed], REF, "9") == "1"
    assert revision_held([], REF, "9") == "9"


def test_an_owner_is_found_by_group_kind_namespace_and_name() -> None:
    entry = {"group": "apps", "kind": "Deployment", "namespace": "default", "name": "web"}
    chunk = {"metadata": {"namespace": "team"}, "application": "shop", "entries": [entry]}
    assert owner_in([chunk], REF) == ("team", "shop")
    assert owner_in([chunk], REF._replace(group="")) is None


def test_without_the_source_a_field_is_blamed_on_the_objects_run() -> None:
    fields = live_fields(deployment({**GIT, "fieldsV1": {"f:spec": {"f:replicas": {}}}}))
    chosen = [field for field in fields if field.path == "spec.replicas"]
    text = report(chosen, REF, [run("a", "0123456789", CHANGED, at=1)], None, NOW)
    assert text.splitlines()[1].split() == ["spec.replicas", "git", "01234567", "Ada", "119m", "ago", "a.yaml:~5"]


def test_a_manager_is_a_person_a_controller_or_another_client() -> None:
    def owner(manager: str, subresource: str = "") -> str:
        return named(Owner(manager, "Update", subresource, ""))

    assert owner("kubectl-client-side-apply") == "person (kubectl-client-side-apply)"
    assert owner("kube-controller-manager", "status") == "controller (kube-controller-manager/status)"
    assert owner("terraform") == "client (terraform)"
