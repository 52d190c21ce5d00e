"""The GitOps daemon alone, against an API it reaches over HTTPS only: our own API server stands for anybody's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.base.clock import SystemClock
from cluster.base.entropy import SystemEntropy
from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, uid_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CONFIG_MAPS, LEASES
from cluster.store.memory import MemoryStore
from reconciler.cli.foreign import LEASE, ForeignGitops
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap, Settings
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.run import RUNS
from tests.apiservers import ADMIN, running, serving_https
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")

DEADLINE_S = 30.0
ROOT = Path(__file__).resolve().parents[3]


def config_map(name: str, value: str = "1") -> str:
    return f'apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: "{value}"}}\n'


class World:
    """A foreign cluster that can go away and come back, a repository, and a daemon that can be restarted."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.clock = SystemClock()
        self.store = MemoryStore(self.clock)
        self.repository = Repository(tmp_path / "srv" / "repo")
        self.port = 0
        self.server: ApiServer | None = None
        self._serving = AsyncExitStack()
        self._gitops: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        self.server = await self._serving.enter_async_context(running(self.store, clock=self.clock))
        kubeconfig = await self._serving.enter_async_context(
            serving_https(self.server, self.path, clock=self.clock, port=self.port)
        )
        self.port = load_kubeconfig(kubeconfig).port

    async def unserve(self) -> None:
        await self._serving.aclose()
        self.server = None

    def start(self, holder: str = "one", *, directory: str = "") -> None:
        settings = Settings(
            state_dir=self.path / holder,
            source_roots=(self.path / "srv",),
            bootstrap=Bootstrap(path=str(self.repository.path), directory=directory),
        )
        access = load_kubeconfig(self.path / "kubeconfig")
        gitops = ForeignGitops(access, settings, holder=holder, clock=self.clock, entropy=SystemEntropy())
        self._gitops = asyncio.create_task(gitops.run())

    async def stop(self) -> None:
        if self._gitops is not None:
            self._gitops.cancel()
            await asyncio.gather(self._gitops, return_exceptions=True)
            self._gitops = None

    @property
    def transport(self) -> Transport:
        assert self.server is not None
        return self.server.transport(ADMIN)

    async def find(self, resource: Resource, key: Key) -> Obj | None:
        try:
            return await self.transport.get(resource, key)
        except NotFound:
            return None

    async def value(self, name: str) -> str | None:
        found = await self.find(CONFIG_MAPS, Key("default", name))
        return found["data"]["value"] if found else None

    async def is_synced(self, commit: str) -> bool:
        found = await self.find(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))
        status = (found or {}).get("status") or {}
        return bool(status.get("revision") == commit and status.get("sync") == "Synced" and status.get("lastRun"))

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not await condition():
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(str(await self.find(APPLICATIONS, Key(SYSTEM_NAMESPACE, "bootstrap"))))
            await asyncio.sleep(0.02)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.serve()
    yield made
    await made.stop()
    await made.unserve()


async def test_a_commit_becomes_objects_and_what_it_drops_is_pruned(world: World) -> None:
    world.start()
    first = world.repository.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    await world.until(lambda: world.is_synced(first))
    (world.repository.path / "b.yaml").unlink()
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    await world.until(lambda: world.is_synced(second))
    assert (await world.value("a"), await world.value("b")) == ("2", None)


async def test_drift_is_corrected(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.is_synced(commit))
    key = Key("default", "a")
    await world.transport.patch(CONFIG_MAPS, key, Patch(PatchType.MERGE, {"data": {"value": "hacked"}}))
    await world.until(lambda: has_value(world, "a", "1"))
    await world.transport.delete(CONFIG_MAPS, key)
    await world.until(lambda: has_value(world, "a", "1"))


async def test_a_restart_goes_on_where_it_was_and_touches_nothing_that_is_right(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    world.start()
    await world.until(lambda: world.is_synced(commit))
    before = await world.find(CONFIG_MAPS, Key("default", "a"))
    await world.stop()
    (world.repository.path / "b.yaml").unlink()
    second = world.repository.commit("two", {"c.yaml": config_map("c")})
    world.start()
    await world.until(lambda: world.is_synced(second))
    assert await world.find(CONFIG_MAPS, Key("default", "a")) == before
    assert (await world.value("b"), await world.value("c")) == (None, "1")


async def test_an_api_that_was_away_is_caught_up_with(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start()
    await world.until(lambda: world.is_synced(commit))
    before = await world.find(CONFIG_MAPS, Key("default", "a"))
    await world.unserve()
    second = world.repository.commit("two", {"b.yaml": config_map("b")})
    await world.serve()
    await world.until(lambda: world.is_synced(second))
    assert await world.value("b") == "1"
    after = await world.find(CONFIG_MAPS, Key("default", "a"))
    assert before is not None
    assert after is not None
    assert uid_of(after) == uid_of(before)


async def test_of_two_daemons_one_works_and_the_other_takes_over(world: World) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    world.start("one")
    await world.until(lambda: world.is_synced(commit))
    first, world._gitops = world._gitops, None
    world.start("two")
    assert (await holder(world)) == "one"
    assert first is not None
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = world.repository.commit("two", {"a.yaml": config_map("a", "2")})
    await world.until(lambda: world.is_synced(second))
    assert (await holder(world)) == "two"
    runs = (await world.transport.list(RUNS)).items
    assert sorted(run["spec"]["subject"] for run in runs) == ["one", "two"]


async def test_serve_with_a_kubeconfig_runs_gitops_alone(world: World, tmp_path: Path) -> None:
    commit = world.repository.commit("one", {"a.yaml": config_map("a")})
    state = tmp_path / "state"
    words = [
        "--state",
        str(state),
        "--kubeconfig",
        str(tmp_path / "kubeconfig"),
        "--source",
        str(world.repository.path),
    ]
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "reconciler.cli.main", "serve", *words,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await world.until(lambda: world.is_synced(commit))
    finally:
        daemon.terminate()
        output, log = await daemon.communicate()
    assert (daemon.returncode, output) == (0, b"ready\n"), log
    assert await world.value("a") == "1"
    assert sorted(path.name for path in state.iterdir()) == ["gitops", "holder", "lock", "reconciliation.log"]
    assert await holder(world) == ""


async def test_a_service_account_is_impersonated_over_https(world: World) -> None:
    child = (
        "apiVersion: gitops.reconciler.io/v1\nkind: Application\n"
        "metadata: {name: child, namespace: reconciler-system}\n"
        "spec: {repositoryRef: {name: bootstrap}, path: child, targetNamespace: default, serviceAccountName: deployer}\n"
    )
    world.repository.commit("one", {"root/child.yaml": child, "child/a.yaml": config_map("a")})
    world.start(directory="root")

    async def is_refused() -> bool:
        found = await world.find(APPLICATIONS, Key(SYSTEM_NAMESPACE, "child")) or {}
        return 'User "system:serviceaccount:reconciler-system:deployer" cannot patch' in str(found.get("status"))

    await world.until(is_refused)


async def has_value(world: World, name: str, value: str) -> bool:
    return await world.value(name) == value


async def holder(world: World) -> str:
    return str((await world.transport.get(LEASES, LEASE))["spec"]["holderIdentity"])
