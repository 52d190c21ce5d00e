"""Kinds and fields that are stored but that nothing here acts on: a warning each, so that nobody is fooled."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.apiserver.admission.api import Attributes, Validating
from cluster.machinery.objects import Obj, field_of
from cluster.resources.enforcement import findings_of, service_findings_of
from cluster.resources.unattended import warning_of

TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
    ("batch", "Job"): ("spec", "template"),
}
"""Where a kind keeps its pod template."""


AT_ONCE = ("spec", "updateStrategy", "rollingUpdate", "maxUnavailable")
"""Of a StatefulSet: a feature that upstream has turned off, too.  Its pods are replaced one at a time."""

RESIZED = "spec.containers[*].resources: counts for scheduling from now on; running containers keep what they have"


class Unenforced(Validating):
    def validate(self, attributes: Attributes) -> None:
        """Never refuses: what must be refused is the pod policy's."""
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        if attributes.subresource == "resize":
            attributes.warnings.append(RESIZED)
        if attributes.subresource:
            return
        resource = attributes.descriptor.resource
        kind = (resource.group, resource.kind)
        warnings: list[str] = []
        if kind == ("", "Pod"):
            warnings = pod_warnings(attributes.obj, "spec")
        elif path := TEMPLATES.get(kind):
            warnings = pod_warnings(field_of(attributes.obj, *path, default={}), f"{'.'.join(path)}.spec")
        elif kind == ("", "Service"):
            warnings = [_ignored(path) for path in service_findings_of(attributes.obj).warned]
        if kind == ("apps", "StatefulSet") and field_of(attributes.obj, *AT_ONCE) is not None:
            warnings.append(_ignored(".".join(AT_ONCE)))
        if unattended := warning_of(resource.group_kind):
            warnings.append(unattended)
        attributes.warnings.extend(warnings)


def pod_warnings(pod: Obj, prefix: str) -> list[str]:
    """One sentence a field, its path beginning with `prefix` instead of `spec`."""
    found = findings_of(pod)
    unstartable = (*found.forbidden, *found.refused)
    return [
        *(
            f"{prefix}{path.removeprefix('spec')}: is not supported by this cluster: no such pod is run"
            for path in unstartable
        ),
        *(_ignored(f"{prefix}{path.removeprefix('spec')}") for path in found.warned),
    ]


def _ignored(path: str) -> str:
    return f"{path}: is stored but not enforced by this cluster"
