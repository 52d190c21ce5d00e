"""Volumes as containers see them, and as the host is left afterwards."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from cluster.kubelet.volumes.mounts import mounts_below
from cluster.resources.builtin import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS
from tests.real.kubelet.conftest import DockerNode
from tests.real.kubelet.shapes import PATIENT, ready, script

pytestmark = [pytest.mark.needs("docker", "root", "busybox"), pytest.mark.asyncio(loop_scope="package")]


def mounted(*names: str, **fields: Any) -> dict[str, Any]:
    return {"volumeMounts": [{"name": name, "mountPath": f"/{name}", **fields} for name in names]}


async def test_a_projection_brings_everything_together(shared: DockerNode) -> None:
    meta = {"name": "projected", "namespace": "default"}
    await shared.api.create(SERVICE_ACCOUNTS, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": "one", "b": "two"}}
    await shared.api.create(CONFIG_MAPS, config)
    key = {"key": base64.b64encode(b"\x00\xffhunter2").decode()}
    await shared.api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": key})
    limit = {"path": "limit", "resourceFieldRef": {"containerName": "app", "resource": "limits.memory"}}
    sources = [
        {"configMap": {"name": "projected", "items": [{"key": "a", "path": "deep/er/a", "mode": 0o600}]}},
        {"configMap": {"name": "absent", "optional": True}},
        {"secret": {"name": "projected"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}, limit]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 600, "audience": "somebody"}},
    ]
    await shared.create(
        "projected",
        {**mounted("all"), "resources": {"limits": {"memory": "32Mi"}}},
        volumes=[{"name": "all", "projected": {"sources": sources, "defaultMode": 0o444}}],
        serviceAccountName="projected",
    )
    pod = await shared.until("projected", ready)
    read = await shared.sh(pod, "cd /all; cat deep/er/a labels limit; stat -Lc %a deep/er/a labels; ls")
    assert read == f'oneapp="projected"{32 << 20}600\n444\ndeep\nkey\nlabels\nlimit\ntoken\n'
    token = (await shared.run(pod, "cat", "/all/token")).split(".")
    claims = base64.urlsafe_b64decode(token[1] + "==").decode()
    assert '"somebody"' in claims
    assert pod["metadata"]["uid"] in claims
    assert (shared.directory(pod) / "volumes" / "projected" / "all").is_mount()
    assert "".join(token) not in f"{pod} {shared.said.of('projected')} {shared.logged}"
    await shared.delete("projected")


async def test_a_volume_in_memory_is_bounded_and_a_deleted_pod_unmounts_everything(shared: DockerNode) -> None:
    await shared.api.create(
        SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mem", "namespace": "default"}, "data": {}}
    )
    volumes = [
        {"name": "quick", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "disk", "emptyDir": {}},
        {"name": "secret", "secret": {"secretName": "mem"}},
    ]
    mounts = [
        {"name": "quick", "mountPath": "/quick"},
        {"name": "disk", "mountPath": "/one", "subPath": "one"},
        {"name": "quick", "mountPath": "/two", "subPath": "two"},
        {"name": "secret", "mountPath": "/secret"},
    ]
    await shared.create("memory", script(PATIENT, volumeMounts=mounts), volumes=volumes)
    pod = await shared.until("memory", ready)
    assert "tmpfs" in await shared.run(pod, "grep", " /quick ", "/proc/mounts")
    code, output = await shared.outcome(pod, "dd", "if=/dev/zero", "of=/quick/big", "bs=64k", "count=32")
    assert code != 0
    assert "No space left" in output
    directory = shared.directory(pod)
    assert len(mounts_below(directory)) == 4
    await shared.delete("memory")
    assert not mounts_below(directory)


async def test_a_sub_path_is_a_part_of_its_volume(shared: DockerNode) -> None:
    data = {"name": "parts", "namespace": "default"}
    await shared.api.create(
        CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": data, "data": {"f": "x"}}
    )
    volumes = [{"name": "work", "emptyDir": {}}, {"name": "config", "configMap": {"name": "parts"}}]
    mounts = [
        {"name": "work", "mountPath": "/whole"},
        {"name": "work", "mountPath": "/part", "subPath": "a/b"},
        {"name": "work", "mountPath": "/own", "subPathExpr": "$(POD)-logs"},
        {"name": "work", "mountPath": "/read", "subPath": "a", "readOnly": True},
        {"name": "config", "mountPath": "/etc/one.conf", "subPath": "f"},
    ]
    env = [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    await shared.create("parts", {"volumeMounts": mounts, "env": env}, volumes=volumes)
    pod = await shared.until("parts", ready)
    assert await shared.sh(pod, "echo 1 > /part/f; echo 2 > /own/g; cd /whole; cat a/b/f parts-logs/g /read/b/f") == (
        "1\n2\n1\n"
    )
    assert await shared.run(pod, "cat", "/etc/one.conf") == "x"
    assert (await shared.outcome(pod, "touch", "/read/x"))[0] != 0
    await shared.delete("parts")


async def test_a_sub_path_through_a_link_of_the_containers_own_making_leads_nowhere(shared: DockerNode) -> None:
    volumes = [{"name": "scratch", "emptyDir": {}}]
    init = {"name": "link", "image": shared.image, **script("ln -s / /scratch/out"), **mounted("scratch")}
    mounts = [{"name": "scratch", "mountPath": "/host", "subPath": "out/etc"}]
    await shared.create("escape", {"volumeMounts": mounts}, initContainers=[init], volumes=volumes)
    pod = await shared.until("escape", lambda pod: any(r == "FailedMount" for r, _ in shared.said.of("escape")))
    assert any("is not inside its volume" in message for _, message in shared.said.of("escape"))
    assert not ready(pod)
    await shared.delete("escape")


async def test_an_allowed_path_of_the_host_is_shared_and_outlives_the_pod(shared: DockerNode) -> None:
    allowed = shared.root / "allowed"
    (allowed / "keep").mkdir()
    (allowed / "keep" / "file").write_text("from the host\n")
    (allowed / "sneaky").symlink_to("/etc")
    volumes = [
        {"name": "host", "hostPath": {"path": str(allowed / "keep"), "type": "Directory"}},
        {"name": "new", "hostPath": {"path": str(allowed / "new"), "type": "DirectoryOrCreate"}},
    ]
    mounts = [
        {"name": "host", "mountPath": "/host"},
        {"name": "host", "mountPath": "/part", "subPath": "sub"},
        {"name": "new", "mountPath": "/new", "readOnly": True},
    ]
    await shared.create("host-path", script(PATIENT, volumeMounts=mounts), volumes=volumes)
    pod = await shared.until("host-path", ready)
    assert await shared.sh(pod, "cat /host/file; echo from the pod > /part/mine") == "from the host\n"
    assert (await shared.outcome(pod, "touch", "/new/x"))[0] != 0
    await shared.delete("host-path")
    assert {"keep", "new", "sneaky"} <= {path.name for path in allowed.iterdir()}
    assert (allowed / "keep" / "file").read_text() == "from the host\n"
    assert (allowed / "keep" / "sub" / "mine").read_text() == "from the pod\n"

    for name, path, words in (
        ("outside", "/etc", "is not allowed on this node"),
        ("linked", str(allowed / "sneaky"), "is not allowed on this node"),
        ("wrong-kind", str(allowed / "keep" / "file"), "is not a directory"),
        ("own", str(shared.root / "kubelet" / "pods"), "this node's own state"),
    ):
        volume = {"name": "host", "hostPath": {"path": path, "type": "Directory"}}
        await shared.create(name, mounted("host"), volumes=[volume])
        await shared.until(name, lambda pod: bool(shared.said.of(pod["metadata"]["name"])))
        assert any(words in message for _, message in shared.said.of(name)), shared.said.of(name)
        await shared.delete(name)
    assert Path("/etc/passwd").exists()
