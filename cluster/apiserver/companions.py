"""What comes into being with a namespace, in its transaction: its default ServiceAccount and the cluster's CA.

Upstream leaves this to controllers, so that a pod created right after its namespace may be refused; here it never is.  The
controllers still put back what somebody deletes.
"""

from __future__ import annotations

from typing import Any

from cluster.apiserver.registry import Planned
from cluster.apiserver.state import TableId, path_of, stored_form
from cluster.base.clock import Clock
from cluster.base.entropy import Entropy
from cluster.machinery.objects import Key, Obj, name_of
from cluster.resources.catalog import Descriptor
from cluster.store.api import Put

ROOT_CA = "kube-root-ca.crt"


class NamespaceCompanions:
    """See `registry.Allocations`.  `root_ca_pem` is what clients in pods verify the server with; it may be empty."""

    def __init__(self, clock: Clock, entropy: Entropy, root_ca_pem: str) -> None:
        self._clock = clock
        self._entropy = entropy
        self._root_ca_pem = root_ca_pem

    def plan(self, descriptor: Descriptor, new: Obj | None, old: Obj | None) -> Planned | None:
        if descriptor.storage.kind != "Namespace" or descriptor.storage.group or new is None or old is not None:
            return None
        namespace = name_of(new)
        account = self._object("ServiceAccount", namespace, "default")
        authority = self._object("ConfigMap", namespace, ROOT_CA)
        authority["metadata"]["annotations"] = {
            "kubernetes.io/description": "The certificate authority by which pods know the API server."
        }
        authority["data"] = {"ca.crt": self._root_ca_pem}
        return Planned(
            new,
            (
                Put(path_of(TableId("", "serviceaccounts"), Key(namespace, "default")), stored_form(account), None),
                Put(path_of(TableId("", "configmaps"), Key(namespace, ROOT_CA)), stored_form(authority), None),
            ),
        )

    def _object(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": self._entropy.uid(),
                "creationTimestamp": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            },
        }
