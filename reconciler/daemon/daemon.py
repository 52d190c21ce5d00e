"""The GitOps daemon: watches Repositories and Applications in an API server and keeps their objects there.

Everything it needs comes by constructor; it starts its tasks under the supervisor it is given.
"""

from __future__ import annotations

from collections.abc import Callable

from loguru import logger

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.controller import Recorder
from cluster.client.discovery import Discovery
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Key
from reconciler.config import Settings
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.inventory import INVENTORIES
from reconciler.crds.repository import REPOSITORIES
from reconciler.crds.run import RUNS
from reconciler.daemon.applications import Applications
from reconciler.daemon.install import NotEstablished, install_bootstrap, install_kinds
from reconciler.daemon.journal import Journal
from reconciler.daemon.opening import SourceOpener
from reconciler.daemon.reverts import Reverts
from reconciler.daemon.sources import Sources
from reconciler.history.runs import History
from reconciler.pipeline import CacheOf, Impersonate, Pipeline
from reconciler.render.parsed import ParsedFiles
from reconciler.render.parser import Parser
from reconciler.render.plain import PlainRenderer

IDENTITY = "system:serviceaccount:reconciler-system:reconciler"
"""The user that the daemon's own transport acts as in the built-in cluster."""

START_RETRY_S = 2.0


class Daemon:
    """`start` returns at once; what it starts ends with the supervisor, or with `stop`."""

    def __init__(
        self,
        *,
        transport: Transport,
        impersonate: Impersonate,
        cache_of: CacheOf,
        clock: Clock,
        entropy: Entropy,
        recorder: Recorder,
        supervisor: Supervisor,
        settings: Settings,
        opener: SourceOpener,
    ) -> None:
        """`transport` acts with the operator's rights; `impersonate` gives one that acts as a service account."""
        self._transport = transport
        self._cache_of = cache_of
        self._clock = clock
        self._supervisor = supervisor
        self._settings = settings
        self._opener = opener
        self._bootstrap: Key | None = None
        self._discovery = Discovery(transport)
        self._parser = Parser()
        self._sources: Sources | None = None
        self._applications: Applications | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._impersonate = impersonate
        self._entropy = entropy
        self._recorder = recorder

    def start(self) -> None:
        self._supervisor.start("gitops", self._run)

    async def stop(self) -> None:
        """End its tasks, the last started first."""
        workers = [f"gitops-worker-{number}" for number in range(self._settings.workers)]
        for name in (
            *reversed(workers),
            "gitops-timers",
            "gitops-looks",
            "gitops-source-timers",
            "gitops-sources",
            "gitops",
        ):
            await self._supervisor.cancel(name)
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._applications is not None:
            self._applications.close()
        await self._parser.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._prepare()
                break
            except (ApiError, NotEstablished) as error:
                logger.warning("gitops cannot start yet, retrying", reason=str(error), delay_s=START_RETRY_S)
                await self._clock.sleep(START_RETRY_S)
        logger.info("gitops started", bootstrap=str(self._bootstrap or ""))

    async def _prepare(self) -> None:
        await install_kinds(self._transport, self._discovery, self._clock)
        if self._settings.bootstrap is not None:
            self._bootstrap = await install_bootstrap(self._transport, self._settings.bootstrap)
        for resource in (REPOSITORIES, APPLICATIONS, RUNS, INVENTORIES):
            await self._cache_of(resource).sync((resource,))
        sources, applications = self._composed()
        self._sources, self._applications = sources, applications
        self._supervisor.start("gitops-sources", sources.run)
        self._supervisor.start("gitops-source-timers", sources.run_timers)
        self._supervisor.start("gitops-looks", sources.run_looks)
        self._supervisor.start("gitops-timers", applications.run_timers)
        for number in range(self._settings.workers):
            self._supervisor.start(f"gitops-worker-{number}", applications.work)
        self._unsubscribe = applications.subscribe()

    def _composed(self) -> tuple[Sources, Applications]:
        renderer = PlainRenderer(ParsedFiles(self._settings.state_dir / "parsed"), self._parser)
        pipeline = Pipeline(discovery=self._discovery, cache_of=self._cache_of, renderer=renderer, clock=self._clock)
        journal = Journal(History(self._transport, self._entropy), self._recorder, self._cache_of, self._clock)
        wake: list[Callable[[Key], None]] = []
        sources = Sources(
            transport=self._transport,
            cache=self._cache_of(REPOSITORIES),
            settings=self._settings,
            opener=self._opener,
            clock=self._clock,
            entropy=self._entropy,
            changed=lambda key: wake[0](key),
        )
        applications = Applications(
            transport=self._transport,
            impersonate=self._impersonate,
            cache_of=self._cache_of,
            pipeline=pipeline,
            sources=sources,
            journal=journal,
            reverts=Reverts(self._transport, self._recorder, self._clock),
            clock=self._clock,
            entropy=self._entropy,
            operator=lambda: self._bootstrap,
        )
        wake.append(applications.repository_changed)
        return sources, applications
