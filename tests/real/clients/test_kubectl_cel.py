"""Rules in CEL through kubectl: of custom resources in several versions, and of admission policies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")

RULES = [
    {"rule": "self.min <= self.max", "messageExpression": "'min %d is more than max %d'.format([self.min, self.max])"},
    {"rule": "self.name == oldSelf.name", "message": "name is immutable", "fieldPath": ".name"},
]


def definition(group: str, rules: list[dict[str, Any]], **beta: Any) -> str:
    properties = {
        "name": {"type": "string", "maxLength": 20},
        "min": {"type": "integer", "default": 0},
        "max": {"type": "integer", "default": 9},
    }
    spec = {"type": "object", "properties": properties, "x-kubernetes-validations": rules}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    versions = [
        {"name": "v1", "served": True, "storage": True, "schema": schema},
        {"name": "v1beta1", "served": True, "storage": False, "schema": schema, "deprecated": True, **beta},
    ]
    names = {"plural": "ranges", "singular": "range", "kind": "Range"}
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"ranges.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions},
        }
    )


def a_range(group: str, version: str = "v1", **spec: Any) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": f"{group}/{version}",
            "kind": "Range",
            "metadata": {"name": "r"},
            "spec": {"name": "one", **spec},
        }
    )


@pytest.fixture
def group(kubectl: Kubectl) -> str:
    name = f"{kubectl.namespace.replace('-', '')}.example.org"
    kubectl("apply", "-f", "-", stdin=definition(name, RULES))
    kubectl("wait", "--for=condition=Established", f"crd/ranges.{name}", "--timeout=10s")
    return name


def test_rules_hold_in_every_version(kubectl: Kubectl, group: str) -> None:
    refused = kubectl.refused("create", "-f", "-", stdin=a_range(group, min=10))
    assert 'The Range "r" is invalid: spec: Invalid value: "object": min 10 is more than max 9' in refused
    made = kubectl.run("create", "-f", "-", stdin=a_range(group, "v1beta1", min=3))
    assert made.code == 0
    assert f"Warning: {group}/v1beta1 Range is deprecated" in made.err
    assert kubectl.json("get", f"ranges.v1.{group}", "r")["apiVersion"] == f"{group}/v1"
    patch = ["patch", f"ranges.v1beta1.{group}", "r", "--type=merge", "-p"]
    assert "spec.name: Invalid value" in kubectl.refused(*patch, '{"spec":{"name":"other"}}')
    assert "name is immutable" in kubectl.refused(*patch, '{"spec":{"name":"other"}}')
    kubectl(*patch, '{"spec":{"max":12}}')
    assert kubectl.json("get", f"ranges.v1.{group}", "r")["spec"] == {"name": "one", "min": 3, "max": 12}


def test_unsound_rules_are_refused_with_the_definition(kubectl: Kubectl) -> None:
    name = f"{kubectl.namespace.replace('-', '')}.example.net"
    refused = kubectl.refused("create", "-f", "-", stdin=definition(name, [{"rule": "self.nope > 1"}]))
    assert "x-kubernetes-validations[0].rule" in refused
    assert "undefined field 'nope'" in refused


def test_the_storage_version_changes_under_existing_objects(kubectl: Kubectl, group: str) -> None:
    kubectl("create", "-f", "-", stdin=a_range(group))
    moved = yaml.safe_load(definition(group, RULES))
    moved["spec"]["versions"][0]["storage"], moved["spec"]["versions"][1]["storage"] = False, True
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(moved))
    assert kubectl.json("get", f"crd/ranges.{group}")["status"]["storedVersions"] == ["v1", "v1beta1"]
    for version in ("v1", "v1beta1"):
        assert kubectl.json("get", f"ranges.{version}.{group}", "r")["apiVersion"] == f"{group}/{version}"


@pytest.fixture
def policy(kubectl: Kubectl) -> Iterator[str]:
    """A policy that lets Deployments of the test's namespace have five replicas at most."""
    name = f"{kubectl.namespace}.example.com"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.spec.replicas <= 5"}],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**head, "kind": "ValidatingAdmissionPolicy", "spec": spec}))
    yield name
    kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name, "--ignore-not-found")


def bind(kubectl: Kubectl, policy: str, action: str) -> None:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": kubectl.namespace}}
    spec = {
        "policyName": policy,
        "validationActions": [action],
        "matchResources": {"namespaceSelector": selector},
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": policy},
        "spec": spec,
    }
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(binding))


def test_a_policy_denies_and_warns(kubectl: Kubectl, policy: str) -> None:
    bind(kubectl, policy, "Deny")
    kubectl("create", "deployment", "web", "--image=nginx", "--replicas=2")
    failed = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: failed expression: "
    refused = kubectl.refused("create", "deployment", "many", "--image=nginx", "--replicas=6")
    assert f"{failed}object.spec.replicas <= 5" in refused
    assert failed in kubectl.refused("patch", "deployment", "web", "-p", '{"spec":{"replicas":7}}')
    bind(kubectl, policy, "Warn")
    patched = kubectl.run("patch", "deployment", "web", "-p", '{"spec":{"replicas":7}}')
    assert patched.code == 0
    assert f"Warning: Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{policy}'" in patched.err


def test_the_status_says_what_types_do_not_fit(kubectl: Kubectl, policy: str) -> None:
    patch = '{"spec":{"validations":[{"expression":"object.spec.replicaz <= 5"}]}}'
    kubectl("patch", "validatingadmissionpolicy", policy, "--type=merge", "-p", patch)

    def warnings() -> Any:
        status = kubectl.json("get", "validatingadmissionpolicy", policy)["status"]
        return status.get("typeChecking", {}).get("expressionWarnings")

    [warning] = until(warnings, what="the policy is type checked")
    assert warning["fieldRef"] == "spec.validations[0].expression"
    assert "undefined field 'replicaz'" in warning["warning"]
