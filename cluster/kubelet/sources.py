"""The ConfigMaps, Secrets and claims a pod refers to: fetched one by one, kept while the API is away.

A node may read only what its own pods name, so nothing is listed or watched.  Secrets are never logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.base.clock import Clock
from cluster.client.transport import Transport
from cluster.kubelet.podspec import containers_of, spec_of
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj, namespace_of
from cluster.machinery.resource import Resource
from cluster.resources.builtin import CONFIG_MAPS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, SECRETS

FRESH_S = 15.0
"""How long a fetched object is served without asking again.  With the refresh every 30 s and the look every 10 s a change is
in the volumes of all pods within a minute."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What was fetched for one pod, by name in its namespace; an absent name is one that does not exist."""

    config_maps: Mapping[str, Obj] = field(default_factory=dict)
    secrets: Mapping[str, Obj] = field(default_factory=dict, repr=False)
    claims: Mapping[str, Obj] = field(default_factory=dict)
    volumes: Mapping[str, Obj] = field(default_factory=dict)
    """The volumes that those claims name, by the volume's name."""


def source_names_of(pod: Obj, *, volumes: bool = True) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of ConfigMaps and of Secrets that a pod's environment, image pulls and `volumes` refer to, sorted."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for container in containers_of(pod):
        for entry in container.spec.get("env") or ():
            source = entry.get("valueFrom") or {}
            _add(config_maps, source.get("configMapKeyRef"), "name")
            _add(secrets, source.get("secretKeyRef"), "name")
        for entry in container.spec.get("envFrom") or ():
            _add(config_maps, entry.get("configMapRef"), "name")
            _add(secrets, entry.get("secretRef"), "name")
    spec = spec_of(pod)
    for volume in (spec.get("volumes") or ()) if volumes else ():
        _add(config_maps, volume.get("configMap"), "name")
        _add(secrets, volume.get("secret"), "secretName")
        for part in (volume.get("projected") or {}).get("sources") or ():
            _add(config_maps, part.get("configMap"), "name")
            _add(secrets, part.get("secret"), "name")
    for reference in spec.get("imagePullSecrets") or ():
        _add(secrets, reference, "name")
    return tuple(sorted(config_maps)), tuple(sorted(secrets))


def claim_names_of(pod: Obj) -> tuple[str, ...]:
    """The claims that the pod's volumes name, sorted."""
    names: set[str] = set()
    for volume in spec_of(pod).get("volumes") or ():
        _add(names, volume.get("persistentVolumeClaim"), "claimName")
    return tuple(sorted(names))


def _add(names: set[str], reference: Obj | None, field_name: str) -> None:
    if reference and reference.get(field_name):
        names.add(str(reference[field_name]))


@dataclass(slots=True)
class _Kept:
    obj: Obj | None
    at: float


class SourceReader:
    """Fetches sources with a short memory.  When the API cannot be asked, the last answer is used, however old."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._kept: dict[tuple[str, Key], _Kept] = {}

    async def read(self, pod: Obj, *, volumes: bool = True) -> Sources:
        """Everything the pod names, or all but its volumes' sources.

        Raises ApiError when something was never read and cannot be read now.
        """
        namespace = namespace_of(pod)
        config_maps, secrets = source_names_of(pod, volumes=volumes)
        found_maps = {name: await self._get(CONFIG_MAPS, Key(namespace, name)) for name in config_maps}
        found_secrets = {name: await self._get(SECRETS, Key(namespace, name)) for name in secrets}
        found_claims: dict[str, Obj] = {}
        found_volumes: dict[str, Obj] = {}
        for name in claim_names_of(pod) if volumes else ():
            claim = await self._get(PERSISTENT_VOLUME_CLAIMS, Key(namespace, name))
            if claim is None:
                continue
            found_claims[name] = claim
            volume_name = str(spec_of(claim).get("volumeName") or "")
            volume = await self._get(PERSISTENT_VOLUMES, Key("", volume_name)) if volume_name else None
            if volume is not None:
                found_volumes[volume_name] = volume
        return Sources(
            {name: obj for name, obj in found_maps.items() if obj is not None},
            {name: obj for name, obj in found_secrets.items() if obj is not None},
            found_claims,
            found_volumes,
        )

    async def volume_is_gone(self, name: str) -> bool:
        """Whether the API says that there is no such volume.  Raises ApiError when it cannot be asked."""
        try:
            await self._transport.get(PERSISTENT_VOLUMES, Key("", name))
        except NotFound:
            return True
        return False

    def keep_only(self, pods: Mapping[str, Obj]) -> None:
        """Forget what none of `pods` (by uid) names any more."""
        wanted: set[tuple[str, Key]] = set()
        for pod in pods.values():
            namespace = namespace_of(pod)
            config_maps, secrets = source_names_of(pod)
            wanted |= {(CONFIG_MAPS.plural, Key(namespace, name)) for name in config_maps}
            wanted |= {(SECRETS.plural, Key(namespace, name)) for name in secrets}
            claims = {(PERSISTENT_VOLUME_CLAIMS.plural, Key(namespace, name)) for name in claim_names_of(pod)}
            wanted |= claims
            for name in claims & self._kept.keys():
                claim = self._kept[name].obj or {}
                wanted.add((PERSISTENT_VOLUMES.plural, Key("", str((claim.get("spec") or {}).get("volumeName", "")))))
        self._kept = {name: kept for name, kept in self._kept.items() if name in wanted}

    async def _get(self, resource: Resource, key: Key) -> Obj | None:
        kept = self._kept.get((resource.plural, key))
        now = self._clock.monotonic()
        if kept is not None and kept.obj is not None and now - kept.at < FRESH_S:
            return kept.obj
        obj: Obj | None
        try:
            obj = await self._transport.get(resource, key)
        except NotFound:
            obj = None
        except ApiError:
            if kept is None:
                raise
            return kept.obj
        self._kept[(resource.plural, key)] = _Kept(obj, now)
        return obj
