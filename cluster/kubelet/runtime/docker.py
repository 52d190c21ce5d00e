"""ContainerEngine over the Docker Engine API.  Output and entry are in `docker_streams`, images in `docker_images`.

It sees the containers that carry our label with our cluster id, and no others.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from cluster.kubelet.runtime.api import (
    Container,
    ContainerSpec,
    EngineError,
    EngineEvent,
    EngineInfo,
    EngineUnavailable,
    NoSuchContainer,
    State,
)
from cluster.kubelet.runtime.docker_api import DockerApi, DockerRefused
from cluster.kubelet.runtime.docker_config import HOSTNAME, MANAGED, container_config

INSPECTS_AT_ONCE = 8
EVENT_MAX_BYTES = 1 << 20
_ACTIONS = ("start", "die", "oom", "destroy")
_NO_INSTANT = "0001-01-01T00:00:00Z"


class DockerEngine:
    """`set_hostname(pid, name)` names the UTS namespace of a process: `runtime.namespaces.set_hostname`."""

    def __init__(self, api: DockerApi, *, cluster_id: str, set_hostname: Callable[[int, str], None]) -> None:
        self._api = api
        self._cluster_id = cluster_id
        self._set_hostname = set_hostname
        # What was inspected while events were being followed: valid until an event names the container.
        self._inspected: dict[str, Container] = {}
        self._following = 0
        self._changes = 0

    async def info(self) -> EngineInfo:
        info = await self._api.call("GET", "/info")
        return EngineInfo(
            name="docker",
            version=info["ServerVersion"],
            cpu_count=info["NCPU"],
            memory_bytes=info["MemTotal"],
            kernel=info["KernelVersion"],
            operating_system=info["OperatingSystem"],
            architecture=info["Architecture"],
            data_root=info["DockerRootDir"],
        )

    async def list(self) -> Sequence[Container]:
        """While `events` is being read, only what changed is inspected: a look at an idle host is one request."""
        filters = orjson.dumps({"label": [f"{MANAGED}={self._cluster_id}"]}).decode()
        summaries = await self._api.call("GET", "/containers/json", query={"all": "1", "filters": filters})
        at_once = asyncio.Semaphore(INSPECTS_AT_ONCE)

        async def look(summary: Mapping[str, Any]) -> Container | None:
            known = self._inspected.get(summary["Id"])
            if known is not None and known.state == summary["State"] and f"/{known.name}" in summary["Names"]:
                return known
            async with at_once:
                changes = self._changes
                try:
                    found = await self.inspect(summary["Id"])
                except NoSuchContainer:
                    return None  # removed since the listing
                if self._following and changes == self._changes:
                    self._inspected[found.id] = found
                return found

        seen = await asyncio.gather(*(look(one) for one in summaries))
        present = [one for one in seen if one is not None]
        ids = {one.id for one in present}
        self._inspected = {key: value for key, value in self._inspected.items() if key in ids}
        return sorted(present, key=lambda one: one.id)

    async def inspect(self, container_id: str) -> Container:
        """One container, by id or name.  Raises NoSuchContainer."""
        return container_of(await self._do(container_id, "GET", "/json"))

    async def create(self, spec: ContainerSpec) -> str:
        config = container_config(spec, self._cluster_id)
        try:
            made = await self._api.call("POST", "/containers/create", query={"name": spec.name}, body=config)
        except DockerRefused as refused:
            if refused.status == 409:
                existing = await self._of_that_name(spec.name, config["Labels"])
                if existing is not None:
                    return existing.id
            reason = "InvalidImageName" if "invalid reference format" in refused.message else "CreateContainerError"
            raise EngineError(reason, refused.message) from None
        return str(made["Id"])

    async def start(self, container_id: str) -> None:
        self._forget(container_id)
        try:
            await self._do(container_id, "POST", "/start", timeout_s=120.0)
        except DockerRefused as refused:
            raise EngineError("RunContainerError", refused.message) from None
        container = await self.inspect(container_id)
        if HOSTNAME in container.labels and container.pid:
            try:
                self._set_hostname(container.pid, container.labels[HOSTNAME])
            except (FileNotFoundError, ProcessLookupError):
                return  # it has ended already, which a look at it will show
            except OSError as error:
                raise EngineError("RunContainerError", f"cannot name the container's host: {error}") from error

    async def stop(self, container_id: str, *, grace_s: float) -> None:
        """Docker counts whole seconds: a fraction is rounded up."""
        try:
            if grace_s > 0:
                seconds = math.ceil(grace_s)
                await self._do(container_id, "POST", "/stop", query={"t": str(seconds)}, timeout_s=seconds + 60.0)
                return
            await self._do(container_id, "POST", "/kill", query={"signal": "SIGKILL"})
        except DockerRefused as refused:
            if refused.status != 409:  # 409: it is not running
                raise
        await self._do(container_id, "POST", "/wait", query={"condition": "not-running"})

    async def remove(self, container_id: str) -> None:
        try:
            await self._do(container_id, "DELETE", "", query={"force": "1", "v": "1"})
        except NoSuchContainer:
            return
        except DockerRefused as refused:
            if refused.status != 409:  # 409: another removal is under way
                raise

    async def rename(self, container_id: str, name: str) -> None:
        await self._do(container_id, "POST", "/rename", query={"name": name})

    async def events(self) -> AsyncIterator[EngineEvent]:
        filters = {"type": ["container"], "event": list(_ACTIONS), "label": [f"{MANAGED}={self._cluster_id}"]}
        # from the engine's own present, so that nothing is missed while the stream is being opened
        present = instant_of((await self._api.call("GET", "/info"))["SystemTime"])
        query = {"filters": orjson.dumps(filters).decode()}
        if present is not None:
            query["since"] = f"{present.timestamp():.6f}"
        pending = b""
        async with self._api.stream("GET", "/events", query=query) as response:
            self._following += 1
            try:
                while chunk := await response.read():
                    *lines, pending = (pending + chunk).split(b"\n")
                    if len(pending) > EVENT_MAX_BYTES:
                        raise EngineUnavailable("the container engine sent an event beyond all bounds")
                    events = [event_of(orjson.loads(line)) for line in lines if line.strip()]
                    for event in events:
                        self._forget(event.container_id)
                    for event in events:
                        yield event
            finally:
                self._following -= 1
                self._inspected.clear()
        raise EngineUnavailable("the container engine ended its events")

    def _forget(self, container_id: str) -> None:
        """Also keeps an inspection that is under way from being remembered."""
        self._changes += 1
        self._inspected.pop(container_id, None)

    async def _of_that_name(self, name: str, labels: Mapping[str, str]) -> Container | None:
        """The container of that name if it is the one we would have made."""
        try:
            existing = await self.inspect(name)
        except NoSuchContainer:
            return None
        # an image's own labels are merged into the container's
        return existing if all(existing.labels.get(key) == value for key, value in labels.items()) else None

    async def _do(
        self,
        container_id: str,
        method: str,
        action: str,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Any:
        path = f"/containers/{quote(container_id, safe='')}{action}"
        try:
            return await self._api.call(method, path, query=query, timeout_s=timeout_s)
        except DockerRefused as refused:
            if refused.status == 404 and "no such container" in refused.message.lower():
                raise NoSuchContainer(container_id) from None
            raise


def container_of(inspected: Mapping[str, Any]) -> Container:
    """What `GET /containers/ID/json` says."""
    state = inspected["State"]
    running = bool(state["Running"])
    started_at = instant_of(state["StartedAt"])
    return Container(
        id=inspected["Id"],
        name=inspected["Name"].removeprefix("/"),
        image=inspected["Config"]["Image"],
        image_id=inspected["Image"],
        labels=inspected["Config"].get("Labels") or {},
        state=State.RUNNING if running else State.EXITED if started_at or state.get("Error") else State.CREATED,
        pid=state["Pid"] if running else 0,
        exit_code=state["ExitCode"],
        oom_killed=bool(state.get("OOMKilled")),
        error=state.get("Error") or "",
        created_at=instant_of(inspected["Created"]),
        started_at=started_at,
        finished_at=None if running else instant_of(state["FinishedAt"]),
    )


def event_of(message: Mapping[str, Any]) -> EngineEvent:
    attributes = message["Actor"].get("Attributes") or {}
    return EngineEvent(message["Actor"]["ID"], message["Action"], attributes)


def instant_of(text: str) -> datetime | None:
    """Docker's RFC 3339 with up to nine digits of a second; its zero is None."""
    if not text or text == _NO_INSTANT:
        return None
    return datetime.fromisoformat(text)  # reads any number of digits and cuts to microseconds
