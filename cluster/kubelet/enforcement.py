"""What this kubelet does with every field of a pod's spec: one table, compared with the schema by a test.

ENFORCED is acted on here or by another component that owns it (the scheduler, admission).  WARNED is kept, has no effect
and is told by an Event.  REFUSED stops the pod: ignoring it would promise a safety or a storage that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from cluster.kubelet.podspec import spec_of
from cluster.machinery.objects import Obj


class Level(Enum):
    ENFORCED = "enforced"
    WARNED = "warned"
    REFUSED = "refused"


def _table(*, enforced: str, warned: str = "", refused: str = "") -> Mapping[str, Level]:
    words = ((Level.ENFORCED, enforced), (Level.WARNED, warned), (Level.REFUSED, refused))
    return {name: level for level, names in words for name in names.split()}


POD = _table(
    enforced="activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks"
    " ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname imagePullSecrets initContainers"
    " nodeName nodeSelector preemptionPolicy priority priorityClassName readinessGates restartPolicy schedulerName"
    " schedulingGates securityContext serviceAccount serviceAccountName shareProcessNamespace subdomain"
    " terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes os",
    warned="overhead setHostnameAsFQDN resources",
    refused="resourceClaims runtimeClassName",
)
CONTAINER = _table(
    enforced="args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resources"
    " restartPolicy securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty"
    " volumeMounts workingDir targetContainerName",
    warned="resizePolicy",
    refused="volumeDevices",
)
POD_SECURITY = _table(
    enforced="appArmorProfile fsGroup fsGroupChangePolicy runAsGroup runAsNonRoot runAsUser seccompProfile"
    " supplementalGroups supplementalGroupsPolicy sysctls",
    refused="seLinuxChangePolicy seLinuxOptions windowsOptions",
)
CONTAINER_SECURITY = _table(
    enforced="allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup"
    " runAsNonRoot runAsUser seccompProfile",
    refused="seLinuxOptions windowsOptions",
)
VOLUME = _table(
    enforced="configMap downwardAPI emptyDir hostPath name projected secret",
    refused="awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk"
    " gitRepo glusterfs image iscsi nfs persistentVolumeClaim photonPersistentDisk portworxVolume quobyte rbd scaleIO"
    " storageos vsphereVolume",
)
VOLUME_MOUNT = _table(enforced="mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr")

REFUSED_VALUES: Mapping[str, str] = {
    "hostUsers": "False",
    "supplementalGroupsPolicy": "Strict",
    "procMount": "Unmasked",
    "recursiveReadOnly": "Enabled",
}
"""Fields whose default is what this kubelet does, and the one value that it refuses."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Paths of set fields that are refused and that have no effect, in the pod's order."""

    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def findings_of(pod: Obj) -> Findings:
    """What of this pod's spec is not done here.  A field this kubelet does not know is refused."""
    found = list(_findings(spec_of(pod)))
    return Findings(
        tuple(path for path, level in found if level is Level.REFUSED),
        tuple(path for path, level in found if level is Level.WARNED),
    )


def _findings(spec: Obj) -> Iterator[tuple[str, Level]]:
    yield from _fields(spec, POD, "spec")
    if (os_name := (spec.get("os") or {}).get("name", "linux")) != "linux":
        yield f"spec.os.name: {os_name}", Level.REFUSED
    yield from _fields(spec.get("securityContext") or {}, POD_SECURITY, "spec.securityContext")
    for place, volume in enumerate(spec.get("volumes") or ()):
        yield from _fields(volume, VOLUME, f"spec.volumes[{place}]")
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for place, container in enumerate(spec.get(kind) or ()):
            path = f"spec.{kind}[{place}]"
            yield from _fields(container, CONTAINER, path)
            yield from _fields(container.get("securityContext") or {}, CONTAINER_SECURITY, f"{path}.securityContext")
            for index, mount in enumerate(container.get("volumeMounts") or ()):
                yield from _fields(mount, VOLUME_MOUNT, f"{path}.volumeMounts[{index}]")
            for index, port in enumerate(container.get("ports") or ()):
                if port.get("hostPort") and not spec.get("hostNetwork"):
                    yield f"{path}.ports[{index}].hostPort", Level.WARNED


def _fields(part: Obj, table: Mapping[str, Level], path: str) -> Iterator[tuple[str, Level]]:
    for name in sorted(part):
        value = part[name]
        if name in REFUSED_VALUES:
            if str(value) == REFUSED_VALUES[name]:
                yield f"{path}.{name}", Level.REFUSED
            continue
        level = table.get(name, Level.REFUSED)
        if level is not Level.ENFORCED and value not in (None, "", [], {}):
            yield f"{path}.{name}", level
