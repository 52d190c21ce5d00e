"""Images before containers: when to pull, with whose credentials, how long to wait after a failure.

Credentials come from the pod's own pull secrets and are never logged.  Upstream: pkg/kubelet/images, pkg/credentialprovider.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.base.clock import Clock
from cluster.client.controller import Recorder
from cluster.client.events import NORMAL, WARNING
from cluster.kubelet.podspec import spec_of
from cluster.kubelet.runtime.api import EngineError, EngineUnavailable, Image, ImageStore, RegistryAuth
from cluster.kubelet.sources import Sources
from cluster.machinery.objects import Obj

BASE_S, MAX_S = 10.0, 300.0
PULLS_MAX = 3
"""Pulls at once: more would only share the same line."""
DOCKER_HUB = "docker.io"


class ImageError(Exception):
    """The image cannot be had now; `reason` is what the container's status shows."""

    def __init__(self, reason: str, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class _BackOff:
    delay_s: float
    until: float


def pull_policy_of(container: Obj) -> str:
    """The container's imagePullPolicy; unset: Always for `:latest` or no tag, else IfNotPresent."""
    policy = container.get("imagePullPolicy")
    if policy:
        return str(policy)
    image = str(container.get("image", ""))
    last = image.rpartition("/")[2]
    tagged = "@" in last or (":" in last and not last.endswith(":latest"))
    return "IfNotPresent" if tagged else "Always"


def registry_of(image: str) -> str:
    """The registry host an image name stands for (`docker.io` when it names none)."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else DOCKER_HUB


def credentials_of(pod: Obj, image: str, sources: Sources) -> tuple[RegistryAuth, ...]:
    """The credentials of the pod's imagePullSecrets for the image's registry, in the pod's order.

    Understands `.dockerconfigjson` and `.dockercfg`; a secret that holds neither, or nonsense, gives none.
    """
    registry = registry_of(image)
    found: list[RegistryAuth] = []
    for reference in spec_of(pod).get("imagePullSecrets") or ():
        data = (sources.secrets.get(str(reference.get("name"))) or {}).get("data") or {}
        for server, entry in _entries_of(data):
            if _host_of(server) == registry or (registry == DOCKER_HUB and _host_of(server).endswith("docker.io")):
                auth = _auth_of(server, entry)
                if auth is not None:
                    found.append(auth)
    return tuple(found)


def _entries_of(data: Obj) -> Sequence[tuple[str, dict[str, Any]]]:
    for key in (".dockerconfigjson", ".dockercfg"):
        if key not in data:
            continue
        try:
            config = orjson.loads(base64.b64decode(data[key]))
        except (orjson.JSONDecodeError, binascii.Error, ValueError):
            return ()
        auths = config.get("auths") if key == ".dockerconfigjson" and isinstance(config, dict) else config
        if isinstance(auths, dict):
            return [(str(server), entry) for server, entry in sorted(auths.items()) if isinstance(entry, dict)]
    return ()


def _auth_of(server: str, entry: dict[str, Any]) -> RegistryAuth | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"])).decode()
        except (binascii.Error, ValueError):
            return None
        username, _, password = decoded.partition(":")
    token = str(entry.get("identitytoken") or "")
    return RegistryAuth(_host_of(server), username, password, token) if username or token else None


def _host_of(server: str) -> str:
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


class Images:
    """Finds or pulls images for containers, PULLS_MAX at once; the engine itself joins equal pulls."""

    def __init__(self, store: ImageStore, clock: Clock, recorder: Recorder) -> None:
        self._store = store
        self._clock = clock
        self._recorder = recorder
        self._slots = asyncio.Semaphore(PULLS_MAX)
        self._back_offs: dict[str, _BackOff] = {}

    async def ensure(self, pod: Obj, container: Obj, sources: Sources) -> Image:
        """The image of `container`, pulled if its policy asks.  Raises ImageError, EngineUnavailable."""
        name = str(container.get("image", ""))
        if not name or name.startswith("-") or any(char.isspace() or char == "\0" for char in name):
            raise ImageError("InvalidImageName", f'Failed to apply default image tag "{name}"', retry_after_s=MAX_S)
        policy = pull_policy_of(container)
        present = await self._store.find(name)
        if present is not None and policy != "Always":
            self._tell(pod, f'Container image "{name}" already present on machine')
            return present
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            self._recorder.event(pod, WARNING, "ErrImageNeverPull", message)
            raise ImageError("ErrImageNeverPull", message, retry_after_s=BASE_S)
        back_off = self._back_offs.get(name)
        now = self._clock.monotonic()
        if back_off is not None and now < back_off.until:
            message = f'Back-off pulling image "{name}"'
            self._recorder.event(pod, NORMAL, "BackOff", message)
            raise ImageError("ImagePullBackOff", message, retry_after_s=back_off.until - now)
        return await self._pull(pod, name, credentials_of(pod, name, sources))

    async def _pull(self, pod: Obj, name: str, credentials: Sequence[RegistryAuth]) -> Image:
        async with self._slots:
            self._recorder.event(pod, NORMAL, "Pulling", f'Pulling image "{name}"')
            began = self._clock.monotonic()
            try:
                image = await self._store.pull(name, credentials)
            except EngineUnavailable:
                raise
            except EngineError as error:
                self._fail(pod, name, error)
                raise ImageError(
                    "ErrImagePull", error.message, retry_after_s=self._back_offs[name].until - self._clock.monotonic()
                ) from error
        self._back_offs.pop(name, None)
        took_ms = round((self._clock.monotonic() - began) * 1000)
        self._tell(pod, f'Successfully pulled image "{name}" in {took_ms}ms. Image size: {image.size_bytes} bytes.')
        return image

    def _fail(self, pod: Obj, name: str, error: EngineError) -> None:
        previous = self._back_offs.get(name)
        delay_s = BASE_S if previous is None else min(MAX_S, previous.delay_s * 2)
        self._back_offs[name] = _BackOff(delay_s, self._clock.monotonic() + delay_s)
        self._recorder.event(pod, WARNING, "Failed", f'Failed to pull image "{name}": {error.message}')
        self._recorder.event(pod, WARNING, "Failed", "Error: ErrImagePull")

    def _tell(self, pod: Obj, message: str) -> None:
        self._recorder.event(pod, NORMAL, "Pulled", message)
