"""What `up` shows while it waits: applications and pods, one line a transition, until all applications are healthy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cluster.client.kubeconfig import load_kubeconfig
from cluster.client.rest import HttpTransport
from cluster.client.transport import Query, Transport
from cluster.machinery.errors import ApiError
from cluster.machinery.objects import Obj, field_of, key_of, name_of
from cluster.resources.builtin import NODES, PODS, SERVICES
from reconciler.crds.application import APPLICATIONS

POLL_S = 0.2
URL_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class ApplicationSummary:
    name: str
    sync: str
    health: str
    revision: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """How it ended: the applications, where to look, and what was still waited for."""

    applications: tuple[ApplicationSummary, ...]
    url: str
    commit: str
    healthy: bool
    waiting_for: str


async def watch_until_healthy(
    kubeconfig: Path, say: Callable[[str], None], *, timeout_s: float, alive: Callable[[], bool], reachable: bool
) -> Summary:
    """Poll until every application is synced and healthy, the daemon dies, or `timeout_s` is over.

    `reachable` says that packets move: simulated pods have no address to open.
    """
    transport = HttpTransport(load_kubeconfig(kubeconfig), user_agent="reconciler-up")
    seen: dict[str, str] = {}
    deadline = asyncio.get_running_loop().time() + timeout_s
    try:
        while True:
            applications = await _applications(transport)
            for line, state in [
                *((f"application {app.name}", _worded(app)) for app in applications),
                *[(f"pod {key_of(pod)}", _pod_state(pod)) for pod in await _list(transport, PODS)],
            ]:
                if state and seen.get(line) != state:
                    seen[line] = state
                    say(f"{line}: {state}")
            healthy = bool(applications) and all(
                app.sync == "Synced" and app.health == "Healthy" for app in applications
            )
            over = asyncio.get_running_loop().time() > deadline or not alive()
            if healthy or over:
                url = await _url(transport) if reachable else ""
                if url and healthy:
                    await _answers(url)
                return Summary(
                    applications=applications,
                    url=url,
                    commit=applications[0].revision if applications else "",
                    healthy=healthy,
                    waiting_for="; ".join(
                        f"{app.name} is {_worded(app)}"
                        for app in applications
                        if app.health != "Healthy" or app.sync != "Synced"
                    )
                    or "no application exists yet",
                )
            await asyncio.sleep(POLL_S)
    finally:
        await transport.close()


async def _answers(url: str) -> None:
    """Wait, but not long, until somebody accepts connections there: packet rules follow readiness by a moment."""
    parts = urlsplit(url)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(URL_WAIT_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
                    writer.close()
                    return
                await asyncio.sleep(POLL_S / 4)


async def _applications(transport: Transport) -> tuple[ApplicationSummary, ...]:
    return tuple(
        ApplicationSummary(
            name=name_of(app),
            sync=str(field_of(app, "status", "sync", default="Unknown")),
            health=str(field_of(app, "status", "health", default="Unknown")),
            revision=str(field_of(app, "status", "revision", default="")),
            message=str(field_of(app, "status", "healthMessage", default="")),
        )
        for app in await _list(transport, APPLICATIONS)
    )


async def _list(transport: Transport, resource: object) -> list[Obj]:
    from cluster.machinery.resource import Resource

    assert isinstance(resource, Resource)
    try:
        return list((await transport.list(resource, Query())).items)
    except ApiError:
        return []  # not served yet, or the daemon is going: the next look, or `alive`, tells


def _worded(app: ApplicationSummary) -> str:
    commit = f" at {app.revision[:12]}" if app.revision else ""
    message = f" ({app.message})" if app.message and app.health != "Healthy" else ""
    return f"{app.sync}, {app.health}{commit}{message}"


def _pod_state(pod: Obj) -> str:
    """Phase and readiness in a word, or why a container waits."""
    for status in field_of(pod, "status", "containerStatuses", default=()):
        reason = field_of(status, "state", "waiting", "reason", default="")
        if reason and reason not in ("ContainerCreating", "PodInitializing"):
            return f"{reason}: {field_of(status, 'state', 'waiting', 'message', default='')}"
    conditions = {c["type"]: c for c in field_of(pod, "status", "conditions", default=())}
    if field_of(conditions.get("Ready", {}), "status") == "True":
        return "Ready"
    scheduled = conditions.get("PodScheduled", {})
    if field_of(scheduled, "status") == "False":
        return str(scheduled.get("message") or "Unschedulable")
    return str(field_of(pod, "status", "phase", default="Pending"))


async def _url(transport: Transport) -> str:
    """The first NodePort on this machine."""
    nodes = await _list(transport, NODES)
    for service in sorted(await _list(transport, SERVICES), key=key_of):
        for port in field_of(service, "spec", "ports", default=()):
            if port.get("nodePort") and nodes:
                return f"http://127.0.0.1:{port['nodePort']}/"
    return ""
