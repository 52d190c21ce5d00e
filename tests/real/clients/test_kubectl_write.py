"""kubectl's writing verbs: create, apply, diff, edit, replace, patch, label, set, scale, delete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.real.clients.manifests import POD, WEB, config_map
from tests.real.clients.served import Kubectl

pytestmark = pytest.mark.needs("kubectl")


def version(kubectl: Kubectl, *what: str) -> str:
    return kubectl("get", *what, "-o", "jsonpath={.metadata.resourceVersion}")


def test_applying_again_changes_nothing(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web created\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    before = version(kubectl, "deployment", "web")
    assert kubectl("apply", "-f", "-", stdin=WEB) == "deployment.apps/web unchanged\n"
    assert version(kubectl, "deployment", "web") == before
    changed = WEB.replace("web:1", "web:2").replace("replicas: 2", "replicas: 3")
    assert kubectl("apply", "-f", "-", stdin=changed) == "deployment.apps/web configured\n"
    assert kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas} {.metadata.generation}") == "3 2"


def test_apply_removes_what_left_the_manifest(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("c", a="1", b="2"))
    kubectl("patch", "configmap", "c", "--type=merge", "-p", '{"data":{"other":"3"}}')
    kubectl("apply", "-f", "-", stdin=config_map("c", a="1"))
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "1", "other": "3"}


def test_apply_prunes_by_label(kubectl: Kubectl) -> None:
    both = config_map("a", k="1") + "---\n" + config_map("b", k="1")
    both = both.replace("metadata: {name: ", "metadata: {labels: {set: x}, name: ")
    kubectl("apply", "-f", "-", "--prune", "-l", "set=x", "--prune-allowlist=core/v1/ConfigMap", stdin=both)
    one = both.split("---\n")[0]
    pruned = kubectl("apply", "-f", "-", "--prune", "-l", "set=x", "--prune-allowlist=core/v1/ConfigMap", stdin=one)
    assert "configmap/b pruned" in pruned


def test_server_side_apply_owns_fields(kubectl: Kubectl) -> None:
    assert kubectl("apply", "--server-side", "-f", "-", stdin=WEB) == "deployment.apps/web serverside-applied\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    before = version(kubectl, "deployment", "web")
    kubectl("apply", "--server-side", "-f", "-", stdin=WEB)
    assert version(kubectl, "deployment", "web") == before
    other = WEB.replace("replicas: 2", "replicas: 9")
    refused = kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert 'Apply failed with 1 conflict: conflict with "kubectl": .spec.replicas' in refused
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    managers = kubectl.json("get", "deploy", "web", "--show-managed-fields")["metadata"]["managedFields"]
    owners = {entry["manager"] for entry in managers if "f:replicas" in entry["fieldsV1"].get("f:spec", {})}
    assert owners == {"other"}


def test_server_side_apply_takes_over_from_client_side_apply(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("c", a="1", b="2"))
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("c", a="1"))
    found = kubectl.json("get", "configmap", "c", "--show-managed-fields")
    assert found["data"] == {"a": "1"}
    # kubectl keeps the annotation of its other way of applying up to date, under a name of its own.
    managers = [entry["manager"] for entry in found["metadata"]["managedFields"]]
    assert managers == ["kubectl", "kubectl-last-applied"]


def test_diff_tells_by_its_exit_code(kubectl: Kubectl) -> None:
    manifests = {"deployment": WEB, "configmap": config_map("c", a="1"), "pod": POD}
    for manifest in manifests.values():
        new = kubectl.run("diff", "-f", "-", stdin=manifest)
        assert new.code == 1, new.err
        kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
        same = kubectl.run("diff", "-f", "-", stdin=manifest)
        assert (same.code, same.out) == (0, ""), same.out + same.err
    changed = kubectl.run("diff", "-f", "-", stdin=WEB.replace("web:1", "web:2"))
    assert changed.code == 1
    lines = [line for line in changed.out.split("\n") if line.startswith(("+ ", "- "))]
    assert [line.strip("+- ") for line in lines if "generation" not in line] == ["image: web:1", "image: web:2"]
    assert kubectl.run("diff", "--server-side", "--field-manager=kubectl", "-f", "-", stdin=WEB).code == 0


def test_create_refuses_what_is_there(kubectl: Kubectl) -> None:
    assert kubectl("create", "-f", "-", stdin=config_map("c", a="1")) == "configmap/c created\n"
    refused = kubectl.refused("create", "-f", "-", stdin=config_map("c", a="1"))
    assert 'Error from server (AlreadyExists): error when creating "STDIN": configmaps "c" already exists' in refused
    generated = "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: gen-}\n"
    assert kubectl("create", "-f", "-", stdin=generated).startswith("configmap/gen-")


def test_create_by_kind(kubectl: Kubectl) -> None:
    """These verbs send protobuf; what arrives must be what was typed."""
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=p=q")
    kubectl("create", "deployment", "d", "--image=i:1", "--replicas=3", "--port=80")
    kubectl("create", "service", "clusterip", "svc", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "sa")
    kubectl("create", "role", "r", "--verb=get,list", "--resource=pods,deployments.apps")
    kubectl("create", "rolebinding", "rb", "--role=r", f"--serviceaccount={kubectl.namespace}:sa")
    kubectl("create", "secret", "docker-registry", "reg", "--docker-username=u", "--docker-password=p")
    kubectl("create", "service", "nodeport", "np", "--tcp=5678:8080")
    kubectl("create", "service", "externalname", "ext", "--external-name=example.com")
    kubectl("create", "clusterrole", f"cr-{kubectl.namespace}", "--verb=get", "--non-resource-url=/healthz")
    assert kubectl.json("get", "secret", "s")["data"] == {"p": "cQ=="}
    deployment = kubectl.json("get", "deployment", "d")["spec"]
    assert (deployment["replicas"], deployment["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]) == (
        3,
        80,
    )
    assert kubectl.json("get", "service", "svc")["spec"]["ports"][0]["targetPort"] == 8080
    assert kubectl.json("get", "role", "r")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list"]},
    ]
    assert kubectl.json("get", "secret", "reg")["type"] == "kubernetes.io/dockerconfigjson"
    assert kubectl.json("get", "service", "np")["spec"]["ports"][0]["nodePort"] >= 30000
    assert kubectl.json("get", "service", "ext")["spec"]["externalName"] == "example.com"
    rules = kubectl.json("get", "clusterrole", f"cr-{kubectl.namespace}")["rules"]
    assert rules == [{"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]


def test_an_unknown_kind_is_said_to_be_unknown(kubectl: Kubectl) -> None:
    odd = "apiVersion: batch/v1\nkind: Odd\nmetadata: {name: j}\n"
    assert 'no matches for kind "Odd" in version "batch/v1"' in kubectl.refused("apply", "-f", "-", stdin=odd)
    claim = "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: j}\n"
    assert 'no matches for kind "ResourceClaim"' in kubectl.refused("apply", "-f", "-", stdin=claim)


def test_a_kind_that_nothing_acts_on_is_stored_with_a_warning(kubectl: Kubectl) -> None:
    told = kubectl.run("create", "ingress", "i", "--rule=example.org/=web:80").err
    assert "Ingress.networking.k8s.io: is stored, but not acted on by this cluster: no controller serves it" in told
    assert kubectl.json("get", "ingress", "i")["spec"]["rules"][0]["host"] == "example.org"


def test_a_dry_run_on_the_server_writes_nothing(kubectl: Kubectl) -> None:
    assert "created (server dry run)" in kubectl("apply", "-f", "-", "--dry-run=server", stdin=WEB)
    assert "NotFound" in kubectl.refused("get", "deployment", "web")
    kubectl("apply", "-f", "-", stdin=config_map("c", a="1"))
    kubectl("delete", "configmap", "c", "--dry-run=server")
    before = version(kubectl, "configmap", "c")
    changed = kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=config_map("c", a="2"))
    assert json.loads(changed)["data"] == {"a": "2"}
    assert version(kubectl, "configmap", "c") == before


def test_replace_needs_the_current_version(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("c", a="1"))
    assert kubectl("replace", "-f", "-", stdin=config_map("c", a="2")) == "configmap/c replaced\n"
    stale = json.dumps(kubectl.json("get", "configmap", "c"))
    kubectl("label", "configmap", "c", "x=y")
    assert "(Conflict)" in kubectl.refused("replace", "-f", "-", stdin=stale)
    assert "the object has been modified" in kubectl.refused("replace", "-f", "-", stdin=stale)
    assert "(NotFound)" in kubectl.refused("replace", "-f", "-", stdin=config_map("nope", a="2"))
    kubectl("replace", "--force", "-f", "-", stdin=config_map("c", a="3"))
    assert kubectl.json("get", "configmap", "c")["data"] == {"a": "3"}


def test_edit_saves_what_the_editor_left(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("create", "-f", "-", stdin=config_map("c", greeting="hello"))
    edited = kubectl("edit", "configmap", "c", env={"KUBE_EDITOR": "sed -i s/hello/bye/"})
    assert edited == "configmap/c edited\n"
    assert kubectl.json("get", "configmap", "c")["data"] == {"greeting": "bye"}
    assert "Edit cancelled" in kubectl.run("edit", "configmap", "c", env={"KUBE_EDITOR": "true"}).err


def test_labels_annotations_and_the_three_patches(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("label", "deployment", "web", "team=red") == "deployment.apps/web labeled\n"
    assert "already has a value" in kubectl.refused("label", "deployment", "web", "team=blue")
    kubectl("label", "deployment", "web", "team=blue", "--overwrite")
    kubectl("label", "deployment", "web", "team-")
    kubectl("annotate", "deployment", "web", "note=some words here")
    kubectl(
        "patch",
        "deployment",
        "web",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"web:9"}]}}}}',
    )
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"minReadySeconds":1}}')
    kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"replace","path":"/spec/replicas","value":1}]')
    found = kubectl.json("get", "deployment", "web")
    container = found["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["ports"][0]["containerPort"]) == ("web:9", 80)
    assert (found["spec"]["minReadySeconds"], found["spec"]["replicas"]) == (1, 1)
    assert found["metadata"]["annotations"]["note"] == "some words here"
    assert "team" not in found["metadata"]["labels"]
    failed = kubectl.refused(
        "patch", "deployment", "web", "--type=json", "-p", '[{"op":"test","path":"/spec/replicas","value":7}]'
    )
    assert "testing value" in failed
    assert "no change" in kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"replicas":1}}')


def test_set_changes_images_environment_and_resources(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("set", "image", "deployment/web", "web=web:5") == "deployment.apps/web image updated\n"
    kubectl("set", "env", "deployment/web", "COLOUR=green", "OLD=1")
    kubectl("set", "env", "deployment/web", "OLD-")
    kubectl("set", "resources", "deployment/web", "--requests=cpu=50m,memory=32Mi")
    kubectl("create", "serviceaccount", "runner")
    kubectl("set", "serviceaccount", "deployment/web", "runner")
    spec = kubectl.json("get", "deployment", "web")["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert container["image"] == "web:5"
    assert container["env"] == [{"name": "COLOUR", "value": "green"}]
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "32Mi"}}
    assert spec["serviceAccountName"] == "runner"
    assert "COLOUR=green" in kubectl("set", "env", "deployment/web", "--list")


def test_scaling_with_preconditions(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("scale", "deployment", "web", "--replicas=3") == "deployment.apps/web scaled\n"
    kubectl("scale", "deployment", "web", "--current-replicas=3", "--replicas=1")
    refused = kubectl.refused("scale", "deployment", "web", "--current-replicas=3", "--replicas=2")
    assert "Expected replicas to be 3, was 1" in refused
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == "1"
    assert kubectl("scale", "deployment", "web", "--replicas=0").endswith("scaled\n")


def test_expose_and_run(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("expose", "deployment", "web", "--port=80", "--name=front") == "service/front exposed\n"
    assert kubectl.json("get", "service", "front")["spec"]["selector"] == {"app": "web"}
    assert kubectl("run", "one", "--image=one:1", "--labels=a=b", "--env=X=y", "--port=80") == "pod/one created\n"
    kubectl("wait", "--for=condition=Ready", "pod/one", "--timeout=20s")
    kubectl("expose", "pod", "one", "--type=NodePort", "--port=80")
    assert kubectl.json("get", "service", "one")["spec"]["ports"][0]["nodePort"] >= 30000


def test_deleting(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin="---\n".join(config_map(name, k="v") for name in ("a", "b", "c", "d")))
    kubectl("label", "configmap", "a", "x=y")
    assert kubectl("delete", "configmap", "-l", "x=y") == 'configmap "a" deleted\n'
    assert kubectl("delete", "configmap/b", "configmap/c").count("deleted") == 2
    assert kubectl("delete", "configmap", "nope", "--ignore-not-found") == ""
    assert "(NotFound)" in kubectl.refused("delete", "configmap", "nope")
    assert 'configmap "d" deleted' in kubectl("delete", "configmap", "--all")
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    kubectl("delete", "pod", "solo", "--force", "--grace-period=0")
    assert "(NotFound)" in kubectl.refused("get", "pod", "solo")


def test_cascades(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    replicaset = kubectl.json("get", "rs", "-l", "app=web")["items"][0]
    assert "ownerReferences" not in replicaset["metadata"]
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=20s")
    assert kubectl("get", "rs,pods", "-l", "app=web", "-o", "name") == ""


def test_validation_is_strict_by_default(kubectl: Kubectl) -> None:
    typo = WEB.replace("replicas:", "replikas:")
    assert 'strict decoding error: unknown field "spec.replikas"' in kubectl.refused("apply", "-f", "-", stdin=typo)
    warned = kubectl.run("apply", "--validate=warn", "-f", "-", stdin=typo)
    assert warned.code == 0
    assert 'Warning: unknown field "spec.replikas"' in warned.err
    double = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"1","a":"2"}}'
    assert kubectl.run("create", "--validate=ignore", "-f", "-", stdin=double).code == 0


def test_refusals_name_the_field(kubectl: Kubectl) -> None:
    wrong = POD.replace("name: main, ", "").replace("cpu: 10m", "cpu: 10m, memory: lots")
    assert "quantities must match" in kubectl.refused("create", "-f", "-", stdin=wrong)
    unnamed = POD.replace("name: main, ", "")
    assert "spec.containers[0].name: Required value" in kubectl.refused("create", "-f", "-", stdin=unnamed)
    mismatch = WEB.replace("matchLabels: {app: web}", "matchLabels: {app: other}")
    refused = kubectl.refused("create", "-f", "-", stdin=mismatch)
    assert 'The Deployment "web" is invalid: spec.template.metadata.labels: Invalid value' in refused
    kubectl("create", "-f", "-", stdin=WEB)
    immutable = kubectl.refused(
        "patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"selector":{"matchLabels":{"x":"y"}}}}'
    )
    assert "field is immutable" in immutable
    assert "cannot unmarshal string into Go struct field" in kubectl.refused(
        "create", "-f", "-", stdin=WEB.replace("replicas: 2", "replicas: two").replace("name: web,", "name: w2,")
    )
    assert 'namespaces "nowhere" not found' in kubectl.refused("create", "configmap", "c", "-n", "nowhere")
