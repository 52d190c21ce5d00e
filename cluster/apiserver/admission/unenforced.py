"""Fields that are stored but that nothing here acts on yet: a warning each, so that nobody is fooled."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.apiserver.admission.api import Attributes, Validating
from cluster.machinery.objects import Obj, field_of

_POD_FIELDS = ("resourceClaims", "setHostnameAsFQDN", "overhead")
_CONTAINER_FIELDS = ("volumeDevices", "resizePolicy")
_SERVICE_FIELDS = ("externalIPs", "trafficDistribution")


class Unenforced(Validating):
    def validate(self, attributes: Attributes) -> None:
        if attributes.operation not in ("CREATE", "UPDATE") or attributes.subresource:
            return
        resource = attributes.descriptor.resource
        found: Iterator[str] = iter(())
        match (resource.group, resource.kind):
            case ("", "Pod"):
                found = _pod_fields(attributes.obj, "spec")
            case ("", "Service"):
                found = (f"spec.{name}" for name in _SERVICE_FIELDS if field_of(attributes.obj, "spec", name))
            case ("apps", _):
                found = _pod_fields(field_of(attributes.obj, "spec", "template", default={}), "spec.template.spec")
        attributes.warnings.extend(f"{path}: is stored but not enforced by this cluster" for path in found)


def _pod_fields(pod: Obj, path: str) -> Iterator[str]:
    spec = pod.get("spec") or {}
    yield from (f"{path}.{name}" for name in _POD_FIELDS if spec.get(name))
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or ()):
            yield from (f"{path}.{field}[{index}].{name}" for name in _CONTAINER_FIELDS if container.get(name))
