"""Laws of writing and reading, over the API itself with all its admission: routes agree, ownership is conserved, lists and
watches tell one history.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.apiserver.plain_api import Api, plain_api

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MAPS = "/api/v1/namespaces/default/configmaps"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with plain_api() as made:
        yield made


# -- the routes to one object

WORDS = st.sampled_from(["1", "2", "3"])
SMALL_MAPS = st.dictionaries(st.sampled_from("xyz"), WORDS, min_size=1, max_size=2)
ENVIRONMENTS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("ABC"), "value": WORDS}),
    min_size=1,
    max_size=3,
    unique_by=lambda e: e["name"],
)
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc"), "image": st.sampled_from(["i:1", "i:2"])},
        optional={"args": st.lists(WORDS, min_size=1, max_size=2), "env": ENVIRONMENTS, "workingDir": WORDS},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda c: c["name"],
)  # fmt: skip


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """A Deployment without a name, as its author states it."""
    optional = draw(
        st.fixed_dictionaries({}, optional={"replicas": st.integers(0, 3), "minReadySeconds": st.integers(1, 2)})
    )
    pod = {"containers": draw(CONTAINERS)} | draw(
        st.fixed_dictionaries({}, optional={"nodeSelector": SMALL_MAPS, "priority": st.just(0)})
    )
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": draw(st.fixed_dictionaries({}, optional={"labels": SMALL_MAPS})),
        "spec": {
            **optional,
            "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": pod},
        },
    }


def named(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "metadata": {**config["metadata"], "name": f"d{next(_numbers)}"}}


def essence(obj: Any) -> Any:
    """What the author decides, and the defaults that follow."""
    return obj["metadata"].get("labels", {}), obj["spec"]


def merge_between(old: Any, new: Any) -> Any:
    """The RFC 7386 patch from one object to another."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if key not in old:
            patch[key] = value
        elif value != old[key]:
            inner = isinstance(value, dict) and isinstance(old[key], dict)
            patch[key] = merge_between(old[key], value) if inner else value
    return patch


LISTS_BY_NAME = ("containers", "env")


