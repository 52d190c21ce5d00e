"""Small pods and observations for the kubelet's tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.kubelet.identity import Identity, spec_hash_of
from cluster.kubelet.observe import ObservedContainer, PodObservation
from cluster.kubelet.runtime.api import Container, Sandbox, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SANDBOX = Sandbox("sandbox-1", "POD", "uid-1", 100)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def container(name: str = "app", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox:1", **fields}


def pod(*containers: dict[str, Any], name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": "uid-1"},
        "spec": {"nodeName": "n1", "containers": list(containers or (container(),)), **spec},
        "status": {"phase": "Pending"},
    }


def attempt(
    name: str = "app",
    state: str = "running",
    *,
    number: int = 0,
    exit_code: int = 0,
    started_s: float = 0,
    finished_s: float = 1,
    back_off_s: int = 0,
    sandbox: str = "sandbox-1",
    spec: dict[str, Any] | None = None,
    oom_killed: bool = False,
) -> ObservedContainer:
    identity = Identity(
        pod_uid="uid-1",
        pod_namespace="default",
        pod_name="web",
        container=name,
        attempt=number,
        spec_hash=spec_hash_of(spec or container(name)),
        sandbox_id=sandbox,
        back_off_s=back_off_s,
    )
    started = state != "created"
    return ObservedContainer(
        identity,
        Container(
            id=f"{name}-{number}",
            name=identity.container_name,
            image="busybox:1",
            image_id="sha256:abc",
            labels=identity.labels(),
            state=State(state),
            exit_code=exit_code,
            oom_killed=oom_killed,
            started_at=later(started_s) if started else None,
            finished_at=later(finished_s) if state == "exited" else None,
        ),
    )


def observed(*containers: ObservedContainer, sandbox: Sandbox | None = SANDBOX) -> PodObservation:
    ordered = sorted(containers, key=lambda c: (c.name, -c.attempt))
    return PodObservation("uid-1", sandbox, tuple(ordered))
