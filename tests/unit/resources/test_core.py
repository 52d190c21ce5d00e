"""Namespaces, nodes, config maps and secrets: defaults, what may change, what is refused and in which words."""

from __future__ import annotations

import base64

import pytest

from cluster.machinery.objects import GroupKind
from cluster.resources.core import KINDS, prepare_namespace_finalize
from cluster.resources.strategy import WriteContext

CONTEXT = WriteContext(user="tester")
NAMESPACE, NODE, CONFIG_MAP, SECRET = (
    KINDS[GroupKind("", kind)].strategy for kind in ("Namespace", "Node", "ConfigMap", "Secret")
)


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _named(**fields):
    return {"metadata": {"name": "x", "namespace": "n"}, **fields}


def _texts(causes):
    return [f"{cause.field}: {cause.message}" for cause in causes]


def test_a_namespace_starts_active_with_its_finalizer_and_name_label():
    new = NAMESPACE.prepare_create({"metadata": {"name": "a"}, "status": {"phase": "Terminating"}}, CONTEXT)
    assert new["status"] == {"phase": "Active"}
    assert new["spec"] == {"finalizers": ["kubernetes"]}
    assert new["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    assert NAMESPACE.validate(new) == ()


def test_an_update_cannot_drop_a_namespace_finalizer_but_the_finalize_endpoint_can():
    old = NAMESPACE.prepare_create({"metadata": {"name": "a"}}, CONTEXT)
    new = {**old, "spec": {"finalizers": []}}
    assert NAMESPACE.prepare_update(new, old)["spec"] == {"finalizers": ["kubernetes"]}
    assert prepare_namespace_finalize(new, old)["spec"] == {"finalizers": []}


def test_a_namespace_is_cluster_scoped_and_its_name_is_a_label():
    causes = NAMESPACE.validate({"metadata": {"name": "a.b", "namespace": "c"}})
    assert [cause.field for cause in causes] == ["metadata.name", "metadata.namespace"]


def test_a_node_keeps_the_status_it_registers_with():
    node = NODE.prepare_create({"metadata": {"name": "a"}, "status": {"capacity": {"cpu": "1"}}}, CONTEXT)
    assert node["status"]["allocatable"] == {"cpu": "1"}
    assert NODE.prepare_update({"metadata": {"name": "a"}}, node)["status"] == node["status"]


def test_taints_are_checked():
    taints = [{"key": "a", "effect": "Sometimes"}, {"key": "b/c/d", "effect": "NoSchedule"}]
    fields = [cause.field for cause in NODE.validate({"metadata": {"name": "a"}, "spec": {"taints": taints}})]
    assert fields == ["spec.taints[0].effect", "spec.taints[1].key"]


def test_the_pod_range_of_a_node_is_set_once():
    old = {"metadata": {"name": "a"}, "spec": {"podCIDR": "10.0.0.0/24"}}
    assert NODE.validate_update({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.0.1.0/24"}}, old)
    assert not NODE.validate_update(old, {"metadata": {"name": "a"}})


@pytest.mark.parametrize("key", ["a b", "..", "..x", "", "é"])
def test_odd_config_map_keys_are_refused(key):
    assert [cause.field for cause in CONFIG_MAP.validate(_named(data={key: ""}))] == [f"data[{key}]"]


def test_a_key_cannot_be_text_and_binary_at_once():
    causes = CONFIG_MAP.validate(_named(data={"k": ""}, binaryData={"k": ""}))
    assert _texts(causes) == ['binaryData[k]: Invalid value: "k": duplicate of key present in data']


def test_a_megabyte_is_the_most():
    assert CONFIG_MAP.validate(_named(data={"k": "x" * 1024 * 1024})) == ()
    assert [c.reason for c in CONFIG_MAP.validate(_named(data={"k": "x" * (1024 * 1024 + 1)}))] == ["FieldValueTooLong"]


def test_an_immutable_config_map_stays_as_it_is():
    old = _named(data={"k": "v"}, immutable=True)
    causes = CONFIG_MAP.validate_update(_named(data={"k": "w"}), old)
    why = "Forbidden: field is immutable when `immutable` is set"
    assert _texts(causes) == [f"immutable: {why}", f"data: {why}"]
    assert CONFIG_MAP.validate_update({**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}, old) == ()


def test_string_data_is_merged_over_data_and_forgotten():
    secret = SECRET.prepare_create(_named(data={"a": _b64("1"), "b": _b64("2")}, stringData={"a": "3"}), CONTEXT)
    assert secret == _named(data={"a": _b64("3"), "b": _b64("2")}, type="Opaque")


def test_a_bad_secret_value_is_refused_without_being_quoted():
    causes = SECRET.validate(_named(type="Opaque", data={"k": "hunter2!"}))
    assert [cause.field for cause in causes] == ["data[k]"]
    assert "hunter2" not in causes[0].message


@pytest.mark.parametrize(
    ("kind", "data", "fields"),
    [
        ("kubernetes.io/tls", {"tls.crt": ""}, ["data[tls.key]"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
        ("kubernetes.io/basic-auth", {"password": ""}, []),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": _b64("{")}, ["data[.dockerconfigjson]"]),
        ("kubernetes.io/service-account-token", {}, ["metadata.annotations[kubernetes.io/service-account.name]"]),
        ("example.com/any", {}, []),
    ],
)
def test_typed_secrets_have_their_keys(kind, data, fields):
    assert [cause.field for cause in SECRET.validate(_named(type=kind, data=data))] == fields


def test_the_type_of_a_secret_is_immutable():
    causes = SECRET.validate_update(_named(type="a/b"), _named(type="Opaque"))
    assert _texts(causes) == ['type: Invalid value: "a/b": field is immutable']
