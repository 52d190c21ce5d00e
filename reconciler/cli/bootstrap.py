"""The GitOps daemon on the cluster in this process: what `serve` starts after the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.base.tasks import Supervisor
from cluster.client.events import EventRecorder
from cluster.client.transport import Transport
from cluster.compose import Cluster
from reconciler.config import Bootstrap, Settings
from reconciler.daemon.daemon import IDENTITY, Daemon

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


async def start_gitops(
    cluster: Cluster, bootstrap: Bootstrap | None, *, state_dir: Path, clock: Clock, entropy: Entropy
) -> Gitops:
    """Start the daemon on `cluster`; local sources may lie where the bootstrap source does, and nowhere else."""
    supervisor = Supervisor(clock)
    transport = cluster.transport(IDENTITY, OPERATOR_GROUPS)

    def impersonate(user: str, groups: Sequence[str]) -> Transport:
        return cluster.transport(user, groups)

    recorder = EventRecorder(transport, clock, entropy, component="reconciler")
    cache = cluster.cache
    local = (bootstrap.path or bootstrap.folder) if bootstrap is not None else ""
    daemon = Daemon(
        transport=transport,
        impersonate=impersonate,
        cache_of=lambda _resource: cache,
        clock=clock,
        entropy=entropy,
        recorder=recorder,
        supervisor=supervisor,
        settings=Settings(
            state_dir=state_dir / "gitops", source_roots=(Path(local),) if local else (), bootstrap=bootstrap
        ),
    )
    supervisor.start("events-reconciler", recorder.run)
    daemon.start()
    return Gitops(daemon, supervisor)
