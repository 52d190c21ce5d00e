"""The daemon against the built-in API server: its admission, server-side apply, discovery and authorization are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.http import Identity
from cluster.base.clock import SystemClock
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.client.transport import Patch, PatchType, Transport
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, SECRETS, SERVICES
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap, Settings
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.run import RUNS
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.opening import HostSources
from tests.apiservers import ADMIN, running
from tests.real.gitops.repository import Repository

pytestmark = pytest.mark.needs("git")

DEADLINE_S = 20.0

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx:1
        resources: {requests: {cpu: 0.5, memory: 1Gi}}
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 80}]
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData: {password: hunter2}
"""


class Silent:
    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        return None


class World:
    def __init__(self, server: ApiServer, repository: Repository) -> None:
        self.server = server
        self.repository = repository
        self.transport: Transport = server.transport(ADMIN)

    async def find(self, resource: Resource, name: str, namespace: str = "default") -> Obj | None:
        try:
            return await self.transport.get(resource, Key(namespace if resource.namespaced else "", name))
        except NotFound:
            return None

    async def status(self, name: str = "bootstrap") -> dict[str, Any]:
        found = await self.find(APPLICATIONS, name, SYSTEM_NAMESPACE)
        return dict((found or {}).get("status") or {})

    async def until_applied(self, commit: str) -> None:
        await self.until(lambda status: status.get("lastAttempted") == commit and bool(status.get("counts")))

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not condition(status := await self.status()):
            assert asyncio.get_running_loop().time() < deadline, status
            await asyncio.sleep(0.02)


@asynccontextmanager
async def world_in(tmp_path: Path, directory: str = "") -> AsyncIterator[World]:
    clock = SystemClock()
    repository = Repository(tmp_path / "srv" / "repo")
    async with running(clock=clock) as server, Supervisor(clock) as supervisor:

        def impersonate(user: str, groups: Sequence[str]) -> Transport:
            return server.transport(Identity(user, tuple(groups)))

        settings = Settings(
            state_dir=tmp_path / "state",
            source_roots=(tmp_path / "srv",),
            bootstrap=Bootstrap(path=str(repository.path), directory=directory),
        )
        daemon = Daemon(
            transport=server.transport(ADMIN),
            impersonate=impersonate,
            cache_of=lambda resource: server.cache(),
            clock=clock,
            entropy=SeededEntropy(1),
            recorder=Silent(),
            supervisor=supervisor,
            settings=settings,
            opener=HostSources(server.transport(ADMIN), settings),
        )
        daemon.start()
        yield World(server, repository)
        await daemon.stop()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(tmp_path) as made:
        yield made


async def test_a_commit_becomes_objects_and_the_next_one_changes_only_what_differs(world: World) -> None:
    first = world.repository.commit("Add web", {"web.yaml": WEB})
    await world.until_applied(first)
    deployment = await world.find(DEPLOYMENTS, "web")
    assert deployment is not None
    assert {entry["manager"] for entry in deployment["metadata"]["managedFields"]} == {"reconciler"}
    service = await world.find(SERVICES, "web")
    assert service is not None
    second = world.repository.commit("Scale web", {"web.yaml": WEB.replace("replicas: 2", "replicas: 3")})
    await world.until_applied(second)
    assert (await world.status())["counts"]["updated"] == 1
    scaled = await world.find(DEPLOYMENTS, "web")
    assert scaled is not None
    assert scaled["spec"]["replicas"] == 3
    assert await world.find(SERVICES, "web") == service


async def test_a_mistake_is_refused_by_the_server_with_its_place_and_the_rest_is_applied(world: World) -> None:
    bad = WEB.replace("containers:", "containerz:")
    good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n"
    commit = world.repository.commit("typo", {"bad.yaml": bad, "good.yaml": good})
    await world.until_applied(commit)
    assert await world.find(CONFIG_MAPS, "good")
    assert await world.find(DEPLOYMENTS, "web") is None
    ready = next(c for c in (await world.status())["conditions"] if c["type"] == "Ready")
    assert "bad.yaml:1" in ready["message"]
    assert "containerz" in ready["message"]


async def test_what_another_writer_adds_stays_and_what_it_changes_is_undone(world: World) -> None:
    await world.until_applied(world.repository.commit("Add web", {"web.yaml": WEB}))
    edit = {"metadata": {"annotations": {"note": "mine"}}, "spec": {"replicas": 7}}
    await world.transport.patch(DEPLOYMENTS, Key("default", "web"), Patch(PatchType.MERGE, edit))
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        live = await world.find(DEPLOYMENTS, "web")
        assert live is not None
        if live["spec"]["replicas"] == 2:
            break
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)
    assert live["metadata"]["annotations"]["note"] == "mine"


async def test_a_namespace_and_what_is_in_it_come_in_one_commit(world: World) -> None:
    space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\n"
    inside = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: in, namespace: team}\n"
    await world.until_applied(world.repository.commit("team", {"z.yaml": space, "a.yaml": inside}))
    assert await world.find(NAMESPACES, "team")
    assert await world.find(CONFIG_MAPS, "in", "team")


async def test_a_service_account_may_do_what_roles_give_it_and_nothing_more(tmp_path: Path) -> None:
    files = {
        "apps/child.yaml": (
            "apiVersion: gitops.reconciler.io/v1\nkind: Application\n"
            "metadata: {name: child, namespace: reconciler-system}\n"
            "spec: {repositoryRef: {name: bootstrap}, path: child, targetNamespace: default,"
            " serviceAccountName: deployer}\n"
        ),
        "apps/rights.yaml": (
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: deployer, namespace: reconciler-system}\n---\n"
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: maps}\n"
            "rules: [{apiGroups: [''], resources: [configmaps], verbs: ['*']}]\n---\n"
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: maps}\n"
            "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: maps}\n"
            "subjects: [{kind: ServiceAccount, name: deployer, namespace: reconciler-system}]\n"
        ),
        "child/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: allowed}\n",
        "child/b.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: forbidden}\n",
    }
    async with world_in(tmp_path, directory="apps") as world:
        await world.until_applied(world.repository.commit("child", files))
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while "cannot patch resource" not in str((await world.status("child")).get("conditions")):
            assert asyncio.get_running_loop().time() < deadline, await world.status("child")
            await asyncio.sleep(0.02)
        assert await world.find(CONFIG_MAPS, "allowed")
        assert await world.find(SECRETS, "forbidden") is None


async def test_runs_are_listed_with_their_authors(world: World) -> None:
    good = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n"
    commit = world.repository.commit("Add good", {"good.yaml": good})
    await world.until(lambda status: status.get("revision") == commit and bool(status.get("lastRun")))
    run = await world.find(RUNS, str((await world.status())["lastRun"]), SYSTEM_NAMESPACE)
    assert run is not None
    assert (run["spec"]["author"], run["spec"]["outcome"]) == ("Ada <ada@example.com>", "Succeeded")
