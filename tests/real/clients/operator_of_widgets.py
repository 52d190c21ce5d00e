"""A kopf operator as its users write one, run as a process of its own: `kopf run -n NAMESPACE operator_of_widgets.py`.

For each Widget it keeps a ConfigMap of the same name with the widget's size, tells the status, and says goodbye in a
ConfigMap when the widget is deleted.  GROUP names the API group.
"""

from __future__ import annotations

import os
from typing import Any

import kopf
from kubernetes import client, config

GROUP = os.environ["GROUP"]


@kopf.on.startup()
def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = "widgets.example.com/operator"


@kopf.on.create(GROUP, "v1", "widgets")
def created(spec: kopf.Spec, name: str, namespace: str, patch: kopf.Patch, body: kopf.Body, **_: Any) -> None:
    child: dict[str, Any] = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
    kopf.adopt(child, owner=body)
    client.CoreV1Api().create_namespaced_config_map(namespace, child)
    kopf.info(body, reason="Settled", message="the widget has its config map")
    patch.status["phase"] = "Created"


@kopf.on.update(GROUP, "v1", "widgets", field="spec.size")
def resized(new: int, name: str, namespace: str, patch: kopf.Patch, **_: Any) -> None:
    client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})
    patch.status["phase"] = "Resized"


@kopf.on.delete(GROUP, "v1", "widgets")
def deleted(name: str, namespace: str, **_: Any) -> None:
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"goodbye-{name}"}})
