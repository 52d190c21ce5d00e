"""GitOps at size: a changed manifest among many, a sync that changes nothing, and polls of a repository at rest.

Run it alone: `python -m tests.bench.gitops_bench`.  The daemon is real, its containers are not; the remote is `git
http-backend` behind TLS on loopback.
"""

from __future__ import annotations

import asyncio
import os
import resource as rusage
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.client.transport import EventType, Query, Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import field_of, key_of
from cluster.resources.builtin import CONFIG_MAPS
from reconciler.cli.sync import is_settled, request
from reconciler.crds.application import APPLICATIONS
from reconciler.source.command import Git, no_credentials
from reconciler.source.git import GitRef, LocalRepository, RemoteRepository
from tests.bench.daemon import Daemon, git, make_repository, running_daemon, write_files
from tests.bench.processes import cpu_s
from tests.bench.report import Row, print_table
from tests.real.gitops.https_remote import https_remote

FILES = 5000
BUNDLED = 5000
"""Objects of a later commit, in files of BUNDLE: a sync without changes is measured on all of them."""
BUNDLE = 250
ROUNDS = 7
LOCAL_POLLS = 2000
REMOTE_POLLS = 20


def measure() -> list[Row]:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-poll-") as directory:
        rows += asyncio.run(polls(Path(directory)))
    with running_daemon(manifests(), runtime="simulated") as daemon:
        rows += asyncio.run(syncs(daemon))
    return rows


def manifests() -> dict[str, str]:
    return {f"apps/{n % 50}/{n}.yaml": manifest(f"single-{n}", "begin") for n in range(FILES)}


def bundles() -> dict[str, str]:
    return {
        f"apps/bundles/{start}.yaml": "---\n".join(
            manifest(f"bundled-{n}", "begin") for n in range(start, start + BUNDLE)
        )
        for start in range(0, BUNDLED, BUNDLE)
    }


def manifest(name: str, value: str) -> str:
    return f"""apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  labels: {{app.kubernetes.io/name: {name}, app.kubernetes.io/part-of: bench}}
data:
  value: "{value}"
  settings.conf: |
    listen = 8080
    upstream = http://backend.example.svc:8080/{name}
    timeout = 30s
"""


async def syncs(daemon: Daemon) -> list[Row]:
    transport = HttpTransport(load_kubeconfig(daemon.state / "kubeconfig"), user_agent="bench")
    try:
        begun = time.perf_counter()
        await synced(transport, "")
        print(f"first sync of {FILES} objects: {time.perf_counter() - begun:.1f} s")
        moves = [await one_move(daemon, transport, number) for number in range(ROUNDS)]
        print("ref move to written, ms:", *(f"{1000 * value:.0f}" for value in moves))
        write_files(daemon.repository, bundles())
        git(daemon.repository, "add", "-A")
        git(daemon.repository, "commit", "-qm", "Bundles")
        await synced(transport, (daemon.repository / ".git/refs/heads/main").read_text().strip())
        costs = [await one_sync(daemon, transport) for _ in range(3)]
        return [
            Row(f"ref move -> written, among {FILES} files", 1000 * statistics.median(moves), "ms", 50),
            Row(f"sync of {FILES + BUNDLED} objects, no change", statistics.median(costs), "s cpu", 1.0),
        ]
    finally:
        await transport.close()


async def synced(transport: Transport, revision: str) -> None:
    """Return once everything of that revision (or of any) was applied."""
    while True:
        with suppress(ApiError, ValueError):  # it is not there yet
            (application,) = (await transport.list(APPLICATIONS)).items
            applied = field_of(application, "status", "revision", default="")
            if field_of(application, "status", "sync", default="") == "Synced" and revision in ("", applied):
                return
        await asyncio.sleep(0.2)


async def one_move(daemon: Daemon, transport: Transport, number: int) -> float:
    """Seconds from the rename that moves the branch, which is how git does it, to the watch event of the new object."""
    repository = daemon.repository
    name, value = f"single-{number * 100}", f"moved-{number}"
    (repository / f"apps/{number * 100 % 50}/{number * 100}.yaml").write_text(manifest(name, value))
    branch = repository / ".git/refs/heads/main"
    old = branch.read_text()
    git(repository, "commit", "-qam", "Prepare")
    new = branch.read_text()
    branch.write_text(old)
    await asyncio.sleep(2)  # what the daemon saw of this is over
    await request_sync(transport)
    version = (await transport.list(CONFIG_MAPS, Query(limit=1))).resource_version
    query = Query(field_selector=f"metadata.name={name}", resource_version=version)
    events = transport.watch(CONFIG_MAPS, query, bookmarks=False)
    following = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0.2)
    lock = branch.with_name("main.lock")
    lock.write_text(new)
    begun = time.perf_counter()
    lock.rename(branch)
    event = await following
    taken = time.perf_counter() - begun
    if event.type is not EventType.MODIFIED or event.object["data"]["value"] != value:
        raise RuntimeError(f"another event came first: {event.type} {event.object['data']['value']}")
    return taken


async def one_sync(daemon: Daemon, transport: Transport) -> float:
    """The daemon's processor seconds for a requested sync that finds nothing to do."""
    before = cpu_s(daemon.pid)
    await request_sync(transport)
    return cpu_s(daemon.pid) - before


async def request_sync(transport: Transport) -> None:
    (application,) = (await transport.list(APPLICATIONS)).items
    requested = await request(transport, application)
    while True:
        if is_settled(await transport.get(APPLICATIONS, key_of(application)), requested):
            return
        await asyncio.sleep(0.05)


async def polls(directory: Path) -> list[Row]:
    """What one look at a repository at rest costs, with the processes that it starts."""
    repository = directory / "repository"
    make_repository(repository, {f"{n}.yaml": manifest(f"c-{n}", "begin") for n in range(100)})
    program = Git.prepare(directory / "home")
    local = LocalRepository(program, repository, GitRef())
    await local.head()
    before = own_cpu_s()
    for _ in range(LOCAL_POLLS):
        local.fingerprint()
    local_s = (own_cpu_s() - before) / LOCAL_POLLS
    await local.close()
    with https_remote(repository, directory, program) as url:
        os.environ["SSL_CERT_FILE"] = str(directory / "ca.crt")
        remote = RemoteRepository(
            program, url, GitRef(), cache=directory / "mirrors", credentials=no_credentials, timeout_s=20
        )
        await remote.head()
        before = own_cpu_s()
        for _ in range(REMOTE_POLLS):
            await remote.head()
        remote_s = (own_cpu_s() - before) / REMOTE_POLLS
        await remote.close()
    return [
        Row("poll of a local repository", 1000 * local_s, "ms cpu", 1.0),
        Row("poll of a remote over https", 1000 * remote_s, "ms cpu", 30.0),
    ]


def own_cpu_s() -> float:
    """This process, and the processes it has waited for."""
    children = rusage.getrusage(rusage.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    print_table(measure())
