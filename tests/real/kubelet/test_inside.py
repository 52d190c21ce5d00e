"""What a container of a pod finds inside: its limits, its rights, its environment."""

from __future__ import annotations

import base64

import pytest

from cluster.resources.builtin import CONFIG_MAPS, SECRETS, SERVICES
from tests.real.kubelet.conftest import DockerNode
from tests.real.kubelet.shapes import PATIENT, phase, ready, script, status_of, waits_for

pytestmark = [pytest.mark.needs("docker", "root", "busybox"), pytest.mark.asyncio(loop_scope="package")]

CGROUP_V2 = "cat /sys/fs/cgroup/memory.max; cut -d' ' -f1 /sys/fs/cgroup/cpu.max"
CGROUP_V1 = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us"


async def test_limits_are_those_of_its_control_group(shared: DockerNode) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}}
    await shared.create("limits", {"resources": resources})
    pod = await shared.until("limits", ready)
    read = f"if [ -e /sys/fs/cgroup/memory ]; then {CGROUP_V1}; else {CGROUP_V2}; fi"
    assert (await shared.sh(pod, read)).split() == [str(64 << 20), "25000"]
    assert int(await shared.sh(pod, "cat /proc/1/oom_score_adj")) > 900
    await shared.delete("limits")


async def test_too_much_memory_is_the_end_and_is_told(shared: DockerNode) -> None:
    greedy = script("tail /dev/zero", resources={"limits": {"memory": "12Mi"}})
    await shared.create("greedy", greedy, restartPolicy="Never")
    pod = await shared.until("greedy", phase("Failed"))
    ended = status_of(pod)["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    await shared.delete("greedy")


async def test_rights_are_those_that_were_asked_for(shared: DockerNode) -> None:
    own = {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    }
    of_pod = {"runAsUser": 1000, "runAsGroup": 2000, "supplementalGroups": [3000], "fsGroup": 4000}
    data = {"name": "rights", "namespace": "default"}
    key = {"key": base64.b64encode(b"hunter2").decode()}
    await shared.api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": data, "data": key})
    volumes = [
        {"name": "work", "emptyDir": {}},
        {"name": "quick", "emptyDir": {"medium": "Memory"}},
        {"name": "secret", "secret": {"secretName": "rights", "defaultMode": 0o400}},
    ]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("work", "quick", "secret")]
    await shared.create(
        "rights",
        {"securityContext": own, "volumeMounts": mounts},
        {"name": "free", "securityContext": {"runAsUser": 0}},
        securityContext=of_pod,
        volumes=volumes,
    )
    pod = await shared.until("rights", ready)
    assert await shared.sh(pod, "id -u; id -g; id -G") == "1000\n2000\n2000 3000 4000\n"
    status = dict(line.split(":\t", 1) for line in (await shared.run(pod, "cat", "/proc/self/status")).splitlines())
    assert int(status["CapBnd"], 16) == 1 << 10  # NET_BIND_SERVICE and nothing else
    assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
    code, output = await shared.outcome(pod, "touch", "/etc/x")
    assert code != 0
    assert "Read-only file system" in output
    for volume in ("work", "quick"):
        assert await shared.sh(pod, f"echo x > /{volume}/f; stat -c '%g %a' /{volume}; stat -c %g /{volume}/f") == (
            "4000 2777\n4000\n"
        )
    assert await shared.sh(pod, "cat /secret/key; stat -Lc ' %g %a' /secret/key") == "hunter2 4000 440\n"
    assert (await shared.outcome(pod, "sh", "-c", "echo x > /secret/other"))[0] != 0
    assert await shared.run(pod, "id", "-u", container="free") == "0\n"
    await shared.delete("rights")


