"""The API server alone: processor time per request, against nginx for the same bytes over TLS.

Run it alone: `python -m tests.bench.api_bench`.  Needs wrk and nginx.  Durable writes, RBAC, admission and field managers are
on, as shipped; the client is another process.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from cluster.base.http_client import HttpClient, Limits, TcpConnector
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.objects import Key
from cluster.resources.builtin import CLUSTER_ROLE_BINDINGS, PODS, SERVICE_ACCOUNTS
from tests.bench import nginx
from tests.bench.daemon import ROOT
from tests.bench.processes import cpu_s, pss_mib
from tests.bench.report import Row, print_table

WRK_S = 1
ROUNDS = 7
PODS_MAX = 5000
CREATES = 500
UPDATES = 100
IDLE_S = 8.0


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-api-") as directory, control_plane(Path(directory, "state")) as pid:
        state = Path(directory, "state")
        return asyncio.run(rows(pid, state, Path(directory)))


@contextmanager
def control_plane(state: Path) -> Iterator[int]:
    state.mkdir()
    command = [sys.executable, "-m", "tests.bench.control_plane", str(state)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError("the control plane did not start")
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def rows(pid: int, state: Path, directory: Path) -> list[Row]:
    access = load_kubeconfig(state / "kubeconfig")
    transport = HttpTransport(access, user_agent="bench")
    connector = TcpConnector(access.host, access.port, tls=access.tls_context(), server_name=access.server_name)
    raw = HttpClient(connector, limits=Limits(connections_max=1024, body_max_bytes=1 << 28))
    try:
        # the controllers give the default account to the namespace shortly after the start
        await asyncio.sleep(1)
        before, begun = cpu_s(pid), time.perf_counter()
        await asyncio.sleep(IDLE_S)
        idle = 100 * (cpu_s(pid) - before) / (time.perf_counter() - begun)
        found = [
            Row("server at rest: memory", pss_mib(pid), "MiB", 60),
            Row("server at rest: processor", idle, "%", 0.2),
        ]
        found += await creates(pid, transport)
        token = await token_of_a_reader(transport)
        path = "/api/v1/namespaces/default/pods/pod-0"
        content = (await raw.request("GET", path)).body
        url = f"https://{access.host}:{access.port}{path}"
        pki = state / "pki"
        certificate, key = pki / "apiserver.crt", pki / "apiserver.key"
        with nginx.serving(directory, content, certificate=certificate, key=key) as (peer, peer_url):
            for connections in (1, 16):
                # In turns, so that what else the machine does meets both.
                pairs = [
                    (await get_us(pid, url, connections, token), await get_us(peer, peer_url, connections, ""))
                    for _ in range(ROUNDS)
                ]
                ours, theirs = (median(side) for side in zip(*pairs, strict=True))
                found.append(
                    Row(f"GET over TLS, {connections} connections, {len(content)} B", ours, "us cpu", 2, theirs)
                )
                found.append(Row(f"GET over TLS, {connections} connections", ours, "us cpu", 60))
        found += await watches(pid, transport, raw)
        await fill(transport)
        found.append(await list_all(pid, raw))
        return found
    finally:
        await raw.close()
        await transport.close()


def pod(name: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "bench", "app.kubernetes.io/part-of": "bench", "pod-template-hash": "5d9c7b6f4"}
    container = {
        "name": "web", "image": "registry.example.com/team/web:1.2.3", "args": ["serve", "--listen=0.0.0.0:8080"],
        "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(6)],
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }  # fmt: skip
    return {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": labels},
        # of a scheduler that does not run here: a pod that stays as it is
        "spec": {"schedulerName": "bench", "containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]},
    }  # fmt: skip


async def creates(pid: int, transport: Transport) -> list[Row]:
    found: list[Row] = []
    number = 0
    for at_once in (1, 8, 32):
        names = iter(range(number, number + CREATES))
        number += CREATES

        async def create_some(names: Iterator[int] = names) -> None:
            for name in names:
                await transport.create(PODS, pod(f"pod-{name}"))

        before, begun = cpu_s(pid), time.perf_counter()
        await asyncio.gather(*(create_some() for _ in range(at_once)))
        taken = time.perf_counter() - begun
        cost = 1e6 * (cpu_s(pid) - before) / CREATES
        print(f"create, {at_once} at once: {CREATES / taken:.0f} a second")
        found.append(Row(f"CREATE of a pod, durable, {at_once} at once", cost, "us cpu", 400))
    return found


async def fill(transport: Transport) -> None:
    names = iter(range(3 * CREATES, PODS_MAX))

    async def create_some() -> None:
        for name in names:
            await transport.create(PODS, pod(f"pod-{name}"))

    await asyncio.gather(*(create_some() for _ in range(32)))


async def token_of_a_reader(transport: Transport) -> str:
    """wrk cannot present a certificate: it reads as a service account that may view everything."""
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}],
    }  # fmt: skip
    await transport.create(CLUSTER_ROLE_BINDINGS, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await transport.create(
        SERVICE_ACCOUNTS,
        {**request, "metadata": {"namespace": "default", "name": "default"}},
        name="default",
        subresource="token",
    )
    return str(answer["status"]["token"])


async def get_us(pid: int, url: str, connections: int, token: str) -> float:
    """Processor microseconds of the server per request."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{WRK_S}s"]
    words += ["-H", f"Authorization: Bearer {token}"] if token else []
    before = cpu_s(pid)
    process = await asyncio.create_subprocess_exec(*words, url, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    text = output.decode()
    if (match := re.search(r"(\d+) requests in", text)) is None or "Non-2xx" in text:
        raise RuntimeError(f"wrk failed:\n{text}")
    return 1e6 * (cpu_s(pid) - before) / int(match[1])


async def watches(pid: int, transport: Transport, raw: HttpClient) -> list[Row]:
    """What each delivered event costs beyond the write that made it: the same writes without watchers are taken off."""
    found: list[Row] = []
    alone = await update_cpu_s(pid, transport, at_once=1)
    burst = await update_cpu_s(pid, transport, at_once=32)
    for watchers in (1, 50, 500):
        seen = [0] * watchers
        tasks = [asyncio.create_task(count_events(raw, seen, number)) for number in range(watchers)]
        await asyncio.sleep(1.5)
        for kind, base, at_once, budget in (("alone", alone, 1, 22.0), ("in bursts", burst, 32, 3.0)):
            if watchers == 500 and kind == "alone":
                continue  # nothing is alone any more: the events queue up behind each other
            wanted = [count + UPDATES for count in seen]
            cost = await update_cpu_s(pid, transport, at_once=at_once, seen=seen, wanted=wanted) - base
            each = 1e6 * cost / (UPDATES * watchers)
            if watchers > 1:
                found.append(Row(f"watch event, {kind}, {watchers} watchers", each, "us cpu", budget))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def update_cpu_s(
    pid: int, transport: Transport, *, at_once: int, seen: list[int] | None = None, wanted: list[int] | None = None
) -> float:
    names = iter(range(UPDATES))

    async def update_some() -> None:
        for number in names:
            patch = Patch(PatchType.MERGE, {"metadata": {"annotations": {"at": str(time.monotonic_ns())}}})
            await transport.patch(PODS, Key("default", f"pod-{number}"), patch)
            if at_once == 1:
                await asyncio.sleep(0.01)

    before = cpu_s(pid)
    await asyncio.gather(*(update_some() for _ in range(at_once)))
    while True:
        if seen == wanted:
            return cpu_s(pid) - before
        await asyncio.sleep(0.05)


async def count_events(raw: HttpClient, seen: list[int], number: int) -> None:
    path = "/api/v1/namespaces/default/pods?watch=1&resourceVersion=" + await now(raw)
    async with raw.stream("GET", path) as response:
        while part := await response.read():
            seen[number] += part.count(b'{"type":')


async def now(raw: HttpClient) -> str:
    body = (await raw.request("GET", "/api/v1/namespaces/default/pods?limit=1")).body
    match = re.search(rb'"resourceVersion":"(\d+)"', body)
    if match is None:
        raise RuntimeError("a list without a revision")
    return match[1].decode()


async def list_all(pid: int, raw: HttpClient) -> Row:
    rounds = 5
    await raw.request("GET", "/api/v1/pods")
    before = cpu_s(pid)
    for _ in range(rounds):
        body = (await raw.request("GET", "/api/v1/pods")).body
    cost = 1000 * (cpu_s(pid) - before) / rounds
    return Row(f"LIST of {PODS_MAX} pods, {len(body) / 1e6:.1f} MB", cost, "ms cpu", 50)


if __name__ == "__main__":
    print_table(measure())
