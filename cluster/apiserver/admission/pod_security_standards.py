"""Pod Security admission: a namespace's labels hold its pods to a standard, or warn of what would not keep it.

The host's own policy (`pod_security`) stays the outer bound, whatever labels say.  Audit annotations are not recorded.
Upstream: k8s.io/pod-security-admission/admission.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.apiserver.admission.api import Attributes, Validating, annotate, forbidden
from cluster.apiserver.state import State, TableId
from cluster.machinery.errors import Cause, invalid_object
from cluster.machinery.field_errors import invalid
from cluster.machinery.objects import Key, Obj, field_of, labels_of, meta_of
from cluster.resources.pod_standards import (
    PRIVILEGED,
    Standard,
    level_problem,
    standard_of,
    version_problem,
    violations_of,
)

MODES = ("enforce", "audit", "warn")
LABEL = "pod-security.kubernetes.io/"
PODS_CHECKED_MAX = 1000
"""Present pods looked at when a namespace gets a stricter standard; the warning says when there are more."""

_NAMESPACES, _PODS = TableId("", "namespaces"), TableId("", "pods")
_TEMPLATES = {
    ("", "podtemplates"): ("template",),
    ("", "replicationcontrollers"): ("spec", "template"),
    ("apps", "deployments"): ("spec", "template"),
    ("apps", "replicasets"): ("spec", "template"),
    ("apps", "statefulsets"): ("spec", "template"),
    ("apps", "daemonsets"): ("spec", "template"),
    ("batch", "jobs"): ("spec", "template"),
    ("batch", "cronjobs"): ("spec", "jobTemplate", "spec", "template"),
}


class PodSecurityStandards(Validating):
    def __init__(self, state: State) -> None:
        self._state = state

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for a pod below the enforced standard, Invalid for labels that name none."""
        if attributes.operation not in ("CREATE", "UPDATE"):
            return
        group_resource = attributes.group_resource
        if group_resource == ("", "namespaces"):
            if not attributes.subresource:
                self._namespace(attributes)
        elif group_resource == ("", "pods"):
            if attributes.subresource in ("", "ephemeralcontainers"):
                self._pod(attributes)
        elif (path := _TEMPLATES.get(group_resource)) is not None and not attributes.subresource:
            self._template(attributes, field_of(attributes.obj, *path))

    def _standard(self, namespace: str, mode: str) -> Standard:
        row = self._state.table(_NAMESPACES).get(Key("", namespace))
        return PRIVILEGED if row is None else standard_of(row.labels, mode)

    def _pod(self, attributes: Attributes) -> None:
        enforced, audited, warned = (self._standard(attributes.key.namespace, mode) for mode in MODES)
        if enforced is PRIVILEGED and warned is PRIVILEGED and audited is PRIVILEGED:
            return
        if attributes.old is not None and not _is_significant(attributes.obj, attributes.old):
            return
        annotate(attributes, f"{LABEL}enforce-policy", str(enforced))
        _audit(attributes, attributes.obj, audited)
        if found := violations_of(attributes.obj, enforced):
            raise forbidden(attributes, f'violates PodSecurity "{enforced}": {", ".join(found)}')
        self._warn(attributes, attributes.obj, warned)

    def _template(self, attributes: Attributes, template: Obj | None) -> None:
        # What becomes of a template is refused pod by pod; until then its writer is only told.
        audited, warned = (self._standard(attributes.key.namespace, mode) for mode in ("audit", "warn"))
        if template is not None and audited is not PRIVILEGED:
            _audit(attributes, template, audited)
        if template is not None and warned is not PRIVILEGED:
            self._warn(attributes, template, warned)

    def _warn(self, attributes: Attributes, pod: Obj, standard: Standard) -> None:
        if found := violations_of(pod, standard):
            attributes.warnings.append(f'would violate PodSecurity "{standard}": {", ".join(found)}')

    def _namespace(self, attributes: Attributes) -> None:
        new, old = labels_of(attributes.obj), labels_of(attributes.old or {})
        if causes := tuple(_label_causes(new)):
            raise invalid_object("", "Namespace", attributes.key.name, causes)
        after, before = standard_of(new, "enforce"), standard_of(old, "enforce")
        if attributes.old is not None and after != before and after.level != "privileged":
            attributes.warnings.extend(self._present(attributes.key.name, after))

    def _present(self, namespace: str, standard: Standard) -> Iterator[str]:
        """What the pods that are there already would be refused for: one line for all with the same violations."""
        rows = self._state.table(_PODS).ordered(namespace)
        named: dict[str, list[str]] = {}
        for row in rows[:PODS_CHECKED_MAX]:
            if found := violations_of(self._state.obj(row), standard):
                named.setdefault(", ".join(part.partition(" (")[0] for part in found), []).append(row.key.name)
        if not named:
            return
        yield f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        if len(rows) > PODS_CHECKED_MAX:
            checked = f"only checked against the first {PODS_CHECKED_MAX} of {len(rows)} existing pods"
            yield f"new PodSecurity enforce level {checked}"
        for reasons, names in sorted(named.items(), key=lambda item: item[1]):
            yield f"{_few(names)}: {reasons}"


def _audit(attributes: Attributes, pod: Obj, standard: Standard) -> None:
    if found := violations_of(pod, standard):
        annotate(attributes, f"{LABEL}audit-violations", f'would violate PodSecurity "{standard}": {", ".join(found)}')


def _few(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{names[0]} (and {len(names) - 1} other {'pod' if len(names) == 2 else 'pods'})"


def _label_causes(labels: Obj) -> Iterator[Cause]:
    for mode in MODES:
        for suffix, problem_of in (("", level_problem), ("-version", version_problem)):
            name = f"{LABEL}{mode}{suffix}"
            if name in labels and (problem := problem_of(labels[name])):
                yield invalid(f"metadata.labels[{name}]", labels[name], problem)


def _is_significant(new: Obj, old: Obj) -> bool:
    """Whether an update changes what the standards look at, or might: images do not count."""
    if meta_of(new).get("annotations") != meta_of(old).get("annotations"):
        return True
    return _without_images(new) != _without_images(old)


def _without_images(pod: Obj) -> Obj:
    spec = dict(pod.get("spec") or {})
    spec.pop("activeDeadlineSeconds", None)
    spec.pop("tolerations", None)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        spec[field] = [{**container, "image": ""} for container in spec.get(field) or ()]
    return spec
