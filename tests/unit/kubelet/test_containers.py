from __future__ import annotations

import base64
from typing import Any

import pytest

from cluster.kubelet.containers import Inputs, container_spec_of, sandbox_needs_of, sub_path_of
from cluster.kubelet.downward import Placement
from cluster.kubelet.environment import ConfigError, environment_of
from cluster.kubelet.expansion import expand
from cluster.kubelet.identity import Identity
from cluster.kubelet.images import credentials_of, pull_policy_of, registry_of
from cluster.kubelet.limits import limits_of
from cluster.kubelet.pod_files import Resolver, hosts_text, parse_resolver, resolver_of
from cluster.kubelet.podspec import containers_of, qos_class_of
from cluster.kubelet.runtime.api import ContainerSpec, Image, RegistryAuth
from cluster.kubelet.security import PodPolicy, security_of
from cluster.kubelet.sources import Sources, source_names_of
from tests.unit.kubelet.shapes import SANDBOX, container, pod

WHERE = Placement("n1", "192.0.2.1", "10.244.0.5", 4000, 8 << 30)
IMAGE = Image("sha256:abc", ("busybox:1",), (), 1)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def made(subject: dict[str, Any], policy: PodPolicy = PodPolicy(), **inputs: Any) -> ContainerSpec:  # noqa: B008
    first = containers_of(subject)[0]
    identity = Identity("uid-1", "default", "web", first.name, 0, "v1:0", "sandbox-1")
    inputs.setdefault("sources", Sources())
    return container_spec_of(
        subject, first, identity, Inputs(image=IMAGE, sandbox=SANDBOX, where=WHERE, policy=policy, **inputs)
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $(", "$A $("),
        ("$(A)$(A)", "11"),
        ("$()", "$()"),
    ],
)
def test_references_expand_and_unknown_ones_stay(text: str, wanted: str) -> None:
    assert expand(text, {"A": "1"}) == wanted


def test_hostname_is_the_pod_s_unless_the_manifest_says_otherwise() -> None:
    assert "HOSTNAME=web" in made(pod(name="web")).env
    named = pod(container(env=[{"name": "HOSTNAME", "value": "mine"}]), name="web")
    assert [each for each in made(named).env if each.startswith("HOSTNAME=")] == ["HOSTNAME=mine"]


def test_environment_comes_from_services_then_whole_objects_then_entries() -> None:
    service = {
        "metadata": {"name": "my-db", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.7", "ports": [{"name": "sql", "port": 5432}]},
    }
    spec = container(
        envFrom=[{"configMapRef": {"name": "c"}, "prefix": "P_"}, {"secretRef": {"name": "gone", "optional": True}}],
        env=[
            {"name": "HOST", "value": "$(MY_DB_SERVICE_HOST):$(P_X)"},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "NO", "valueFrom": {"secretKeyRef": {"name": "s", "key": "other", "optional": True}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
    )
    sources = Sources({"c": {"data": {"X": "y"}}}, {"s": {"data": {"k": encoded("secret")}}})
    found = environment_of(pod(spec), spec, sources=sources, where=WHERE, services=[service])
    assert found["HOST"] == "10.96.0.7:y"
    assert found["MY_DB_PORT_5432_TCP_ADDR"] == "10.96.0.7"
    assert found["MY_DB_SERVICE_PORT_SQL"] == "5432"
    assert (found["KEY"], found["CPU"], found["NODE"]) == ("secret", "4000", "n1")
    assert "NO" not in found
    without = environment_of(
        pod(spec, enableServiceLinks=False), spec, sources=sources, where=WHERE, services=[service]
    )
    assert "MY_DB_SERVICE_HOST" not in without


def test_secrets_are_not_shown_by_what_carries_them() -> None:
    assert "hunter2" not in repr(Sources({}, {"s": {"data": {"k": "hunter2"}}}))
    assert "hunter2" not in repr(RegistryAuth("r", "u", "hunter2"))


def test_every_source_a_pod_names_is_known() -> None:
    subject = pod(
        container(envFrom=[{"configMapRef": {"name": "a"}}]),
        volumes=[{"name": "v", "projected": {"sources": [{"secret": {"name": "b"}}, {"configMap": {"name": "c"}}]}}],
        imagePullSecrets=[{"name": "d"}],
    )
    assert source_names_of(subject) == (("a", "c"), ("b", "d"))


@pytest.mark.parametrize(
    ("command", "args", "entrypoint", "wanted"),
    [
        (None, None, None, None),
        (["sh"], None, ["sh"], []),
        (None, ["-x"], None, ["-x"]),
        (["sh", "$(A)"], ["b"], ["sh", "1"], ["b"]),
    ],
)
def test_command_and_args_override_as_documented(
    command: list[str] | None, args: list[str] | None, entrypoint: list[str] | None, wanted: list[str] | None
) -> None:
    spec = made(pod(container(command=command, args=args, env=[{"name": "A", "value": "1"}])))
    assert (spec.entrypoint, spec.args) == (entrypoint, wanted)


def test_limits_become_shares_quota_bytes_and_a_rank() -> None:
    resources = {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1500m", "memory": "2Gi"}}
    spec = container(resources=resources)
    found = limits_of(pod(spec), spec, node_memory_bytes=8 << 30)
    assert (found.cpu_shares, found.cpu_quota_us, found.memory_bytes) == (256, 150_000, 2 << 30)
    assert found.oom_score_adj == 875
    assert limits_of(pod(), container(), node_memory_bytes=1).oom_score_adj == 1000


@pytest.mark.parametrize(
    ("resources", "qos"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1000m", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1024Mi"}}, "Guaranteed"),
        ({"limits": {"memory": "1Gi"}}, "Burstable"),
    ],
)
def test_the_qos_class_follows_requests_and_limits(resources: dict[str, Any], qos: str) -> None:
    assert qos_class_of(pod(container(resources=resources))) == qos


@pytest.mark.parametrize(
    ("context", "user", "message"),
    [
        ({"privileged": True}, "", "privileged containers are not allowed"),
        ({"capabilities": {"add": ["SYS_ADMIN"]}}, "", "capabilities SYS_ADMIN are not allowed"),
        ({"runAsNonRoot": True}, "", "image will run as root"),
        ({"runAsNonRoot": True}, "000:5", "image will run as root"),
        ({"runAsNonRoot": True}, "www", "non-numeric user"),
        ({"runAsNonRoot": True, "runAsUser": 0}, "", "breaks non-root policy"),
        ({"seccompProfile": {"type": "Unconfined"}}, "", "Unconfined is not allowed"),
        ({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}, "", "Localhost is not supported"),
    ],
)
def test_what_the_host_does_not_allow_is_refused(context: dict[str, Any], user: str, message: str) -> None:
    spec = container(securityContext=context)
    with pytest.raises(ConfigError, match=message):
        security_of(pod(spec), spec, Image("i", (), (), 1, user=user), PodPolicy())


def test_the_containers_context_wins_over_the_pods() -> None:
    spec = container(
        securityContext={"runAsUser": 7, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    )
    subject = pod(spec, securityContext={"runAsUser": 5, "runAsGroup": 6, "supplementalGroups": [8], "fsGroup": 9})
    found = security_of(subject, spec, IMAGE, PodPolicy())
    assert (found.user, found.groups, found.no_new_privileges) == ("7:6", (8, 9), True)
    assert found.capabilities_drop == ("ALL",)


def test_host_namespaces_and_unsafe_sysctls_are_refused_and_kube_system_is_exempt() -> None:
    subject = pod(hostNetwork=True)
    with pytest.raises(ConfigError, match="host namespaces"):
        sandbox_needs_of(subject, PodPolicy())
    subject["metadata"]["namespace"] = "kube-system"
    assert sandbox_needs_of(subject, PodPolicy()).host_network
    with pytest.raises(ConfigError, match="msgmax"):
        sandbox_needs_of(pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}), PodPolicy())


def test_the_pods_own_mount_wins_over_a_managed_file() -> None:
    spec = container(volumeMounts=[{"name": "v", "mountPath": "/etc/hosts", "readOnly": True}])
    found = made(
        pod(spec), volumes={"v": ("/data/v", False)}, files={"/etc/hosts": "/k/hosts", "/etc/hostname": "/k/n"}
    )
    assert [(m.source, m.target, m.read_only) for m in found.mounts] == [
        ("/data/v", "/etc/hosts", True),
        ("/k/n", "/etc/hostname", False),
    ]


@pytest.mark.parametrize("path", ["/a/../../etc", "/a:b", "/a\0b"])
def test_a_mount_path_that_could_mean_something_else_is_refused(path: str) -> None:
    spec = container(volumeMounts=[{"name": "v", "mountPath": path}])
    with pytest.raises(ConfigError, match="mount path"):
        made(pod(spec), volumes={"v": ("/data/v", False)})


def test_a_sub_path_expression_needs_its_variables() -> None:
    assert sub_path_of({"subPathExpr": "logs/$(NAME)"}, {"NAME": "web"}) == "logs/web"
    with pytest.raises(ConfigError):
        sub_path_of({"subPathExpr": "$(MISSING)"}, {})


@pytest.mark.parametrize(
    ("image", "policy", "registry"),
    [
        ("nginx", "Always", "docker.io"),
        ("nginx:latest", "Always", "docker.io"),
        ("nginx:1.2", "IfNotPresent", "docker.io"),
        ("localhost:5000/a", "Always", "localhost:5000"),
        ("ghcr.io/a/b@sha256:0", "IfNotPresent", "ghcr.io"),
    ],
)
def test_an_image_name_says_when_and_where_to_pull(image: str, policy: str, registry: str) -> None:
    assert pull_policy_of({"image": image}) == policy
    assert registry_of(image) == registry


def test_pull_secrets_give_the_credentials_of_their_registry() -> None:
    config = f'{{"auths": {{"ghcr.io": {{"auth": "{encoded("me:word")}"}}, "other.io": {{"username": "x"}}}}}}'
    sources = Sources(
        {}, {"pull": {"data": {".dockerconfigjson": encoded(config)}}, "bad": {"data": {".dockercfg": "!"}}}
    )
    subject = pod(imagePullSecrets=[{"name": "bad"}, {"name": "pull"}, {"name": "absent"}])
    assert credentials_of(subject, "ghcr.io/a/b", sources) == (RegistryAuth("ghcr.io", "me", "word"),)
    assert credentials_of(subject, "nginx", sources) == ()


def test_dns_policies_choose_the_resolver() -> None:
    host = parse_resolver("# x\nnameserver 9.9.9.9\nsearch home\noptions edns0\n")
    assert host == Resolver(("9.9.9.9",), ("home",), ("edns0",))

    def resolver(**spec: Any) -> Resolver:
        return resolver_of(pod(**spec), cluster_dns=["10.96.0.10"], cluster_domain="cluster.local", host=host)

    assert resolver().nameservers == ("10.96.0.10",)
    assert resolver().searches[0] == "default.svc.cluster.local"
    assert resolver(dnsPolicy="Default") == host
    assert resolver(hostNetwork=True) == host
    assert resolver(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet").options == ("ndots:5",)
    config = {"nameservers": ["1.1.1.1"], "options": [{"name": "ndots", "value": "2"}]}
    assert resolver(dnsPolicy="None", dnsConfig=config) == Resolver(("1.1.1.1",), (), ("ndots:2",))


def test_the_hosts_file_names_the_pod_and_its_aliases() -> None:
    aliases = [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]
    text = hosts_text(pod(subdomain="sub", hostAliases=aliases), address="10.244.0.5", cluster_domain="cluster.local")
    assert "10.244.0.5\tweb.sub.default.svc.cluster.local\tweb\n" in text
    assert "1.2.3.4\ta\tb\n" in text
