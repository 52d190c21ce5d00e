"""The first source from the command line, and the GitOps daemon on the cluster in this process.

Builds no cluster: it is given one, or the daemon runs without (`foreign`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.base.tasks import Supervisor
from cluster.client.events import EventRecorder
from reconciler.config import Bootstrap, Settings
from reconciler.daemon.daemon import IDENTITY, Daemon
from reconciler.daemon.opening import HostSources, SourceOpener

if TYPE_CHECKING:
    from cluster.control_plane import ControlPlane
    from cluster.ports import Ports

OPERATOR_GROUPS = ("system:masters",)
"""The daemon acts with the operator's rights; an Application has its service account's, or its namespace's, only."""


class Gitops:
    """The running daemon with its tasks."""

    def __init__(self, daemon: Daemon, supervisor: Supervisor) -> None:
        self._daemon = daemon
        self._supervisor = supervisor

    async def stop(self) -> None:
        await self._daemon.stop()
        await self._supervisor.stop()


def bootstrap_of(source: str, *, directory: str, branch: str) -> Bootstrap:
    """A local Git repository, a plain folder, or otherwise a URL; which of them is seen from what lies there."""
    local = Path(source)
    if not local.is_dir():
        return Bootstrap(url=source, directory=directory, branch=branch)
    if (local / ".git").exists() or ((local / "HEAD").is_file() and (local / "objects").is_dir()):
        return Bootstrap(path=str(local.resolve()), directory=directory, branch=branch)
    return Bootstrap(folder=str(local.resolve()), directory=directory)


def gitops_settings(state_dir: Path, bootstrap: Bootstrap | None, *, watch_files: bool = True) -> Settings:
    """Local sources may lie where the bootstrap source does, and nowhere else."""
    local = (bootstrap.path or bootstrap.folder) if bootstrap is not None else ""
    return Settings(
        state_dir=state_dir / "gitops",
        source_roots=(Path(local),) if local else (),
        bootstrap=bootstrap,
        watch_files=watch_files,
    )


async def start_gitops(
    plane: ControlPlane,
    bootstrap: Bootstrap | None,
    *,
    state_dir: Path,
    ports: Ports,
    opener: SourceOpener | None = None,
) -> Gitops:
    """Start the daemon on `plane`.  `opener` opens other sources than this host's."""
    clock, entropy = ports.clock, ports.entropy
    supervisor = Supervisor(clock)
    transport = plane.transport(IDENTITY, OPERATOR_GROUPS)
    recorder = EventRecorder(transport, clock, entropy, component="reconciler")
    cache = plane.cache
    settings = gitops_settings(state_dir, bootstrap, watch_files=opener is None)
    daemon = Daemon(
        transport=transport,
        impersonate=plane.transport,
        cache_of=lambda _resource: cache,
        clock=clock,
        entropy=entropy,
        recorder=recorder,
        supervisor=supervisor,
        settings=settings,
        opener=opener or HostSources(transport, settings),
    )
    supervisor.start("events-reconciler", recorder.run)
    daemon.start()
    return Gitops(daemon, supervisor)