async def test_its_environment_comes_from_everywhere_in_the_order_of_its_spec(shared: DockerNode) -> None:
    data = {"name": "env", "namespace": "default"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": data, "data": {"COLOR": "blue", "SHAPE": "round"}}
    password = {"PASSWORD": base64.b64encode("pass=wörd $(COLOR)".encode()).decode()}
    ports = [{"name": "http", "port": 80}]
    await shared.api.create(CONFIG_MAPS, config)
    await shared.api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": data, "data": password})
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**data, "name": "back-end"},
        "spec": {"ports": ports},
    }
    made = await shared.api.create(SERVICES, service)
    env = [
        {"name": "COLOR", "value": "red"},
        {"name": "PAINT", "value": "$(COLOR) $(PRE_SHAPE) $$(COLOR) $(NOWHERE)"},
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "SHAPE"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "x", "optional": True}}},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "env", "key": "PASSWORD"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ]
    sources = [
        {"prefix": "PRE_", "configMapRef": {"name": "env"}},
        {"configMapRef": {"name": "env"}},
        {"secretRef": {"name": "env"}},
        {"secretRef": {"name": "gone", "optional": True}},
    ]
    resources = {"limits": {"memory": "32Mi", "cpu": "1500m"}}
    await shared.create("env", {"env": env, "envFrom": sources, "resources": resources})
    pod = await shared.until("env", ready)
    said = dict(line.split("=", 1) for line in (await shared.run(pod, "env")).splitlines())
    wanted = {
        "COLOR": "red",
        "SHAPE": "round",
        "PRE_COLOR": "blue",
        "PAINT": "red round $(COLOR) $(NOWHERE)",
        "ONE": "round",
        "WORD": "pass=wörd $(COLOR)",
        "PASSWORD": "pass=wörd $(COLOR)",
        "POD": "env",
        "APP": "env",
        "NODE": "n1",
        "MEMORY": "32",
        "CPU": "2",
        "BACK_END_SERVICE_HOST": made["spec"]["clusterIP"],
        "BACK_END_SERVICE_PORT_HTTP": "80",
        "HOSTNAME": "env",
    }
    assert {name: said.get(name) for name in wanted} == wanted
    assert "NONE" not in said
    await shared.delete("env")


async def test_a_variable_without_its_source_is_told(shared: DockerNode) -> None:
    env = [{"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "one"}}}]
    await shared.create("waiting", {"env": env})
    pod = await shared.until("waiting", waits_for("CreateContainerConfigError"))
    assert status_of(pod)["state"]["waiting"]["message"] == 'configmap "later" not found'
    assert ("Failed", 'Error: configmap "later" not found') in shared.said.of("waiting")
    await shared.delete("waiting")


async def test_containers_of_a_pod_share_its_network_and_its_processes_only_if_asked(shared: DockerNode) -> None:
    serving = {"name": "web", **script("mkdir -p /tmp/w; exec httpd -f -p 8080 -h /tmp")}
    await shared.create("apart", script("exec sleep 1d"), serving)
    await shared.create("together", script("exec sleep 1d"), serving, shareProcessNamespace=True)
    apart, together = [await shared.until(name, ready) for name in ("apart", "together")]
    for pod in (apart, together):
        assert "404" in (await shared.outcome(pod, "wget", "-qO-", "http://127.0.0.1:8080/none"))[1]
    assert "httpd" not in await shared.run(apart, "ps")
    assert "httpd" in await shared.run(together, "ps")
    await shared.delete("apart")
    await shared.delete("together")


REFUSED = {
    "privileged": ({"securityContext": {"privileged": True}}, {}, "privileged containers are not allowed"),
    "sys-admin": ({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, {}, "SYS_ADMIN are not allowed"),
    "unconfined": ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, {}, "Unconfined is not allowed"),
    "host-network": ({}, {"hostNetwork": True}, "host namespaces are not allowed"),
    "host-pid": ({}, {"hostPID": True}, "host namespaces are not allowed"),
    "sysctl": ({}, {"securityContext": {"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}}, "are not allowed"),
    "root": ({}, {"securityContext": {"runAsNonRoot": True}}, "image will run as root"),
    "host-path": ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}, "is not allowed on this node"),
    "docker": ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/var/run/docker.sock"}}]}, "give away the host"),
}


async def test_what_the_hosts_policy_refuses_never_starts_and_says_why(shared: DockerNode) -> None:
    for name, (container, spec, _) in REFUSED.items():
        await shared.create(f"refused-{name}", container, **spec)
    await shared.create("refused-not", script(PATIENT))
    await shared.until("refused-not", ready)
    for name, (_, _, words) in REFUSED.items():
        pod = f"refused-{name}"
        await shared.until(pod, lambda pod: bool(shared.said.of(pod["metadata"]["name"])))
        assert any(words in message for _, message in shared.said.of(pod)), shared.said.of(pod)
    running = {container.name.split("_")[2] for container in await shared.containers()}
    assert not {name for name in running if name.startswith("refused-") and name != "refused-not"}
    for name in (*REFUSED, "not"):
        await shared.delete(f"refused-{name}")
