"""The real kubectl against the API server on a loopback socket: the verbs people type."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from tests.unit.apiserver.test_custom import definition

pytestmark = pytest.mark.needs("kubectl")

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


Kubectl = Callable[..., Awaitable[Outcome]]


@pytest.fixture
def kubectl(kubeconfig: Path, tmp_path: Path) -> Kubectl:
    async def run(*arguments: str, stdin: str = "") -> Outcome:
        environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        process = await asyncio.create_subprocess_exec(
            "kubectl",
            *arguments,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode())
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    return run


async def ok(outcome: Awaitable[Outcome]) -> str:
    done = await outcome
    assert done.code == 0, done.err
    return done.out


async def test_apply_get_scale_patch_and_delete(kubectl: Kubectl) -> None:
    assert "deployment.apps/web created" in await ok(kubectl("apply", "-f", "-", stdin=DEPLOYMENT))
    assert "unchanged" in await ok(kubectl("apply", "-f", "-", stdin=DEPLOYMENT))
    assert "configured" in await ok(kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("web:1", "web:2")))
    table = await ok(kubectl("get", "deployments"))
    assert table.split("\n")[0].split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    await ok(kubectl("scale", "deployment", "web", "--replicas=5"))
    assert await ok(kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}")) == "5"
    await ok(kubectl("patch", "deployment", "web", "-p", '{"spec":{"minReadySeconds":7}}'))
    await ok(kubectl("set", "image", "deployment/web", "web=web:3"))
    assert "web:3" in await ok(kubectl("get", "deploy", "web", "-o", "wide"))
    assert "Replicas:" in await ok(kubectl("describe", "deployment", "web"))
    await ok(kubectl("label", "deployment", "web", "team=red"))
    assert "web" in await ok(kubectl("get", "all", "-l", "team=red"))
    assert 'deployment.apps "web" deleted' in await ok(kubectl("delete", "deployment", "web"))


async def test_server_side_apply_tells_conflicts(kubectl: Kubectl) -> None:
    await ok(kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT))
    other = DEPLOYMENT.replace("replicas: 2", "replicas: 9")
    refused = await kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert refused.code != 0
    assert 'conflict with "kubectl"' in refused.err
    await ok(kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other))


async def test_typed_commands_speak_protobuf(kubectl: Kubectl) -> None:
    await ok(kubectl("create", "configmap", "c", "--from-literal=a=b"))
    await ok(kubectl("create", "deployment", "d", "--image=i", "--replicas=3"))
    await ok(kubectl("create", "secret", "generic", "s", "--from-literal=p=q"))
    await ok(kubectl("create", "namespace", "team"))
    await ok(kubectl("create", "role", "r", "--verb=get", "--resource=pods"))
    await ok(kubectl("create", "rolebinding", "b", "--role=r", "--user=jane"))
    assert await ok(kubectl("auth", "can-i", "get", "pods", "--as=jane")) == "yes\n"
    refused = await kubectl("auth", "can-i", "delete", "pods", "--as=jane")
    assert (refused.code, refused.out) == (1, "no\n")
    assert "kubernetes-admin" in await ok(kubectl("auth", "whoami"))
    assert (await ok(kubectl("create", "token", "default"))).count(".") == 2
    await ok(kubectl("expose", "deployment", "d", "--port=80"))
    assert "10.96." in await ok(kubectl("get", "service", "d"))


async def test_discovery_explain_and_raw(kubectl: Kubectl) -> None:
    assert "deployments" in await ok(kubectl("api-resources"))
    assert "replicas" in await ok(kubectl("explain", "deployment.spec"))
    assert "v1.33" in await ok(kubectl("version"))
    assert await ok(kubectl("get", "--raw", "/readyz")) == "ok"


async def test_a_typing_error_in_a_manifest_is_refused(kubectl: Kubectl) -> None:
    refused = await kubectl("apply", "-f", "-", stdin=DEPLOYMENT.replace("replicas", "replikas"))
    assert refused.code != 0
    assert 'unknown field "spec.replikas"' in refused.err


async def test_logs_and_exec_reach_the_node(kubectl: Kubectl) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    }
    await ok(kubectl("create", "-f", "-", stdin=orjson.dumps(pod).decode()))
    status = '{"status":{"phase":"Running"}}'
    await ok(kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", status))
    assert await ok(kubectl("logs", "p")) == "c of p\nsecond\n"
    echoed = await kubectl("exec", "-i", "p", "--", "cat", stdin="hello")
    assert (echoed.code, echoed.out) == (3, "hello"), echoed.err


async def test_ports_are_forwarded(kubectl: Kubectl, tmp_path: Path) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]},
    }
    await ok(kubectl("create", "-f", "-", stdin=orjson.dumps(pod).decode()))
    await ok(
        kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Running"}}')
    )
    forwarding = await asyncio.create_subprocess_exec(
        "kubectl",
        "port-forward",
        "pod/p",
        ":80",
        env={"KUBECONFIG": str(tmp_path / "kubeconfig"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert forwarding.stdout is not None
    try:
        async with asyncio.timeout(20):
            line = (await forwarding.stdout.readline()).decode()
            port = int(line.split("->")[0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"hello")
            assert await reader.read() == b"HELLO"
            writer.close()
    finally:
        forwarding.terminate()
        await forwarding.wait()


async def test_custom_resources_are_used_like_any_other(kubectl: Kubectl) -> None:
    await ok(kubectl("apply", "-f", "-", stdin=orjson.dumps(definition()).decode()))
    await ok(kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=10s"))
    widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 3}\n"
    await ok(kubectl("apply", "-f", "-", stdin=widget))
    assert "w" in await ok(kubectl("get", "widgets"))
    await ok(kubectl("delete", "crd", "widgets.example.com", "--timeout=20s"))
