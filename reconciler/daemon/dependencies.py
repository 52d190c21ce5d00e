"""What an application waits for: the others it depends on, synced and healthy at their own newest revision."""

from __future__ import annotations

from cluster.machinery.objects import Obj, generation_of
from reconciler.crds.application import APPLICATIONS
from reconciler.daemon.own_kinds import OwnKinds
from reconciler.daemon.sources import Sources
from reconciler.daemon.spec import ApplicationSpec, application_spec
from reconciler.model import Health, Sync


def unmet(spec: ApplicationSpec, kinds: OwnKinds, sources: Sources) -> str:
    """Which dependency is not ready yet, for people; empty when all are.  Raises StageError for one that is invalid."""
    for key in spec.depends_on:
        application = kinds.get(APPLICATIONS, key)
        if application is None:
            return f"waits for application {key.name}, which does not exist"
        status: Obj = application.get("status") or {}
        seen = status.get("observedGeneration") == generation_of(application)
        if not seen or status.get("sync") != Sync.SYNCED or status.get("health") != Health.HEALTHY:
            return f"waits for application {key.name} to be synced and healthy"
        repository = sources.state(application_spec(application).repository)
        newest = repository.revision if repository is not None else None
        if newest is not None and status.get("lastAttempted") != newest.id:
            return f"waits for application {key.name} to reach {newest.short}"
    return ""
