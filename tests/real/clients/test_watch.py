"""Watches as informers use them, over bare HTTPS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.real.clients.served import DEADLINE_S, Server


class Events:
    """A watch's events as they come."""

    def __init__(self, server: Server, path: str, query: str) -> None:
        self._opened = server.connection()
        connection = self._opened.__enter__()
        connection.request("GET", f"{path}?watch=true&{query}")
        self.reply = connection.getresponse()

    def next(self) -> Any:
        """The next event; None at the end of the stream."""
        line = self.reply.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        self.reply.close()
        self._opened.__exit__(None, None, None)


@contextmanager
def watching(server: Server, path: str, query: str = "") -> Iterator[Events]:
    events = Events(server, path, query)
    try:
        yield events
    finally:
        events.close()


@pytest.fixture
def secrets(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


def create(server: Server, path: str, name: str, **labels: str) -> Any:
    answer = server.request("POST", path, {"metadata": {"name": name, "labels": labels}, "stringData": {"a": "b"}})
    assert answer.status == 201, answer.body
    return answer.obj


def relabel(server: Server, path: str, name: str, **labels: str | None) -> Any:
    patch = json.dumps({"metadata": {"labels": labels}}).encode()
    answer = server.request("PATCH", f"{path}/{name}", patch, headers={"Content-Type": "application/merge-patch+json"})
    assert answer.status == 200, answer.body
    return answer.obj


def told(event: Any) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


def test_events_follow_the_version_they_start_from(server: Server, secrets: str) -> None:
    first = create(server, secrets, "a")
    create(server, secrets, "b")
    with watching(server, secrets, f"resourceVersion={first['metadata']['resourceVersion']}") as events:
        assert events.reply.headers["Content-Type"] == "application/json"
        assert told(events.next()) == ("ADDED", "b")
        relabel(server, secrets, "a", x="y")
        assert told(events.next()) == ("MODIFIED", "a")
        gone = server.request("DELETE", f"{secrets}/a")
        assert gone.status == 200
        deleted = events.next()
        assert told(deleted) == ("DELETED", "a")
        assert int(deleted["object"]["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"]) + 2


def test_entering_a_selection_is_an_addition_and_leaving_it_a_deletion(server: Server, secrets: str) -> None:
    create(server, secrets, "a")
    version = server.request("GET", secrets).obj["metadata"]["resourceVersion"]
    with watching(server, secrets, f"resourceVersion={version}&labelSelector=on%3Dyes") as events:
        relabel(server, secrets, "a", on="yes")
        assert told(events.next()) == ("ADDED", "a")
        relabel(server, secrets, "a", other="1")
        assert told(events.next()) == ("MODIFIED", "a")
        left = relabel(server, secrets, "a", on=None)
        event = events.next()
        assert told(event) == ("DELETED", "a")
        assert event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
        assert event["object"]["metadata"]["labels"]["on"] == "yes"


def test_a_watch_list_ends_its_beginning_with_a_mark(server: Server, secrets: str) -> None:
    create(server, secrets, "a")
    create(server, secrets, "b")
    query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    with watching(server, secrets, query) as events:
        assert [told(events.next()) for _ in range(2)] == [("ADDED", "a"), ("ADDED", "b")]
        mark = events.next()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["kind"] == "Secret"
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        create(server, secrets, "c")
        assert told(events.next()) == ("ADDED", "c")


def test_a_watch_ends_when_it_was_told_to_with_a_bookmark(server: Server, secrets: str) -> None:
    version = server.request("GET", secrets).obj["metadata"]["resourceVersion"]
    query = f"resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"
    with watching(server, secrets, query) as events:
        last = events.next()
        assert last["type"] == "BOOKMARK"
        assert int(last["object"]["metadata"]["resourceVersion"]) >= int(version)
        assert events.next() is None


def test_a_table_is_watched_with_its_columns_once(server: Server, secrets: str) -> None:
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    create(server, secrets, "a")
    create(server, secrets, "b")
    with server.connection(timeout_s=DEADLINE_S) as connection:
        connection.request("GET", f"{secrets}?watch=1&timeoutSeconds=1", headers=accept)
        lines = [json.loads(line)["object"] for line in connection.getresponse().read().splitlines()]
    assert [line["rows"][0]["cells"][0] for line in lines] == ["a", "b"]
    assert [column["name"] for column in lines[0]["columnDefinitions"]] == ["Name", "Type", "Data", "Age"]
    assert not lines[1].get("columnDefinitions")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("watch=true&sendInitialEvents=true", 422),
        ("watch=true&resourceVersionMatch=Exact&resourceVersion=1", 422),
        ("resourceVersionMatch=NotOlderThan", 422),
        ("resourceVersion=nonsense", 400),
        ("watch=true&resourceVersion=-1", 400),
        ("labelSelector=a%20b%20c", 400),
        ("limit=-1", 400),
        ("limit=many", 400),
        ("watch=true&timeoutSeconds=soon", 400),
    ],
)
def test_options_that_make_no_sense_are_refused(server: Server, secrets: str, query: str, status: int) -> None:
    answer = server.request("GET", f"{secrets}?{query}")
    assert (answer.status, answer.obj["kind"]) == (status, "Status"), answer.body


def test_a_version_that_was_never_reached_is_waited_for_then_refused(server: Server, secrets: str) -> None:
    answer = server.request("GET", f"{secrets}?resourceVersion=999999999")
    assert answer.status == 504
    assert answer.obj["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_version_from_before_the_history_is_expired(server: Server, secrets: str) -> None:
    create(server, secrets, "a")
    with watching(server, "/api/v1/secrets", "resourceVersion=1") as events:
        event = events.next()
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")
        assert event["object"]["message"].startswith("too old resource version: 1 (")
        assert events.next() is None
