"""Every pod has a service account and, unless told otherwise, the credentials of it mounted.

Upstream: plugin/pkg/admission/serviceaccount.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.apiserver.admission.api import Attributes, is_new_pod
from cluster.apiserver.state import State, TableId
from cluster.base.entropy import Entropy
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, Obj, annotations_of, field_of

MIRROR = "kubernetes.io/config.mirror"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_LIFETIME_S = 3607
"""Upstream's own number: an hour and a little, which tells its tokens from those asked for by hand."""

_ACCOUNTS = TableId("", "serviceaccounts")


class ServiceAccount:
    def __init__(self, state: State, entropy: Entropy) -> None:
        self._state = state
        self._entropy = entropy

    def mutate(self, attributes: Attributes) -> Obj:
        """Raises Forbidden for an account that does not exist."""
        if not _concerns(attributes):
            return attributes.obj
        pod = attributes.obj
        spec: dict[str, Any] = dict(pod.get("spec") or {})
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        account = self._account(attributes.key.namespace, name, attributes.key.name)
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = list(account["imagePullSecrets"])
        mounts = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
        return {**pod, "spec": self._mounted(spec) if mounts else spec}

    def validate(self, attributes: Attributes) -> None:
        if _concerns(attributes):
            name = field_of(attributes.obj, "spec", "serviceAccountName", default="")
            self._account(attributes.key.namespace, name, attributes.key.name)

    def _account(self, namespace: str, name: str, pod: str) -> Obj:
        row = self._state.table(_ACCOUNTS).get(Key(namespace, name))
        if row is None:
            raise Forbidden(
                f'pods "{pod}" is forbidden: error looking up service account {namespace}/{name}: '
                f'serviceaccount "{name}" not found',
                kind="pods",
                name=pod,
            )
        return self._state.obj(row)

    def _mounted(self, spec: dict[str, Any]) -> Obj:
        """The spec with the token volume mounted wherever nothing else is mounted at its place."""
        kinds = ("initContainers", "containers")
        wanting = [c for kind in kinds for c in spec.get(kind) or () if not _has_mount(c)]
        if not wanting:
            return spec
        volume = next((v["name"] for v in spec.get("volumes") or () if _is_token_volume(v)), "")
        if not volume:
            volume = f"kube-api-access-{self._entropy.suffix(5)}"
            spec["volumes"] = [*(spec.get("volumes") or ()), _token_volume(volume)]
        mount = {"name": volume, "readOnly": True, "mountPath": MOUNT_PATH}
        for kind in kinds:
            if containers := spec.get(kind):
                spec[kind] = [
                    c if _has_mount(c) else {**c, "volumeMounts": [*(c.get("volumeMounts") or ()), mount]}
                    for c in containers
                ]
        return spec


def _concerns(attributes: Attributes) -> bool:
    return is_new_pod(attributes) and MIRROR not in annotations_of(attributes.obj)


def _has_mount(container: Obj) -> bool:
    mounts: Sequence[Obj] = container.get("volumeMounts") or ()
    return any(mount.get("mountPath") == MOUNT_PATH for mount in mounts)


def _is_token_volume(volume: Obj) -> bool:
    name: str = volume.get("name", "")
    return name.startswith("kube-api-access-") and "projected" in volume


def _token_volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [namespace]}},
            ],
        },
    }
