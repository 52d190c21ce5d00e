"""Custom resources through kubectl: defined, used like any other kind, gone with their definition."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")


def definition(group: str, plural: str = "widgets", kind: str = "Widget", **version: Any) -> str:
    """A CustomResourceDefinition with everything on, in a group of the test's own."""
    spec = {
        "type": "object",
        "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 9, "description": "How big the widget is."},
            "colour": {"type": "string", "default": "red", "enum": ["red", "green"]},
            "replicas": {"type": "integer", "default": 1},
            "port": {"x-kubernetes-int-or-string": True},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "parts": {
                "type": "array",
                "maxItems": 3,
                "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        },
    }
    status = {
        "type": "object",
        "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}, "selector": {"type": "string"}},
    }
    served = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": "A thing with a size.",
                "properties": {"spec": spec, "status": status},
            }
        },
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        **version,
    }
    return yaml.safe_dump(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {
                    "plural": plural,
                    "singular": kind.lower(),
                    "kind": kind,
                    "shortNames": [f"{plural[0]}{group.partition('.')[0]}"],
                    "categories": [f"all-{group.partition('.')[0]}"],
                },
                "versions": [served],
            },
        }
    )


def widget(group: str, name: str = "w", **spec: Any) -> str:
    return yaml.safe_dump({"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def group(kubectl: Kubectl) -> str:
    """A group with the Widget kind defined and established."""
    name = f"{kubectl.namespace.replace('-', '')}.example.com"
    kubectl("apply", "-f", "-", stdin=definition(name))
    kubectl("wait", "--for=condition=Established", f"crd/widgets.{name}", "--timeout=10s")
    return name


def test_a_custom_resource_is_defaulted_pruned_and_printed(kubectl: Kubectl, group: str) -> None:
    resource = f"widgets.{group}"
    manifest = widget(group, size=3, port="http", free={"any": ["thing"]}, parts=[{"name": "a"}])
    assert kubectl("apply", "-f", "-", stdin=manifest) == f"widget.{group}/w created\n"
    spec = kubectl.json("get", resource, "w")["spec"]
    assert spec == {
        "size": 3, "colour": "red", "replicas": 1, "port": "http", "free": {"any": ["thing"]}, "parts": [{"name": "a"}]
    }  # fmt: skip
    assert kubectl("get", resource).split("\n")[0].split() == ["NAME", "SIZE", "AGE"]
    assert kubectl("get", resource, "-o", "wide").split("\n")[0].split() == ["NAME", "SIZE", "COLOUR", "AGE"]
    assert kubectl("get", resource).split("\n")[1].split()[:2] == ["w", "3"]
    assert kubectl("get", f"w{group.partition('.')[0]}", "-o", "name") == f"widget.{group}/w\n"
    assert kubectl("get", f"all-{group.partition('.')[0]}", "-o", "name") == f"widget.{group}/w\n"
    assert kubectl("apply", "-f", "-", stdin=manifest) == f"widget.{group}/w unchanged\n"
    assert kubectl("apply", "-f", "-", stdin=widget(group, size=4)) == f"widget.{group}/w configured\n"
    assert "parts" not in kubectl.json("get", resource, "w")["spec"]
    assert "Size:" in kubectl("describe", resource, "w")


def test_what_breaks_the_schema_is_refused_by_path(kubectl: Kubectl, group: str) -> None:
    cases = {
        "spec.size: Required value": widget(group),
        "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1": widget(group, size=0),
        'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"': widget(
            group, size="x"
        ),
        'spec.colour: Unsupported value: "blue": supported values: "red", "green"': widget(
            group, size=1, colour="blue"
        ),
        'spec.parts[1]: Duplicate value: {"name":"a"}': widget(group, size=1, parts=[{"name": "a"}, {"name": "a"}]),
        "spec.parts[0].name: Required value": widget(group, size=1, parts=[{}]),
        'unknown field "spec.weight"': widget(group, size=1, weight=2),
    }
    for message, manifest in cases.items():
        assert message in kubectl.refused("create", "-f", "-", stdin=manifest)
    assert kubectl.run("create", "--validate=ignore", "-f", "-", stdin=widget(group, size=1, weight=2)).code == 0
    assert "weight" not in kubectl.json("get", f"widgets.{group}", "w")["spec"]


def test_status_and_scale_are_served(kubectl: Kubectl, group: str) -> None:
    resource = f"widgets.{group}"
    kubectl("create", "-f", "-", stdin=widget(group, size=3))
    status = '{"status":{"phase":"Ready","replicas":1,"selector":"app=x"},"spec":{"size":9}}'
    kubectl("patch", resource, "w", "--subresource=status", "--type=merge", "-p", status)
    found = kubectl.json("get", resource, "w")
    assert (found["status"]["phase"], found["spec"]["size"], found["metadata"]["generation"]) == ("Ready", 3, 1)
    kubectl("patch", resource, "w", "--type=merge", "-p", '{"status":{"phase":"Lost"},"spec":{"size":5}}')
    found = kubectl.json("get", resource, "w")
    assert (found["status"]["phase"], found["spec"]["size"], found["metadata"]["generation"]) == ("Ready", 5, 2)
    assert kubectl("scale", f"{resource}/w", "--replicas=4") == f"widget.{group}/w scaled\n"
    assert kubectl.json("get", resource, "w", "--subresource=scale")["spec"] == {"replicas": 4}
    assert "condition met" in kubectl("wait", "--for=jsonpath={.status.phase}=Ready", f"{resource}/w", "--timeout=5s")
    assert "labeled" in kubectl("label", resource, "w", "a=b")
    assert "application/strategic-merge-patch+json is not supported" in kubectl.refused(
        "patch", resource, "w", "--type=strategic", "-p", '{"spec":{"size":2}}'
    )
    assert "edited" in kubectl("edit", f"{resource}/w", env={"KUBE_EDITOR": "sed -i s/size:.5/size:\\ 6/"})


def test_explain_knows_the_schema(kubectl: Kubectl, group: str) -> None:
    short = f"w{group.partition('.')[0]}"
    # Listing what is served renews kubectl's cache, which a short name alone does not.
    assert short in kubectl("api-resources", f"--api-group={group}")
    assert "A thing with a size." in kubectl("explain", short)
    size = kubectl("explain", f"{short}.spec.size")
    assert "How big the widget is." in size
    assert "FIELD: size <integer>" in size
    assert "size\t<integer> -required-" in kubectl("explain", f"{short}.spec")
    assert "colour\t<string>" in kubectl("explain", f"{short}.spec")
    assert "replicas\t<integer>" in kubectl("explain", "deployment.spec")
    assert "FIELD: image <string>" in kubectl("explain", "pod.spec.containers.image")


def test_a_change_of_the_definition_is_served_at_once(kubectl: Kubectl, group: str) -> None:
    kubectl("create", "-f", "-", stdin=widget(group, size=3))
    relaxed = definition(group).replace("maximum: 9", "maximum: 99")
    kubectl("apply", "-f", "-", stdin=relaxed)
    kubectl("apply", "-f", "-", stdin=widget(group, size=42))
    refused = kubectl.refused("apply", "-f", "-", stdin=relaxed.replace("scope: Namespaced", "scope: Cluster"))
    assert "spec.scope: Invalid value" in refused
    assert "field is immutable" in refused


def test_a_definition_takes_everything_with_it(kubectl: Kubectl, group: str) -> None:
    kubectl("create", "-f", "-", stdin=widget(group, size=3))
    server = kubectl.server
    assert server.request("GET", f"/openapi/v3/apis/{group}/v1").status == 200
    kubectl("delete", "crd", f"widgets.{group}", "--timeout=20s")
    assert server.request("GET", f"/apis/{group}/v1/widgets").status == 404
    until(lambda: server.request("GET", f"/apis/{group}/v1").status == 404, what="discovery forgot it", deadline_s=1)
    until(
        lambda: server.request("GET", f"/openapi/v3/apis/{group}/v1").status == 404,
        what="OpenAPI forgot it",
        deadline_s=1,
    )
    groups = [item["name"] for item in server.request("GET", "/apis").obj["groups"]]
    assert group not in groups
    assert "doesn't have a resource type" in kubectl.refused("get", f"widgets.{group}")
    kubectl("apply", "-f", "-", stdin=definition(group))
    kubectl("wait", "--for=condition=Established", f"crd/widgets.{group}", "--timeout=10s")
    assert kubectl("get", f"widgets.{group}", "-o", "name") == ""


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("type: integer", "type: number-ish", "Unsupported value"),
        (
            "scope: Namespaced",
            "scope: Galaxy",
            'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"',
        ),
        ("storage: true", "storage: false", "must have exactly one version marked as storage version"),
        ("kind: Widget", "kind: 'bad kind'", "spec.names.kind: Invalid value"),
        ("maximum: 9", "maximum: 9\n                pattern: '('", "pattern"),
    ],
)
def test_a_bad_definition_is_refused_by_path(kubectl: Kubectl, wrong: str, right: str, message: str) -> None:
    text = definition("bad.example.com")
    refused = kubectl.refused("create", "-f", "-", stdin=text.replace(wrong, right, 1))
    assert message in refused
