"""The daemon with real git repositories: a commit deploys, a revert rolls back, drift is undone, bad news deletes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key
from cluster.machinery.timestamps import format_micro_time, parse_time
from cluster.resources.builtin import CONFIG_MAPS
from reconciler.cli import sync
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap, Settings
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.repository import REPOSITORIES
from tests.real.gitops.world import World, config_map

pytestmark = pytest.mark.needs("git")


async def test_a_commit_deploys_and_its_author_is_on_record(world: World) -> None:
    world.repository.commit("Add a", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.value("a") == "1")
    commit = world.repository.commit("Change a", {"a.yaml": config_map("a", "2")})
    await world.until(lambda: world.value("a") == "2" and world.synced(commit))
    await world.until(lambda: len(world.runs()) == 2)
    newest = max(world.runs(), key=lambda run: run["spec"]["revision"] == commit)["spec"]
    assert (newest["author"], newest["subject"], newest["outcome"]) == (
        "Ada <ada@example.com>",
        "Change a",
        "Succeeded",
    )
    assert newest["actions"] == [
        {"action": "Update", "object": "ConfigMap default/a", "reason": "changed in the source", "origin": "a.yaml:1"}
    ]


async def test_a_revert_rolls_back_and_may_delete_what_the_commit_brought(world: World) -> None:
    world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.value("a") == "1")
    many = {f"b{n}.yaml": config_map(f"b{n}") for n in range(20)}
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2"), **many})
    await world.until(lambda: world.synced(second) and world.value("b19"))
    await world.until(lambda: len(world.runs()) == 2)
    world.repository.git("revert", "--no-edit", "HEAD")
    reverted = world.repository.git("rev-parse", "HEAD")
    await world.until(lambda: world.synced(reverted))
    assert (world.value("a"), world.value("b0"), world.value("b19")) == ("1", None, None)


async def test_a_mass_deletion_is_held_until_someone_approves_it(world: World) -> None:
    files = {f"b{n}.yaml": config_map(f"b{n}") for n in range(20)}
    first = world.repository.commit("one", {"a.yaml": config_map("a"), **files})
    world.start()
    await world.until(lambda: world.synced(first))
    for name in files:
        (world.repository.path / name).unlink()
    second = world.repository.commit("drop them")
    await world.until(lambda: world.status().get("lastAttempted") == second and world.status()["sync"] == "OutOfSync")
    assert world.value("b0") == "1"
    assert "20 of 21 objects would be deleted" in str(world.status()["conditions"])
    await world.until(lambda: len(world.runs()) == 2)
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    # Another look at the same revision: that the held one ran healthy proves nothing.
    asked = {**application["metadata"], "annotations": {"gitops.reconciler.io/requested-at": "now"}}
    world.api.put(APPLICATIONS, {**application, "metadata": asked})
    await world.until(lambda: world.status().get("lastHandledRequest") == "now")
    assert (world.value("b0"), world.status()["sync"]) == ("1", "OutOfSync")
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    approved = {**application["metadata"], "annotations": {"gitops.reconciler.io/approve-prune": second[:12]}}
    world.api.put(APPLICATIONS, {**application, "metadata": approved})
    await world.until(lambda: world.value("b0") is None and world.synced(second))


async def test_the_commit_itself_lets_its_deletions_pass_by_a_trailer(world: World) -> None:
    first = world.repository.commit("one", {f"b{n}.yaml": config_map(f"b{n}") for n in range(5)})
    world.start()
    await world.until(lambda: world.synced(first))
    for n in range(4):
        (world.repository.path / f"b{n}.yaml").unlink()
    second = world.repository.commit("drop them")
    await world.until(lambda: world.status().get("lastAttempted") == second and world.status()["sync"] == "OutOfSync")
    assert "`Reconciler-Allow-Prune: 4` lets them pass" in str(world.status()["conditions"])
    third = world.repository.commit("They are really gone\n\nReconciler-Allow-Prune: 4\nSigned-off-by: Ada <a@b>")
    await world.until(lambda: world.synced(third))
    assert [world.value(f"b{n}") for n in range(5)] == [None, None, None, None, "1"]


async def test_a_commit_that_the_operator_names_is_stayed_at(world: World) -> None:
    first = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    world.settings = replace(
        world.settings, bootstrap=Bootstrap(path=str(world.repository.path), branch=first, directory="")
    )
    world.start()
    await world.until(lambda: world.synced(first))
    assert world.value("a") == "1"


async def test_a_rewritten_history_deletes_nothing(world: World) -> None:
    base = world.repository.commit("base", {"a.yaml": config_map("a", "0")})
    first = world.repository.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    world.start()
    await world.until(lambda: world.synced(first))
    world.repository.git("reset", "-q", "--hard", base)
    other = world.repository.commit("other", {"a.yaml": config_map("a", "3")})
    await world.until(lambda: world.value("a") == "3" and world.status().get("lastAttempted") == other)
    await world.until(lambda: "history was rewritten" in str(world.status()["conditions"]))
    assert world.value("b") == "1"


async def test_a_change_behind_gits_back_is_undone(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    live = world.api.find("ConfigMap", "a")
    assert live is not None
    world.api.put(CONFIG_MAPS, {**live, "data": {"value": "hacked", "extra": "stays"}})
    await world.until(lambda: world.value("a") == "1")
    world.api.drop(CONFIG_MAPS, Key("default", "a"))
    await world.until(lambda: world.value("a") == "1")
    await world.until(lambda: [r["spec"]["trigger"] for r in world.runs()].count("Drift") == 2)


async def test_a_bad_file_stops_nothing_else_and_is_named_with_its_line(world: World) -> None:
    bad = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: [\n"
    first = world.repository.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    world.start()
    await world.until(lambda: world.synced(first))
    (world.repository.path / "b.yaml").unlink()
    world.repository.commit("two", {"a.yaml": config_map("a", "2"), "bad.yaml": bad, "c.yaml": "kind: ConfigMap\n"})
    await world.until(lambda: world.value("a") == "2" and len(world.runs()) == 2)
    failed = next(run["spec"] for run in world.runs() if run["spec"]["subject"] == "two")
    assert failed["outcome"] == "Partial"
    assert any(error.startswith("bad.yaml:") for error in failed["errors"])
    assert "c.yaml:1: apiVersion is missing or not text" in failed["errors"]
    assert world.value("b") == "1"
    assert world.status()["health"] == "Healthy"


async def test_an_unchanged_repository_causes_no_request_at_all(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit) and len(world.runs()) == 1)
    await world.until(lambda: world.status()["lastRun"])
    before = len(world.api.requests)
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    repository = world.api.get(REPOSITORIES, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert repository is not None
    # A commit that does not touch the manifests writes the statuses and its run, and no object.
    other = world.repository.commit("readme", {"README.md": "hello\n"})
    await world.until(lambda: world.synced(other))
    touched = [request for request in world.api.requests[before:] if "ConfigMap" in request[2]]
    assert touched == []


async def test_a_daemon_that_restarts_writes_nothing(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    daemon = world.start()
    await world.until(lambda: world.synced(commit) and world.status().get("lastRun"))
    await daemon.stop()
    before = len(world.api.requests)
    world.start()
    await world.until(lambda: len(world.api.requests) > before + 8)
    touched = [request for request in world.api.requests[before:] if "ConfigMap" in request[2]]
    assert touched == []


async def test_an_application_without_a_service_account_stays_in_its_namespace(world: World) -> None:
    child = (
        "apiVersion: gitops.reconciler.io/v1\nkind: Application\nmetadata: {name: child, namespace: reconciler-system}\n"
        "spec: {repositoryRef: {name: bootstrap}, path: child, targetNamespace: team, createNamespace: true}\n"
    )
    files = {"root/child.yaml": child, "child/in.yaml": config_map("in")}
    files["child/out.yaml"] = config_map("out", namespace="kube-system")
    world.settings = Settings(
        state_dir=world.settings.state_dir,
        source_roots=world.settings.source_roots,
        bootstrap=Bootstrap(path=str(world.repository.path), directory="root"),
    )
    world.repository.commit("one", files)
    world.start()
    await world.until(lambda: world.api.find("ConfigMap", "in", "team"))
    await world.until(lambda: world.status("child").get("sync") == "OutOfSync")
    assert world.api.find("ConfigMap", "out", "kube-system") is None
    assert "may write only to 'team'" in str(world.status("child")["conditions"])


async def test_a_service_account_is_impersonated_and_its_refusals_are_reported(world: World) -> None:
    child = (
        "apiVersion: gitops.reconciler.io/v1\nkind: Application\nmetadata: {name: child, namespace: reconciler-system}\n"
        "spec: {repositoryRef: {name: bootstrap}, path: child, targetNamespace: team, serviceAccountName: deployer}\n"
    )
    world.api.refuse = lambda user, verb, resource, obj: (
        Forbidden("deployer may not write here")
        if user.startswith("system:serviceaccount:") and resource.kind == "ConfigMap"
        else None
    )
    world.settings = Settings(
        state_dir=world.settings.state_dir,
        source_roots=world.settings.source_roots,
        bootstrap=Bootstrap(path=str(world.repository.path), directory="root"),
    )
    world.repository.commit("one", {"root/child.yaml": child, "child/a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: "deployer may not write here" in str(world.status("child").get("conditions")))
    users = {user for user, _, what in world.api.requests if what.startswith("ConfigMap")}
    assert users == {"system:serviceaccount:reconciler-system:deployer"}


async def test_an_application_that_is_deleted_takes_its_objects_with_it(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    transport = world.api.as_user("someone")
    await transport.delete(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    await world.until(lambda: world.value("a") is None)
    await world.until(lambda: world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap")) is None)


async def test_of_two_applications_that_declare_one_object_the_first_keeps_it(world: World) -> None:
    child = (
        "apiVersion: gitops.reconciler.io/v1\nkind: Application\nmetadata: {name: child, namespace: reconciler-system}\n"
        "spec: {repositoryRef: {name: bootstrap}, path: child, targetNamespace: default}\n"
    )
    commit = world.repository.commit("one", {"child.yaml": child, "child/a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    await world.until(lambda: "bootstrap owns it" in str(world.status("child").get("conditions")))
    owners = [
        inventory["application"]
        for inventory in world.api.list(INVENTORIES)
        if any(entry["name"] == "a" for entry in inventory["entries"])
    ]
    assert owners == ["bootstrap"]


async def test_an_application_waits_for_those_it_depends_on(world: World) -> None:
    def app(name: str, **spec: str) -> str:
        extra = "".join(f", {field}: {text}" for field, text in spec.items())
        return (
            "apiVersion: gitops.reconciler.io/v1\nkind: Application\n"
            f"metadata: {{name: {name}, namespace: reconciler-system}}\n"
            f"spec: {{repositoryRef: {{name: bootstrap}}, path: {name}, targetNamespace: default{extra}}}\n"
        )

    world.settings = replace(world.settings, bootstrap=Bootstrap(path=str(world.repository.path), directory="root"))
    broken = "kind: Nonsense\napiVersion: v1\nmetadata: {name: x}\n"
    files = {
        "root/apps.yaml": app("first") + "---\n" + app("second", dependsOn="[{name: first}]"),
        "first/a.yaml": broken,
        "second/b.yaml": config_map("b"),
    }
    world.repository.commit("one", files)
    world.start()
    await world.until(lambda: "waits for application first" in str(world.status("second").get("conditions")))
    assert world.value("b") is None
    world.repository.commit("two", {"first/a.yaml": config_map("a")})
    await world.until(lambda: world.value("b") == "1")


async def test_manifests_moved_to_another_application_are_taken_over_and_not_recreated(world: World) -> None:
    def app(name: str) -> str:
        return (
            "apiVersion: gitops.reconciler.io/v1\nkind: Application\n"
            f"metadata: {{name: {name}, namespace: reconciler-system}}\n"
            f"spec: {{repositoryRef: {{name: bootstrap}}, path: {name}, targetNamespace: default}}\n"
        )

    world.settings = replace(world.settings, bootstrap=Bootstrap(path=str(world.repository.path), directory="root"))
    objects = {f"c{n}.yaml": config_map(f"c{n}") for n in range(20)}
    first = {f"first/{name}": text for name, text in objects.items()}
    apps = {"root/apps.yaml": app("first") + "---\n" + app("second"), "second/own.yaml": config_map("own")}
    world.repository.commit("one", apps | first | {"first/stays.yaml": config_map("stays")})
    world.start()
    await world.until(lambda: world.status("first").get("sync") == world.status("second").get("sync") == "Synced")
    before = {name: (world.api.find("ConfigMap", f"c{name}") or {})["metadata"]["uid"] for name in range(20)}
    for name in objects:
        world.repository.git("mv", f"first/{name}", f"second/{name}")
    moved = world.repository.commit("move")

    def is_done(name: str) -> bool:
        status = world.status(name)
        return status.get("revision") == moved and status["sync"] == "Synced"

    await world.until(lambda: is_done("first") and is_done("second"))
    after = {name: (world.api.find("ConfigMap", f"c{name}") or {})["metadata"]["uid"] for name in range(20)}
    assert after == before
    owners = {
        entry["name"]: inventory["application"]
        for inventory in world.api.list(INVENTORIES)
        for entry in inventory["entries"]
    }
    assert (owners["c0"], owners["stays"]) == ("second", "first")


async def test_a_request_looks_at_the_source_and_is_answered(world: World) -> None:
    world.settings = replace(world.settings, watch_files=False)
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    value = await sync.request(world.api.as_user("someone"), application)
    await world.until(lambda: world.status().get("lastHandledRequest") == value)
    assert world.value("a") == "2"
    assert world.synced(second)
    fresh = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert fresh is not None
    assert sync.is_settled(fresh, value)


async def test_drift_that_is_only_reported_is_left_alone(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    world.api.put(APPLICATIONS, {**application, "spec": {**application["spec"], "drift": "report"}})
    live = world.api.find("ConfigMap", "a")
    assert live is not None
    world.api.put(CONFIG_MAPS, {**live, "data": {"value": "changed"}})
    await world.until(lambda: world.status().get("drifted") == ["ConfigMap default/a"])
    assert world.value("a") == "changed"
    told = {condition["message"] for condition in world.status()["conditions"]}
    assert told == {"ConfigMap default/a: was changed by someone else; only reported"}


async def test_a_suspended_application_is_left_alone_until_it_is_resumed(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    world.api.put(APPLICATIONS, {**application, "spec": {**application["spec"], "suspend": True}})
    await world.until(lambda: "Suspended" in str(world.status()["conditions"]))
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    repositories = Key(SYSTEM_NAMESPACE, "bootstrap")
    await world.until(lambda: (world.api.get(REPOSITORIES, repositories) or {})["status"]["revision"] == second)
    assert world.value("a") == "1"
    suspended = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert suspended is not None
    world.api.put(APPLICATIONS, {**suspended, "spec": {**suspended["spec"], "suspend": False}})
    await world.until(lambda: world.value("a") == "2")


async def test_a_suspension_ends_by_itself_at_its_time_and_says_who_and_why(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.synced(commit))
    application = world.api.get(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
    assert application is not None
    until = format_micro_time(datetime.now(UTC) + timedelta(seconds=1))
    suspension = {"by": "ada", "reason": "the database moves", "until": until}
    spec = {**application["spec"], "suspend": True, "suspension": suspension}
    world.api.put(APPLICATIONS, {**application, "spec": spec})
    await world.until(lambda: "suspended by ada until " in str(world.status()["conditions"]))
    assert "the database moves" in str(world.status()["conditions"])
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    await world.until(lambda: world.synced(second))
    assert datetime.now(UTC) >= parse_time(until)


async def test_a_newer_commit_takes_over_between_batches(world: World) -> None:
    slow = {f"{n:03}.yaml": config_map(f"c{n:03}") for n in range(100)}
    world.repository.commit("one", slow)
    world.start()
    # While the first is being applied, the second comes: what the first had not begun is applied from the second only.
    await world.until(lambda: world.value("c000"))
    second = world.repository.commit("two", {name: text.replace('"1"', '"2"') for name, text in slow.items()})
    await world.until(lambda: world.synced(second))
    assert {world.value(f"c{n:03}") for n in range(100)} == {"2"}


async def test_a_kind_and_its_objects_in_one_commit(world: World) -> None:
    crd = (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\n"
        "spec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}, versions: [{name: v1}]}\n"
    )
    thing = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: one}\nspec: {size: 1}\n"
    commit = world.repository.commit("one", {"thing.yaml": thing, "zcrd.yaml": crd})
    world.start()
    await world.until(lambda: world.synced(commit))
    assert world.api.find("Thing", "one")


async def test_a_folder_deploys_without_git(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "srv" / "plain"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text(config_map("a"))
    world.settings = Settings(
        state_dir=world.settings.state_dir,
        source_roots=world.settings.source_roots,
        bootstrap=Bootstrap(folder=str(folder)),
    )
    world.start()
    await world.until(lambda: world.value("a") == "1")
    (folder / "a.yaml").write_text(config_map("a", "2"))
    await world.until(lambda: world.value("a") == "2")
    assert world.status()["revision"].startswith("sha256:")
