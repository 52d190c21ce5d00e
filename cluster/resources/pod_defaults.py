"""Defaults of pods and pod templates.  Upstream: pkg/apis/core/v1/defaults.go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cluster.machinery.objects import Obj
from cluster.resources.defaulting import each, filled, inner

FILE_MODE = 0o644

_SPEC_ZERO = {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler"}
_SPEC_ABSENT = {"terminationGracePeriodSeconds": 30, "securityContext": {}}
_CONTAINER_ZERO = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
_CONTAINER_ABSENT: dict[str, Any] = {"resources": {}}
_PROBE_ZERO = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_PORT_ZERO = {"protocol": "TCP"}
_HTTP_ZERO = {"path": "/", "scheme": "HTTP"}
_FIELD_ZERO = {"apiVersion": "v1"}
_MODE = {"defaultMode": FILE_MODE}


def default_pod_spec(spec: Obj, *, host_ports: bool = False) -> Obj:
    """A pod spec with the defaults that templates have too.

    With `host_ports` containers on the host's network get their ports there: only in real pods, since 1.28.
    """
    made = filled(spec, _SPEC_ZERO, _SPEC_ABSENT)
    # Two spellings of one field; clients that know only the old one still read it.
    if account := made.get("serviceAccountName") or made.get("serviceAccount"):
        made["serviceAccountName"] = made["serviceAccount"] = account
    host_network = host_ports and bool(made.get("hostNetwork"))
    for field in ("containers", "initContainers", "ephemeralContainers"):
        each(made, field, lambda container: _default_container(container, host_network=host_network))
    each(made, "volumes", _default_volume)
    return made


def default_pod(pod: Obj) -> Obj:
    """A pod with its defaults: the template's, and what is only decided for real pods."""
    spec = dict(default_pod_spec(pod.get("spec") or {}, host_ports=True))
    spec.setdefault("enableServiceLinks", True)
    for field in ("containers", "initContainers"):
        each(spec, field, _requests_from_limits)
    return {**pod, "spec": spec}


def _requests_from_limits(container: Obj) -> Obj:
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    if limits.keys() <= requests.keys():
        return container
    return {**container, "resources": {**resources, "requests": {**limits, **requests}}}


def _default_container(container: Obj, *, host_network: bool) -> Obj:
    made = filled(container, _CONTAINER_ZERO, _CONTAINER_ABSENT)
    if not made.get("imagePullPolicy"):
        made["imagePullPolicy"] = "Always" if _tag_of(made.get("image", "")) == "latest" else "IfNotPresent"
    each(made, "ports", lambda port: _default_port(port, host_network=host_network))
    each(made, "env", _default_env)
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        inner(made, probe, _default_probe)
    inner(made, "lifecycle", _default_lifecycle)
    return made


def _tag_of(image: str) -> str:
    """The tag pulled for an image; empty when a digest pins it."""
    if "@" in image:
        return ""
    return image.rpartition("/")[2].partition(":")[2] or "latest"


def _default_port(port: Obj, *, host_network: bool) -> Obj:
    made = filled(port, _PORT_ZERO)
    if host_network and not made.get("hostPort") and "containerPort" in made:
        made["hostPort"] = made["containerPort"]
    return made


def _default_env(variable: Obj) -> Obj:
    source = variable.get("valueFrom")
    if not source or not source.get("fieldRef"):
        return variable
    return {**variable, "valueFrom": {**source, "fieldRef": filled(source["fieldRef"], _FIELD_ZERO)}}


def _default_handler(handler: Obj) -> Obj:
    made = dict(handler)
    inner(made, "httpGet", lambda action: filled(action, _HTTP_ZERO))
    inner(made, "grpc", lambda action: filled(action, absent={"service": ""}))
    return made


def _default_probe(probe: Obj) -> Obj:
    return _default_handler(filled(probe, _PROBE_ZERO))


def _default_lifecycle(lifecycle: Obj) -> Obj:
    made = dict(lifecycle)
    for hook in ("postStart", "preStop"):
        inner(made, hook, _default_handler)
    return made


def _default_volume(volume: Obj) -> Obj:
    made = filled(volume)
    if made.keys() <= {"name"}:
        made["emptyDir"] = {}
    for source, change in _VOLUME_SOURCES.items():
        if source in made:
            made[source] = change(made[source])
    return made


def _default_downward(source: Obj) -> Obj:
    made = dict(source)
    each(made, "items", lambda item: _with_field_ref(item))
    return made


def _with_field_ref(item: Obj) -> Obj:
    made = dict(item)
    inner(made, "fieldRef", lambda reference: filled(reference, _FIELD_ZERO))
    return made


def _default_projection(projection: Obj) -> Obj:
    made = filled(projection)
    inner(made, "serviceAccountToken", lambda token: filled(token, absent={"expirationSeconds": 3600}))
    inner(made, "downwardAPI", _default_downward)
    return made


def _default_projected(source: Obj) -> Obj:
    made = dict(source)
    each(made, "sources", _default_projection)
    return made


def _with_mode(source: Obj) -> Obj:
    return filled(source, absent=_MODE)


_VOLUME_SOURCES: Mapping[str, Callable[[Obj], Obj]] = {
    "secret": _with_mode,
    "configMap": _with_mode,
    "downwardAPI": lambda source: _default_downward(_with_mode(source)),
    "projected": lambda source: _default_projected(_with_mode(source)),
    "hostPath": lambda source: filled(source, absent={"type": ""}),
    "iscsi": lambda source: filled(source, {"iscsiInterface": "default"}),
    "rbd": lambda source: filled(source, {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
}
