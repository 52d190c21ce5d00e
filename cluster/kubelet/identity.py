"""How a container says whose it is: labels written once at creation and read back after any restart of the agent.

Knows no engine and no API.  Upstream: pkg/kubelet/kuberuntime/labels.go; ours are labels all, as Docker has no annotations.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from cluster.machinery.objects import Obj

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
_PREFIX = "io.reconciler.container."
ATTEMPT = f"{_PREFIX}attempt"
SPEC_HASH = f"{_PREFIX}hash"
SANDBOX = f"{_PREFIX}sandbox"
BACK_OFF = f"{_PREFIX}back-off-s"
GRACE = f"{_PREFIX}grace-s"

HASH_VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose container this is.  `attempt` counts from 0 and is the restart count; `back_off_s` delays the next attempt."""

    pod_uid: str
    pod_namespace: str
    pod_name: str
    container: str
    attempt: int
    spec_hash: str
    sandbox_id: str
    back_off_s: int = 0
    grace_s: int = 30

    @property
    def container_name(self) -> str:
        """The engine's name of it: unique per attempt, so that creating it twice is one creation."""
        return f"k8s_{self.container}_{self.pod_name}_{self.pod_namespace}_{self.pod_uid}_{self.attempt}"

    def labels(self) -> dict[str, str]:
        return {
            POD_NAME: self.pod_name,
            POD_NAMESPACE: self.pod_namespace,
            POD_UID: self.pod_uid,
            CONTAINER_NAME: self.container,
            ATTEMPT: str(self.attempt),
            SPEC_HASH: self.spec_hash,
            SANDBOX: self.sandbox_id,
            BACK_OFF: str(self.back_off_s),
            GRACE: str(self.grace_s),
        }


def identity_of(labels: Mapping[str, str]) -> Identity | None:
    """What `labels` say, or None where they name no pod's container (a sandbox, or damaged beyond use)."""
    if not labels.get(POD_UID) or not labels.get(CONTAINER_NAME):
        return None
    return Identity(
        pod_uid=labels[POD_UID],
        pod_namespace=labels.get(POD_NAMESPACE, ""),
        pod_name=labels.get(POD_NAME, ""),
        container=labels[CONTAINER_NAME],
        attempt=_number(labels.get(ATTEMPT), 0),
        spec_hash=labels.get(SPEC_HASH, ""),
        sandbox_id=labels.get(SANDBOX, ""),
        back_off_s=_number(labels.get(BACK_OFF), 0),
        grace_s=_number(labels.get(GRACE), 30),
    )


def spec_hash_of(container: Obj) -> str:
    """What of a spec, when it changes, means a new container: its name and image (upstream: pickFieldsToHash)."""
    text = f"{container['name']}\0{container.get('image', '')}"
    return f"{HASH_VERSION}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def spec_changed(recorded: str, container: Obj) -> bool:
    """Whether `recorded` stands for another spec.  A hash of another version says nothing: an upgrade restarts nothing."""
    return recorded.startswith(f"{HASH_VERSION}:") and recorded != spec_hash_of(container)


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else default
