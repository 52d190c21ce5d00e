"""What this cluster does with every field of a Pod's and a Service's spec: one table, compared with the schema by a test.

Admission and the node both read it, so that what one promises the other keeps.  Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from cluster.machinery.objects import Obj, field_of


class Level(Enum):
    """ENFORCED is acted on.  WARNED is kept, has no effect, and is told by a Warning and an Event.

    REFUSED is kept and told the same way, and the node does not start the pod: ignoring it would promise a storage or a
    device that is not there.  FORBIDDEN is refused by the API server: ignoring it would promise a safety that is not there.
    """

    ENFORCED = "enforced"
    WARNED = "warned"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"


FORBIDDEN_VALUES: Mapping[str, str] = {
    "hostUsers": "False",
    "supplementalGroupsPolicy": "Strict",
    "procMount": "Unmasked",
    "recursiveReadOnly": "Enabled",
}
"""Fields whose default is what happens here, and the one value that is forbidden."""


class Fields(dict[str, Level]):
    """What is done with each field of one type."""

    def __init__(self, levels: Mapping[str, Level]) -> None:
        super().__init__(levels)
        enforced = (name for name, level in levels.items() if level is Level.ENFORCED)
        self.plain = frozenset(name for name in enforced if name not in FORBIDDEN_VALUES)
        """Those that are done whatever their value: all that most objects have."""


def _table(*, enforced: str, warned: str = "", refused: str = "", forbidden: str = "") -> Fields:
    words = (
        (Level.ENFORCED, enforced),
        (Level.WARNED, warned),
        (Level.REFUSED, refused),
        (Level.FORBIDDEN, forbidden),
    )
    return Fields({name: level for level, names in words for name in names.split()})


POD = _table(
    enforced="activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks"
    " ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname imagePullSecrets initContainers"
    " nodeName nodeSelector priority priorityClassName readinessGates restartPolicy schedulerName"
    " schedulingGates securityContext serviceAccount serviceAccountName shareProcessNamespace subdomain"
    " terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes os",
    warned="overhead preemptionPolicy resources setHostnameAsFQDN",
    refused="resourceClaims",
    forbidden="runtimeClassName",
)
AFFINITY = _table(enforced="nodeAffinity podAffinity podAntiAffinity")
CONTAINER = _table(
    enforced="args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resources"
    " restartPolicy securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty"
    " volumeMounts workingDir targetContainerName",
    warned="resizePolicy",
    refused="volumeDevices",
)
POD_SECURITY = _table(
    enforced="appArmorProfile fsGroup runAsGroup runAsNonRoot runAsUser seccompProfile supplementalGroups"
    " supplementalGroupsPolicy sysctls",
    warned="fsGroupChangePolicy",
    forbidden="seLinuxChangePolicy seLinuxOptions windowsOptions",
)
CONTAINER_SECURITY = _table(
    enforced="allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup"
    " runAsNonRoot runAsUser seccompProfile",
    forbidden="seLinuxOptions windowsOptions",
)
VOLUME = _table(
    enforced="configMap downwardAPI emptyDir hostPath name persistentVolumeClaim projected secret",
    refused="awsElasticBlockStore azureDisk azureFile cephfs cinder csi ephemeral fc flexVolume flocker gcePersistentDisk"
    " gitRepo glusterfs image iscsi nfs photonPersistentDisk portworxVolume quobyte rbd scaleIO"
    " storageos vsphereVolume",
)
VOLUME_MOUNT = _table(enforced="mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr")
SERVICE = _table(
    enforced="allocateLoadBalancerNodePorts clusterIP clusterIPs externalName externalTrafficPolicy internalTrafficPolicy"
    " ipFamilies ipFamilyPolicy ports publishNotReadyAddresses selector sessionAffinity type",
    warned="externalIPs healthCheckNodePort loadBalancerClass loadBalancerIP loadBalancerSourceRanges"
    " sessionAffinityConfig trafficDistribution",
)
DEPLOYMENT = _table(
    enforced="minReadySeconds paused progressDeadlineSeconds replicas revisionHistoryLimit selector strategy template",
)

HARMLESS_VALUES: Mapping[str, str] = {"fsGroupChangePolicy": "Always", "preemptionPolicy": "Never"}
"""Warned fields and the one value of each that says what happens here anyway."""

_AFFINITY_DEFAULT_S = 10800


@dataclass(frozen=True, slots=True)
class Findings:
    """Paths of set fields that are not done here, by level, in the object's order.  `refused` holds no `forbidden` one."""

    forbidden: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


_NOTHING = Findings()


def findings_of(pod: Obj) -> Findings:
    """What of this pod's spec is not done here.  A field that no table names is refused."""
    found = list(_pod_fields(pod.get("spec") or {}))
    if not found:
        return _NOTHING
    return Findings(
        *(
            tuple(path for path, level in found if level is wanted)
            for wanted in (Level.FORBIDDEN, Level.REFUSED, Level.WARNED)
        )
    )


def service_findings_of(service: Obj) -> Findings:
    """What of this Service's spec is not done here."""
    spec = service.get("spec") or {}
    warned = [path for path, _ in _fields(spec, SERVICE, "spec")]
    if field_of(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") in (None, _AFFINITY_DEFAULT_S):
        warned = [path for path in warned if path != "spec.sessionAffinityConfig"]
    return Findings(warned=tuple(warned))


def _pod_fields(spec: Obj) -> Iterator[tuple[str, Level]]:
    for path, level in _fields(spec, POD, "spec"):
        # Admission sets the policy in every pod; without a priority there is nobody to preempt.
        if path != "spec.preemptionPolicy" or int(spec.get("priority") or 0) > 0:
            yield path, level
    if (os_name := (spec.get("os") or {}).get("name", "linux")) != "linux":
        yield f"spec.os.name: {os_name}", Level.REFUSED
    yield from _fields(spec.get("affinity") or {}, AFFINITY, "spec.affinity")
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


def _fields(part: Obj, table: Fields, path: str) -> Iterable[tuple[str, Level]]:
    return () if part.keys() <= table.plain else _odd_fields(part, table, path)


def _odd_fields(part: Obj, table: Fields, path: str) -> Iterator[tuple[str, Level]]:
    for name in sorted(part):
        value = part[name]
        if name in FORBIDDEN_VALUES:
            if str(value) == FORBIDDEN_VALUES[name]:
                yield f"{path}.{name}", Level.FORBIDDEN
            continue
        level = table.get(name, Level.REFUSED)
        if level is not Level.ENFORCED and value not in (None, "", [], {}) and HARMLESS_VALUES.get(name) != value:
            yield f"{path}.{name}", level
