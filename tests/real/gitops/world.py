"""A repository, a small API and the daemon between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.base.clock import SystemClock
from cluster.base.entropy import SeededEntropy
from cluster.base.tasks import Supervisor
from cluster.machinery.objects import Key, Obj
from reconciler.config import SYSTEM_NAMESPACE, Bootstrap, Settings
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.run import RUNS
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.opening import HostSources
from reconciler.pipeline import CacheOf
from tests.real.gitops.repository import Repository
from tests.unit.reconciler.fake_api import FakeApi

DEADLINE_S = 10.0


def config_map(name: str, value: str = "1", **meta: str) -> str:
    extra = "".join(f"  {field}: {text}\n" for field, text in meta.items())
    return f'apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n{extra}data:\n  value: "{value}"\n'


class Quiet:
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        self.said.append((reason, message))


class World:
    """A repository, an API and a daemon between them."""

    def __init__(self, tmp_path: Path) -> None:
        self.api = FakeApi()
        self.repository = Repository(tmp_path / "srv" / "repo")
        self.cache_of: CacheOf = self.api.cache_of
        self.events = Quiet()
        self.clock = SystemClock()
        self.supervisor = Supervisor(self.clock)
        self.settings = Settings(
            state_dir=tmp_path / "state",
            source_roots=(tmp_path / "srv",),
            bootstrap=Bootstrap(path=str(self.repository.path)),
        )

    def start(self) -> Daemon:
        daemon = Daemon(
            transport=self.api.as_user("operator"),
            impersonate=self.api.as_user,
            cache_of=self.cache_of,
            clock=self.clock,
            entropy=SeededEntropy(1),
            recorder=self.events,
            supervisor=self.supervisor,
            settings=self.settings,
            opener=HostSources(self.api.as_user("operator"), self.settings),
        )
        daemon.start()
        return daemon

    async def until(self, condition: Callable[[], Any]) -> None:
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, self.explain()
            await asyncio.sleep(0.01)

    def explain(self) -> str:
        return "\n".join(str(self.status(name)) for name in ("bootstrap",)) + f"\n{[r['spec'] for r in self.runs()]}"

    def value(self, name: str) -> str | None:
        found = self.api.find("ConfigMap", name)
        return found["data"]["value"] if found else None

    def status(self, name: str = "bootstrap", namespace: str = SYSTEM_NAMESPACE) -> dict[str, Any]:
        found = self.api.get(APPLICATIONS, Key(namespace, name))
        return dict((found or {}).get("status") or {})

    def runs(self) -> list[Obj]:
        return list(self.api.list(RUNS))

    def synced(self, commit: str) -> bool:
        return self.status().get("revision") == commit and self.status().get("sync") == "Synced"