def strategic_between(old: Any, new: Any) -> Any:
    """The same as a strategic merge, lists by name item for item."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if value == before:
            continue
        if key in LISTS_BY_NAME and before is not None:
            by_name = {item["name"]: item for item in before}
            kept = {item["name"] for item in value}
            patch[f"$setElementOrder/{key}"] = [{"name": item["name"]} for item in value]
            patch[key] = [
                {**strategic_between(by_name.get(item["name"], {}), item), "name": item["name"]} for item in value
            ] + [{"$patch": "delete", "name": name} for name in by_name if name not in kept]
        elif isinstance(value, dict) and isinstance(before, dict):
            patch[key] = strategic_between(before, value)
        else:
            patch[key] = value
    return patch


@settings(max_examples=25)
@given(first=configurations(), second=configurations())
def test_every_route_leads_to_the_same_object(api: Api, first: dict[str, Any], second: dict[str, Any]) -> None:
    goal = essence(api("POST", DEPLOYMENTS, named(second)))
    labels = goal[0]

    replaced = api("POST", DEPLOYMENTS, named(first))["metadata"]["name"]
    put = {**second, "metadata": {**second["metadata"], "name": replaced}}
    assert essence(api("PUT", f"{DEPLOYMENTS}/{replaced}", put)) == goal

    for media, between in (("merge-patch+json", merge_between), ("strategic-merge-patch+json", strategic_between)):
        made = api("POST", DEPLOYMENTS, named(first))
        patch = {"spec": between(made["spec"], goal[1]), "metadata": {"labels": between(essence(made)[0], labels)}}
        path = f"{DEPLOYMENTS}/{made['metadata']['name']}"
        assert essence(api("PATCH", path, patch, media)) == goal, (media, patch)

    made = api("POST", DEPLOYMENTS, named(first))
    steps = [
        {"op": "replace", "path": "/spec", "value": goal[1]},
        {"op": "add", "path": "/metadata/labels", "value": labels},
    ]
    assert essence(api("PATCH", f"{DEPLOYMENTS}/{made['metadata']['name']}", steps, "json-patch+json")) == goal

    applied = named(first)
    path = f"{DEPLOYMENTS}/{applied['metadata']['name']}"
    api("PATCH", path, applied, "apply-patch+yaml", fieldManager="me")
    again = {**second, "metadata": {**second["metadata"], "name": applied["metadata"]["name"]}}
    assert essence(api("PATCH", path, again, "apply-patch+yaml", fieldManager="me")) == goal


@settings(max_examples=30)
@given(config=configurations(), other=configurations())
def test_what_changes_nothing_writes_nothing(api: Api, config: dict[str, Any], other: dict[str, Any]) -> None:
    config = named(config)
    path = f"{DEPLOYMENTS}/{config['metadata']['name']}"
    api("PATCH", path, {**other, "metadata": config["metadata"]}, "apply-patch+yaml", fieldManager="them")
    made = api("PATCH", path, config, "apply-patch+yaml", fieldManager="me", force="true")
    revision = api.server.state.revision
    assert api("PATCH", path, config, "apply-patch+yaml", fieldManager="me") == made
    assert api("PUT", path, made) == made
    assert api("PATCH", path, {"spec": made["spec"]}, "merge-patch+json") == made
    assert api("PATCH", path, {"spec": made["spec"]}, "strategic-merge-patch+json") == made
    assert api("PATCH", path, [{"op": "test", "path": "/spec", "value": made["spec"]}], "json-patch+json") == made
    assert api.server.state.revision == revision


# -- who owns what

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["apply", "merge", "put"]),
        st.sampled_from(["m1", "m2", "m3"]),
        st.dictionaries(st.sampled_from("abcd"), WORDS, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50)
@given(changes=CHANGES)
def test_ownership_is_conserved(api: Api, changes: list[tuple[str, str, dict[str, str]]]) -> None:
    """Every field has an owner, nobody owns what is not there, and an applier owns exactly what it stated last."""
    name = f"c{next(_numbers)}"
    path = f"{MAPS}/{name}"
    api("POST", MAPS, {"metadata": {"name": name}, "data": {"a": "0"}}, fieldManager="creator")
    stated: dict[str, set[str]] = {}
    for how, manager, data in changes:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
        before = set(api("GET", path).get("data", {}))
        match how:
            case "apply":
                live = api("PATCH", path, body, "apply-patch+yaml", fieldManager=manager, force="true")
                stated[manager] = set(data)
            case "merge":
                live = api("PATCH", path, {"data": data}, "merge-patch+json", fieldManager=manager)
            case _:
                live = api("PUT", path, body, fieldManager=manager)
        owned: dict[str, set[str]] = {}
        for entry in live["metadata"]["managedFields"]:
            fields = entry["fieldsV1"].get("f:data", {})
            owned.setdefault(f"{entry['manager']} {entry['operation']}", set()).update(
                key.removeprefix("f:") for key in fields if key != "."
            )
        present = set(live.get("data", {}))
        assert set().union(*owned.values()) == present, (before, owned)
        if how == "apply":
            assert owned.get(f"{manager} Apply", set()) == set(data)
        else:
            assert all(owned.get(f"{who} Apply", set()) <= keys for who, keys in stated.items())


# -- one history

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["create", "label", "delete"]), st.integers(0, 5), st.sampled_from(["on", "off"])),
    max_size=8,
)


def play(api: Api, prefix: str, operations: list[tuple[str, int, str]]) -> None:
    for verb, number, value in operations:
        path = f"{MAPS}/{prefix}{number}"
        labels = {"law": prefix, "light": value}
        match verb:
            case "create":
                api.reply("POST", MAPS, {"metadata": {"name": f"{prefix}{number}", "labels": labels}})
            case "label":
                api.reply("PATCH", path, {"metadata": {"labels": labels}}, "merge-patch+json")
            case _:
                api.reply("DELETE", path)


def versions(items: list[Any]) -> Mapping[str, str]:
    return {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in items}


@settings(max_examples=30)
@given(before=OPERATIONS, meanwhile=OPERATIONS, limit=st.integers(1, 3))
def test_pages_are_one_list_whatever_happens_between_them(
    api: Api, before: list[tuple[str, int, str]], meanwhile: list[tuple[str, int, str]], limit: int
) -> None:
    prefix = f"p{next(_numbers)}-"
    selector = f"law={prefix}".rstrip("-")
    prefix = prefix.rstrip("-")
    play(api, prefix, before)
    whole = api("GET", MAPS, labelSelector=selector)
    page = api("GET", MAPS, labelSelector=selector, limit=str(limit))
    items = list(page["items"])
    while token := page["metadata"].get("continue"):
        play(api, prefix, meanwhile[:2])
        meanwhile = meanwhile[2:]
        page = api("GET", MAPS, labelSelector=selector, limit=str(limit), continue_=token)
        assert page["metadata"]["resourceVersion"] == whole["metadata"]["resourceVersion"]
        items += page["items"]
    assert items == whole["items"]
    play(api, prefix, meanwhile)
    exact = {"resourceVersion": whole["metadata"]["resourceVersion"], "resourceVersionMatch": "Exact"}
    assert api("GET", MAPS, labelSelector=selector, **exact)["items"] == whole["items"]


@settings(max_examples=30)
@given(before=OPERATIONS, after=OPERATIONS, selected=st.booleans())
def test_a_watch_from_a_list_replays_to_the_list_of_its_end(
    api: Api, before: list[tuple[str, int, str]], after: list[tuple[str, int, str]], selected: bool
) -> None:
    prefix = f"w{next(_numbers)}"
    selector = f"law={prefix}" + (",light=on" if selected else "")
    play(api, prefix, before)
    listed = api("GET", MAPS, labelSelector=selector)
    known = dict(versions(listed["items"]))
    play(api, prefix, after)
    watch = api.reply(
        "GET", MAPS, watch="true", labelSelector=selector, resourceVersion=listed["metadata"]["resourceVersion"]
    )
    assert watch.stream is not None
    last = int(listed["metadata"]["resourceVersion"])
    for line in (watch.stream.take() or b"").splitlines():
        event = orjson.loads(line)
        meta = event["object"]["metadata"]
        assert int(meta["resourceVersion"]) > last
        last = int(meta["resourceVersion"])
        match event["type"]:
            case "ADDED":
                assert meta["name"] not in known
                known[meta["name"]] = meta["resourceVersion"]
            case "MODIFIED":
                assert meta["name"] in known
                known[meta["name"]] = meta["resourceVersion"]
            case "DELETED":
                del known[meta["name"]]
            case other:
                pytest.fail(other)
    watch.stream.close()
    assert known == versions(api("GET", MAPS, labelSelector=selector)["items"])
