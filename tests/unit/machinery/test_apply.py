"""Server-side apply: who owns what, what conflicts, what a smaller configuration takes away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.machinery.apply import apply, track_update
from cluster.machinery.errors import BadRequest, Conflict
from cluster.machinery.fieldsets import difference, difference_below, has_path, intersection, paths, union
from cluster.machinery.managed_fields import UPDATE_MANAGERS_MAX, entries_of
from cluster.machinery.ownership import all_fields
from cluster.machinery.schema import Node

TEXT = Node(type="string")
INT = Node(type="integer")
PORT = Node(type="object", properties={"containerPort": INT, "protocol": TEXT, "name": TEXT})
CONTAINER = Node(
    type="object",
    properties={
        "name": TEXT,
        "image": TEXT,
        "args": Node(type="array", items=TEXT, list_type="atomic"),
        "ports": Node(type="array", items=PORT, list_type="map", list_map_keys=("containerPort", "protocol")),
        "cpu": Node(format="quantity"),
    },
)
STRINGS = Node(type="object", additional=TEXT)
META = Node(
    type="object",
    properties={
        "name": TEXT,
        "namespace": TEXT,
        "resourceVersion": TEXT,
        "labels": STRINGS,
        "annotations": STRINGS,
        "finalizers": Node(type="array", items=TEXT, list_type="set"),
        "managedFields": Node(type="array", items=Node(preserve_unknown=True)),
    },
)
SPEC = Node(
    type="object",
    properties={
        "replicas": INT,
        "selector": Node(type="object", map_type="atomic", additional=TEXT),
        "strategy": Node(type="object", properties={"type": TEXT, "surge": INT}),
        "containers": Node(type="array", items=CONTAINER, list_type="map", list_map_keys=("name",)),
    },
)
NODE = Node(
    type="object",
    properties={
        "apiVersion": TEXT,
        "kind": TEXT,
        "metadata": META,
        "spec": SPEC,
        "status": Node(preserve_unknown=True),
    },
)


def thing(spec=None, **meta):
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n", **meta}}
    return obj if spec is None else {**obj, "spec": spec}


def put(live, config, manager="a", *, force=False, now="t1", subresource=""):
    return apply(live, config, manager, NODE, force=force, now=now, api_version="apps/v1", subresource=subresource)


def update(old, new, manager="u", now="t1", subresource=""):
    return track_update(old, new, manager, NODE, now=now, api_version="apps/v1", subresource=subresource)


def bare(obj):
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def owned(obj, manager):
    return [p for entry in entries_of(obj) if entry["manager"] == manager for p in paths(entry["fieldsV1"])]


def test_applying_creates_and_owns_exactly_what_is_stated():
    config = thing({"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}, labels={"x": "y"})
    made = put(None, config)
    assert bare(made) == config
    (entry,) = entries_of(made)
    assert entry == {
        "manager": "a",
        "operation": "Apply",
        "apiVersion": "apps/v1",
        "time": "t1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:metadata": {"f:labels": {"f:x": {}}},
            "f:spec": {
                "f:containers": {
                    'k:{"name":"c"}': {
                        ".": {},
                        "f:name": {},
                        "f:image": {},
                        "f:ports": {
                            'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                        },
                    }
                }
            },
        },
    }


def test_applying_the_same_again_returns_the_very_object():
    made = put(None, thing({"replicas": 1}))
    assert put(made, thing({"replicas": 1}), now="t2") is made


def test_another_managers_value_conflicts_in_upstreams_words():
    live = update(None, thing({"replicas": 1}), "kubectl-create")
    with pytest.raises(Conflict) as error:
        put(live, thing({"replicas": 2}))
    assert error.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-create" using apps/v1: .spec.replicas'
    )
    (cause,) = error.value.causes
    assert (cause.reason, cause.field) == ("FieldManagerConflict", ".spec.replicas")


def test_many_conflicts_are_listed_by_manager():
    live = put(None, thing({"replicas": 1, "containers": [{"name": "c", "image": "1"}]}), "b")
    with pytest.raises(Conflict) as error:
        put(live, thing({"replicas": 2, "containers": [{"name": "c", "image": "2"}]}))
    assert error.value.message == (
        'Apply failed with 2 conflicts: conflicts with "b":\n- .spec.containers[name="c"].image\n- .spec.replicas'
    )


def test_force_takes_the_field_from_its_owner():
    live = put(None, thing({"replicas": 1}), "b")
    forced = put(live, thing({"replicas": 2}), force=True, now="t2")
    assert forced["spec"]["replicas"] == 2
    assert owned(forced, "b") == []
    assert owned(forced, "a") == [".spec.replicas"]


def test_equal_values_are_shared_and_stay_until_the_last_owner_lets_go():
    live = put(put(None, thing({"replicas": 1}), "b"), thing({"replicas": 1}), "a")
    assert owned(live, "a") == owned(live, "b") == [".spec.replicas"]
    one_left = put(live, thing(labels={"k": "v"}), "a")
    assert one_left["spec"]["replicas"] == 1
    none_left = put(one_left, thing(labels={"k": "v"}), "b")
    assert "replicas" not in none_left.get("spec", {})


def test_what_is_no_longer_stated_goes_and_what_others_set_stays():
    live = put(None, thing({"replicas": 1, "strategy": {"type": "R", "surge": 1}}, labels={"x": "1", "y": "2"}))
    live = update(live, {**live, "spec": {**live["spec"], "containers": [{"name": "s"}]}}, "injector")
    smaller = put(live, thing({"strategy": {"type": "R"}}, labels={"y": "2"}))
    assert bare(smaller) == thing({"strategy": {"type": "R"}, "containers": [{"name": "s"}]}, labels={"y": "2"})


def test_a_list_item_goes_with_all_its_defaults():
    live = put(None, thing({"containers": [{"name": "a"}, {"name": "b", "image": "x"}]}))
    defaulted = {**live, "spec": {"containers": [{"name": "a"}, {"name": "b", "image": "x", "args": ["d"]}]}}
    assert put(defaulted, thing({"containers": [{"name": "a"}]}))["spec"] == {"containers": [{"name": "a"}]}


def test_items_keep_the_configurations_order_with_foreign_ones_where_they_stood():
    live = put(None, thing({"containers": [{"name": "a"}, {"name": "b"}]}))
    live = update(live, {**live, "spec": {"containers": [{"name": "s"}, {"name": "a"}, {"name": "b"}]}}, "injector")
    swapped = put(live, thing({"containers": [{"name": "b"}, {"name": "a"}]}))
    assert [c["name"] for c in swapped["spec"]["containers"]] == ["s", "b", "a"]


def test_atomic_lists_and_maps_are_one_field():
    live = put(None, thing({"selector": {"a": "1"}, "containers": [{"name": "c", "args": ["x", "y"]}]}))
    assert ".spec.selector" in owned(live, "a")
    changed = put(live, thing({"selector": {"b": "2"}, "containers": [{"name": "c", "args": ["y"]}]}))
    assert changed["spec"] == {"selector": {"b": "2"}, "containers": [{"name": "c", "args": ["y"]}]}


def test_sets_are_joined_by_value():
    live = put(put(None, thing(finalizers=["x"]), "b"), thing(finalizers=["y"]), "a")
    assert live["metadata"]["finalizers"] == ["y", "x"]
    assert owned(live, "a") == ['.metadata.finalizers[="y"]']
    assert put(live, thing(labels={"l": ""}), "b")["metadata"]["finalizers"] == ["y"]


def test_a_quantity_written_differently_is_no_change():
    live = put(None, thing({"containers": [{"name": "c", "cpu": "1"}]}), "b")
    both = put(live, thing({"containers": [{"name": "c", "cpu": "1000m"}]}), "a")
    assert both["spec"]["containers"][0]["cpu"] == "1"


def test_an_object_without_entries_belongs_to_before_first_apply():
    live = thing({"replicas": 1}, labels={"x": "y"})
    with pytest.raises(Conflict, match=r'"before-first-apply" using apps/v1: \.spec\.replicas'):
        put(live, thing({"replicas": 2}))
    forced = put(live, thing({"replicas": 2}), force=True)
    assert owned(forced, "before-first-apply") == [".metadata.labels", ".metadata.labels.x"]


def test_kubectl_takes_over_what_it_once_applied_client_side():
    note = {"kubectl.kubernetes.io/last-applied-configuration": '{"spec":{"replicas":1}}'}
    live = update(None, thing({"replicas": 1}, annotations=note), "kubectl-client-side-apply")
    assert put(live, thing({"replicas": 2}), "kubectl")["spec"]["replicas"] == 2
    meanwhile = update(live, {**live, "spec": {"replicas": 5}}, "hpa")
    with pytest.raises(Conflict):
        put(meanwhile, thing({"replicas": 2}), "kubectl")


def test_status_is_not_owned_through_the_main_endpoint_nor_spec_through_status():
    made = put(None, {**thing({"replicas": 1}), "status": {"ready": 1}})
    assert "status" not in made
    stated = update(made, {**made, "status": {"ready": 1}, "spec": {"replicas": 9}}, "kubelet", subresource="status")
    assert owned(stated, "kubelet") == [".status.ready"]
    assert [entry.get("subresource") for entry in entries_of(stated)] == [None, "status"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (thing({"foo": 1}), r"\(n/d; apps/v1, Kind=Deployment\): \.spec\.foo: field not declared in schema"),
        (thing({"containers": [{"image": "x"}]}), "omits its key"),
        (thing({"containers": [{"name": "x"}, {"name": "x"}]}), "duplicate entries"),
        (thing(managedFields=[]), "metadata.managedFields must be nil"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(config, message):
    with pytest.raises(BadRequest, match=message):
        put(None, config)


def test_an_update_owns_what_it_changes_and_takes_it_from_others():
    live = put(None, thing({"replicas": 1}, labels={"x": "1"}))
    scaled = update(live, {**live, "spec": {"replicas": 3}}, "hpa", now="t2")
    assert owned(scaled, "a") == [".metadata.labels.x"]
    assert owned(scaled, "hpa") == [".spec.replicas"]
    assert put(scaled, thing(labels={"x": "1"}), now="t3")["spec"]["replicas"] == 3


def test_an_update_that_changes_nothing_leaves_entries_and_times_alone():
    live = update(None, thing({"replicas": 1}))
    again = update(live, {**live, "metadata": {**live["metadata"], "resourceVersion": "5"}}, "other", now="t9")
    assert entries_of(again) == entries_of(live)


def test_a_changed_value_of_an_owned_field_keeps_the_entry_and_its_time():
    live = update(None, thing({"replicas": 1}))
    again = update(live, {**live, "spec": {"replicas": 2}}, now="t9")
    assert entries_of(again)[0] is entries_of(live)[0]


def test_removing_a_field_removes_it_from_every_set():
    live = put(update(None, thing({"replicas": 1}, labels={"x": "1"})), thing(labels={"x": "1"}))
    smaller = update(live, thing({"replicas": 1}), "remover")
    assert owned(smaller, "a") == []
    assert owned(smaller, "u") == [".spec.replicas"]


def test_an_update_without_entries_in_the_body_keeps_the_live_ones_and_an_empty_entry_resets():
    live = update(None, thing({"replicas": 1}))
    assert entries_of(update(live, thing({"replicas": 1}))) == entries_of(live)
    reset = update(live, thing({"replicas": 1}, managedFields=[{}]))
    assert "managedFields" not in reset["metadata"]
    assert "managedFields" not in update(reset, thing({"replicas": 2}))["metadata"]


def test_update_managers_are_capped_and_the_oldest_merged():
    obj = update(None, thing({"replicas": 0}), "m00", now="t00")
    for n in range(1, 15):
        labels = {**obj["metadata"].get("labels", {}), f"l{n:02}": ""}
        obj = update(obj, {**obj, "metadata": {**obj["metadata"], "labels": labels}}, f"m{n:02}", now=f"t{n:02}")
    managers = [entry["manager"] for entry in entries_of(obj)]
    assert len(managers) == UPDATE_MANAGERS_MAX
    assert managers[0] == "ancient-changes"
    assert {".spec.replicas", ".metadata.labels.l01"} <= set(owned(obj, "ancient-changes"))


WORDS = st.sampled_from(["f:a", "f:b", "k:{}", "v:1"])
TRIES = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(WORDS, inner, max_size=3).flatmap(
        lambda d: st.sampled_from([d, {".": {}, **d}]) if d else st.just(d)
    ),
    max_leaves=8,
)
SETS = st.dictionaries(WORDS, TRIES, max_size=3)


@given(SETS, SETS)
def test_set_algebra_agrees_with_sets_of_paths(a, b):
    left, right = set(paths(a)), set(paths(b))
    assert set(paths(union(a, b))) == left | right
    assert set(paths(difference(a, b))) == left - right
    assert set(paths(intersection(a, b))) == left & right
    below = {p for p in left if not any(p == r or p.startswith(r) for r in right)}
    assert set(paths(difference_below(a, b))) == below


VALUES = st.sampled_from(["1", "2"])
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc")},
        optional={"image": VALUES, "args": st.lists(VALUES, max_size=2), "cpu": VALUES},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda c: c["name"],
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 2),
        "selector": st.dictionaries(st.sampled_from("ab"), VALUES),
        "strategy": st.fixed_dictionaries({}, optional={"type": VALUES, "surge": st.integers(0, 1)}),
        "containers": CONTAINERS,
    },
)
CONFIGS = st.builds(
    lambda spec, labels: thing(spec, labels=labels), SPECS, st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=2)
)
STEPS = st.lists(st.tuples(st.sampled_from("abc"), CONFIGS), min_size=1, max_size=4)


@given(STEPS)
def test_apply_is_idempotent_and_owners_own_only_what_exists(steps):
    live = None
    for index, (manager, config) in enumerate(steps):
        live = put(live, config, manager, force=True, now=f"t{index}")
        assert put(live, config, manager, now="later") is live
        existing = all_fields(NODE, bare(live))
        for entry in entries_of(live):
            for path in paths(entry["fieldsV1"]):
                assert path in set(paths(existing))


@given(CONFIGS, CONFIGS)
def test_applying_something_else_and_then_the_first_again_restores_it(first, other):
    made = put(None, first)
    restored = put(put(made, other), first)
    assert restored.get("spec", {}) == made.get("spec", {})
    assert (
        entries_of(restored)[:1] == entries_of(made)[:1]
        or entries_of(restored)[0]["fieldsV1"] == (entries_of(made)[0]["fieldsV1"])
    )


@given(CONFIGS, CONFIGS)
def test_a_smaller_configuration_never_takes_what_another_manager_states(mine, theirs):
    both = put(put(None, theirs, "them"), mine, "me", force=True)
    kept = {p for e in entries_of(both) if e["manager"] == "them" for p in paths(e["fieldsV1"])}
    after = put(both, thing({}), "me", force=True)
    assert {p for e in entries_of(after) if e["manager"] == "them" for p in paths(e["fieldsV1"])} == kept
    assert all(has_path(all_fields(NODE, bare(after)), ("f:spec",)) for p in kept if p.startswith(".spec."))
