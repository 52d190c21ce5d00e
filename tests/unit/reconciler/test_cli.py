"""What the commands print and return: statuses and runs as tables, differences as the server sees them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from cluster.client.discovery import Discovery
from cluster.machinery.objects import Obj
from cluster.resources.builtin import CONFIG_MAPS, SECRETS
from reconciler.cli import diff, history, status, sync
from reconciler.cli.columns import clean, table
from reconciler.model import Origin, manifest_of
from tests.unit.reconciler.fake_api import FakeApi

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def application(ready: str = "True", **found: Any) -> Obj:
    condition = {"type": "Ready", "status": ready, "reason": "Failed", "message": "a.yaml:3: no such kind"}
    known = {
        "sync": "Synced",
        "health": "Healthy",
        "revision": "0123456789abcdef",
        "author": "Ada <ada@example.com>",
        "subject": "Add a page",
        "lastSyncedAt": "2026-01-01T11:59:00Z",
        "lastAttempted": "fedcba9876543210",
        "conditions": [condition],
    }
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": {}, "status": {**known, **found}}


def test_status_shows_what_is_deployed_and_by_whom() -> None:
    assert status.report([application()], NOW).splitlines() == [
        "NAMESPACE   NAME   SYNC     HEALTH    REVISION   AUTHOR   SUBJECT      SYNCED",
        "default     web    Synced   Healthy   01234567   Ada      Add a page   60s ago",
    ]


def test_status_says_what_is_wrong_below_the_table() -> None:
    text = status.report([application("False")], NOW)
    assert text.splitlines()[-1] == "default/web at fedcba98: Failed: a.yaml:3: no such kind"
    assert not status.is_ready(application("False"))


def test_an_application_nobody_looked_at_yet_has_a_row_too() -> None:
    fresh = {"metadata": {"namespace": "default", "name": "web"}}
    assert "Unknown" in status.report([fresh], NOW)
    assert "not looked at yet" in status.report([fresh], NOW)


def run_record(**fields: Any) -> Obj:
    known = {
        "revision": "0123456789abcdef",
        "author": "Ada <a@b>",
        "subject": "Add a page",
        "outcome": "Partial",
        "finishedAt": "2026-01-01T11:00:00Z",
        "counts": {"created": 2, "updated": 0, "failed": 1},
        "actions": [{"action": "Create", "object": "ConfigMap default/a", "reason": "declared", "origin": "a.yaml:1"}],
        "errors": ["b.yaml:2: it is broken"],
    }
    return {"metadata": {"namespace": "default", "name": "web-1"}, "spec": {**known, **fields}}


def test_history_names_the_commit_the_author_and_the_changes() -> None:
    header, row = history.report([run_record()], NOW).splitlines()
    assert header.split() == ["RUN", "REVISION", "AUTHOR", "SUBJECT", "OUTCOME", "CHANGES", "WHEN"]
    assert row.split() == ["web-1", "01234567", "Ada", "Add", "a", "page", "Partial", "+2", "!1", "60m", "ago"]


def test_a_run_in_full_has_its_actions_with_their_places_and_its_errors() -> None:
    text = history.details(run_record())
    assert "Create   ConfigMap default/a   declared   a.yaml:1" in text
    assert "  b.yaml:2: it is broken" in text


def test_control_characters_of_a_commit_never_reach_the_terminal() -> None:
    assert clean("a\x1b[31mred\nb") == "a [31mred b"
    assert "\x1b" not in table(("A",), [("\x1b]0;title\x07",)])


def test_long_cells_are_cut() -> None:
    assert table(("A",), [("x" * 100,)]).splitlines()[1] == "x" * 59 + "…"


def test_a_sync_is_settled_once_its_request_was_handled_and_nothing_is_under_way() -> None:
    busy = [{"type": "Reconciling", "status": "True"}]
    assert not sync.is_settled(application(lastHandledRequest="old"), "new")
    assert not sync.is_settled(application(lastHandledRequest="new", conditions=busy), "new")
    assert sync.is_settled(application(lastHandledRequest="new"), "new")


async def difference(api: FakeApi, obj: Obj) -> list[str]:
    transport = api.as_user("someone")
    discovery = Discovery(transport)
    await discovery.refresh()
    return list(await diff.difference(transport, discovery, manifest_of(obj, Origin("a.yaml", 1)), salt=b"s"))


def config_map(value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default"},
        "data": {"v": value},
    }


async def test_a_difference_is_what_the_server_would_change_and_changes_nothing() -> None:
    api = FakeApi()
    api.put(CONFIG_MAPS, config_map("old"))
    lines = await difference(api, config_map("new"))
    assert [line for line in lines if line[:1] in "+-"][2:] == ["-  v: old", "+  v: new"]
    found = api.find("ConfigMap", "a")
    assert found is not None
    assert found["data"] == {"v": "old"}


async def test_the_same_object_has_no_difference() -> None:
    api = FakeApi()
    api.put(CONFIG_MAPS, config_map("same"))
    assert await difference(api, config_map("same")) == []


async def test_values_of_secrets_are_compared_and_not_shown() -> None:
    api = FakeApi()
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "default"},
        "data": {"password": "aHVudGVyMg=="},
    }
    api.put(SECRETS, secret)
    text = "\n".join(await difference(api, {**secret, "data": {"password": "aHVudGVyMw=="}}))
    assert "***" in text
    assert "aHVudGVy" not in text


def test_the_verbs_can_be_configured() -> None:
    import argparse

    from reconciler.cli import resume, suspend

    for module in (status, history, sync, diff, suspend, resume):
        parser = argparse.ArgumentParser()
        module.configure(parser)
        arguments = parser.parse_args([] if module is status else ["x"])
        assert arguments.namespace == ""
    assert asyncio.iscoroutinefunction(sync.request)
