"""A commit that breaks its application is given up: the last good one runs at once, and Git says so with the evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster.machinery.objects import Key
from cluster.resources.builtin import DEPLOYMENTS, EVENTS
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.crds.application import APPLICATIONS
from tests.real.gitops.world import World, config_map

pytestmark = pytest.mark.needs("git")

APPLICATION = Key(SYSTEM_NAMESPACE, "bootstrap")


def web(image: str) -> str:
    return (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {a: b}}\n"
        f"  template: {{metadata: {{labels: {{a: b}}}}, spec: {{containers: [{{name: web, image: '{image}'}}]}}}}\n"
    )


def image_of(world: World) -> str:
    found = world.api.find("Deployment", "web")
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"]) if found else ""


def report(world: World, *, healthy: bool) -> None:
    """What the Deployment controller would say of the present generation."""
    found = world.api.find("Deployment", "web")
    assert found is not None
    generation = found["metadata"]["generation"]
    status: dict[str, Any] = {"observedGeneration": generation, "replicas": 1, "updatedReplicas": 1}
    if healthy:
        status["availableReplicas"] = 1
    else:
        message = "0 of 1 available\nfor too long"
        status["conditions"] = [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": message}
        ]
    world.api.put(DEPLOYMENTS, {**found, "status": status})


def asking(world: World, **rule: Any) -> None:
    found = world.api.get(APPLICATIONS, APPLICATION)
    assert found is not None
    world.api.put(APPLICATIONS, {**found, "spec": {**found["spec"], "autoRevert": rule}})


def quarantined(world: World) -> list[dict[str, Any]]:
    return list(world.status().get("quarantined") or ())


async def a_good_beginning(world: World, **rule: Any) -> str:
    bootstrap = world.settings.bootstrap
    assert bootstrap is not None
    world.settings = replace(world.settings, bootstrap=replace(bootstrap, directory="shop"))
    good = world.repository.commit("Good", {"shop/web.yaml": web("web:1"), "other/a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: image_of(world) == "web:1")
    asking(world, **rule)
    report(world, healthy=True)
    await world.until(lambda: world.synced(good) and world.status()["health"] == "Healthy")
    await world.until(lambda: any(run["spec"]["outcome"] == "Succeeded" for run in world.runs()))
    return good


async def test_a_commit_that_breaks_its_application_is_taken_back_with_the_evidence(world: World) -> None:
    good = await a_good_beginning(world)
    warning = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": "default", "name": "e1"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "Back-off pulling image web:2",
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web-5d9f"},
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    world.api.put(EVENTS, warning)
    bad = world.repository.commit("Bad", {"shop/web.yaml": web("web:2"), "other/a.yaml": config_map("a", "2")})
    await world.until(lambda: image_of(world) == "web:2")
    report(world, healthy=False)
    await world.until(lambda: image_of(world) == "web:1")
    report(world, healthy=True)
    await world.until(lambda: world.repository.git("rev-parse", "HEAD") != bad)
    head = world.repository.git("rev-parse", "HEAD")
    await world.until(lambda: world.synced(head) and world.status()["health"] == "Healthy")
    message = world.repository.git("log", "-1", "--format=%B")
    assert message.splitlines()[0] == 'Revert "Bad" for reconciler-system/bootstrap'
    assert "- Deployment.apps default/web: Degraded: 0 of 1 available for too long" in message
    assert "- Pod web-5d9f: BackOff: Back-off pulling image web:2" in message
    assert message.splitlines()[-3:] == [
        f"Reconciler-Revert: {bad}",
        f"Reconciler-Good: {good}",
        "Reconciler-Application: reconciler-system/bootstrap",
    ]
    # This application's path alone, in the work tree too; what the commit did elsewhere stays.
    assert world.repository.git("diff", "--name-only", "HEAD~1", "HEAD") == "shop/web.yaml"
    assert world.repository.git("status", "--porcelain") == ""
    assert "web:1" in (world.repository.path / "shop" / "web.yaml").read_text()
    (entry,) = quarantined(world)
    assert (entry["revision"], entry["good"], entry["revertedBy"]) == (bad, good, head)
    assert "Revert" in {run["spec"]["trigger"] for run in world.runs()}


async def test_content_that_was_taken_back_and_is_brought_again_is_tried_again(world: World) -> None:
    await a_good_beginning(world, maxPerHour=1)
    bad = world.repository.commit("Bad", {"shop/web.yaml": web("web:2")})
    await world.until(lambda: image_of(world) == "web:2")
    report(world, healthy=False)
    await world.until(lambda: world.repository.git("rev-parse", "HEAD") != bad and image_of(world) == "web:1")
    report(world, healthy=True)
    await world.until(lambda: world.synced(world.repository.git("rev-parse", "HEAD")))
    again = world.repository.commit("I mean it", {"shop/web.yaml": web("web:2")})
    await world.until(lambda: image_of(world) == "web:2")
    report(world, healthy=False)
    # One an hour is allowed, and that was used up.
    await world.until(lambda: any("given up within an hour" in message for _, message in world.events.said))
    assert (image_of(world), world.repository.git("rev-parse", "HEAD")) == ("web:2", again)


async def test_a_merge_is_given_up_but_not_taken_back_without_consent(world: World) -> None:
    good = await a_good_beginning(world)
    world.repository.git("checkout", "-q", "-b", "feature")
    world.repository.commit("Bad", {"shop/web.yaml": web("web:2")})
    world.repository.git("checkout", "-q", "main")
    world.repository.git("merge", "-q", "--no-ff", "-m", "Merge", "feature")
    merge = world.repository.git("rev-parse", "HEAD")
    await world.until(lambda: image_of(world) == "web:2")
    report(world, healthy=False)
    await world.until(lambda: image_of(world) == "web:1")
    await world.until(lambda: quarantined(world) and "notPushed" in quarantined(world)[0])
    assert "1 merges would be taken back" in quarantined(world)[0]["notPushed"]
    assert world.repository.git("rev-parse", "HEAD") == merge
    # A commit elsewhere brings the bad content along: it stays given up.
    report(world, healthy=True)
    elsewhere = world.repository.commit("Elsewhere", {"other/a.yaml": config_map("a", "3")})
    await world.until(lambda: world.status().get("health") == "Healthy")
    assert (image_of(world), world.status()["revision"]) == ("web:1", good)
    # Whoever repairs it is heard.
    repaired = world.repository.commit("Repair", {"shop/web.yaml": web("web:3")})
    await world.until(lambda: image_of(world) == "web:3")
    assert elsewhere != repaired


async def test_without_being_asked_a_broken_commit_stays(world: World) -> None:
    await a_good_beginning(world)
    found = world.api.get(APPLICATIONS, APPLICATION)
    assert found is not None
    world.api.put(APPLICATIONS, {**found, "spec": {k: v for k, v in found["spec"].items() if k != "autoRevert"}})
    bad = world.repository.commit("Bad", {"shop/web.yaml": web("web:2")})
    await world.until(lambda: image_of(world) == "web:2")
    report(world, healthy=False)
    await world.until(lambda: world.status().get("health") == "Degraded")
    assert (image_of(world), world.repository.git("rev-parse", "HEAD"), quarantined(world)) == ("web:2", bad, [])
