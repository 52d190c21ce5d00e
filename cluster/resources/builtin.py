"""The built-in resources by name: what discovery lists and what components pass to a Transport.

Upstream: the 1.33 release's resource table.  `catalog` joins each with its schema, strategy and columns.
"""

from __future__ import annotations

from dataclasses import replace

from cluster.machinery.resource import ALL_VERBS, Resource

CREATE_ONLY = ("create",)


def _resource(
    group: str,
    version: str,
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = True,
    categories: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ALL_VERBS,
    subresources: tuple[str, ...] = (),
) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=short,
        categories=categories,
        verbs=verbs,
        subresources=subresources,
    )


ALL = ("all",)
API_EXTENSIONS = ("api-extensions",)
WORKLOAD = ("status", "scale")
STATUS = ("status",)

NAMESPACES = _resource(
    "", "v1", "Namespace", "namespaces", "ns", namespaced=False, subresources=("status", "finalize"),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
)  # fmt: skip
NODES = _resource("", "v1", "Node", "nodes", "no", namespaced=False, subresources=("status", "proxy"))
PODS = _resource(
    "", "v1", "Pod", "pods", "po", categories=ALL,
    subresources=(
        "status", "binding", "log", "exec", "attach", "portforward", "eviction", "ephemeralcontainers", "proxy", "resize",
    ),
)  # fmt: skip
CONFIG_MAPS = _resource("", "v1", "ConfigMap", "configmaps", "cm")
SECRETS = _resource("", "v1", "Secret", "secrets")
SERVICES = _resource("", "v1", "Service", "services", "svc", categories=ALL, subresources=("status", "proxy"))
ENDPOINTS = _resource("", "v1", "Endpoints", "endpoints", "ep")
EVENTS = _resource("", "v1", "Event", "events", "ev")
SERVICE_ACCOUNTS = _resource("", "v1", "ServiceAccount", "serviceaccounts", "sa", subresources=("token",))

BINDINGS = _resource("", "v1", "Binding", "bindings", verbs=CREATE_ONLY)
COMPONENT_STATUSES = _resource(
    "", "v1", "ComponentStatus", "componentstatuses", "cs", namespaced=False, verbs=("get", "list")
)
LIMIT_RANGES = _resource("", "v1", "LimitRange", "limitranges", "limits")
PERSISTENT_VOLUMES = _resource(
    "", "v1", "PersistentVolume", "persistentvolumes", "pv", namespaced=False, subresources=STATUS
)
PERSISTENT_VOLUME_CLAIMS = _resource(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=STATUS
)
POD_TEMPLATES = _resource("", "v1", "PodTemplate", "podtemplates")
REPLICATION_CONTROLLERS = _resource(
    "", "v1", "ReplicationController", "replicationcontrollers", "rc", categories=ALL, subresources=WORKLOAD
)
RESOURCE_QUOTAS = _resource("", "v1", "ResourceQuota", "resourcequotas", "quota", subresources=STATUS)

EVENTS_V1 = _resource("events.k8s.io", "v1", "Event", "events", "ev")
ENDPOINT_SLICES = _resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASES = _resource("coordination.k8s.io", "v1", "Lease", "leases")

DEPLOYMENTS = _resource("apps", "v1", "Deployment", "deployments", "deploy", categories=ALL, subresources=WORKLOAD)
REPLICA_SETS = _resource("apps", "v1", "ReplicaSet", "replicasets", "rs", categories=ALL, subresources=WORKLOAD)
CONTROLLER_REVISIONS = _resource("apps", "v1", "ControllerRevision", "controllerrevisions")
DAEMON_SETS = _resource("apps", "v1", "DaemonSet", "daemonsets", "ds", categories=ALL, subresources=STATUS)
STATEFUL_SETS = _resource("apps", "v1", "StatefulSet", "statefulsets", "sts", categories=ALL, subresources=WORKLOAD)

HORIZONTAL_POD_AUTOSCALERS = _resource(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    "hpa",
    categories=ALL,
    subresources=STATUS,
)
HORIZONTAL_POD_AUTOSCALERS_V1 = replace(HORIZONTAL_POD_AUTOSCALERS, version="v1")
CRON_JOBS = _resource("batch", "v1", "CronJob", "cronjobs", "cj", categories=ALL, subresources=STATUS)
JOBS = _resource("batch", "v1", "Job", "jobs", categories=ALL, subresources=STATUS)
CERTIFICATE_SIGNING_REQUESTS = _resource(
    "certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", "csr",
    namespaced=False, subresources=("approval", "status"),
)  # fmt: skip

_NETWORKING = "networking.k8s.io"
INGRESSES = _resource(_NETWORKING, "v1", "Ingress", "ingresses", "ing", subresources=STATUS)
INGRESS_CLASSES = _resource(_NETWORKING, "v1", "IngressClass", "ingressclasses", namespaced=False)
IP_ADDRESSES = _resource(_NETWORKING, "v1", "IPAddress", "ipaddresses", "ip", namespaced=False)
NETWORK_POLICIES = _resource(_NETWORKING, "v1", "NetworkPolicy", "networkpolicies", "netpol")
SERVICE_CIDRS = _resource(_NETWORKING, "v1", "ServiceCIDR", "servicecidrs", namespaced=False, subresources=STATUS)

POD_DISRUPTION_BUDGETS = _resource(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", subresources=STATUS
)

_RBAC = "rbac.authorization.k8s.io"
ROLES = _resource(_RBAC, "v1", "Role", "roles")
ROLE_BINDINGS = _resource(_RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLES = _resource(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = _resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)

_STORAGE = "storage.k8s.io"
CSI_DRIVERS = _resource(_STORAGE, "v1", "CSIDriver", "csidrivers", namespaced=False)
CSI_NODES = _resource(_STORAGE, "v1", "CSINode", "csinodes", namespaced=False)
CSI_STORAGE_CAPACITIES = _resource(_STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities")
STORAGE_CLASSES = _resource(_STORAGE, "v1", "StorageClass", "storageclasses", "sc", namespaced=False)
VOLUME_ATTACHMENTS = _resource(
    _STORAGE, "v1", "VolumeAttachment", "volumeattachments", namespaced=False, subresources=STATUS
)

_ADMISSION = "admissionregistration.k8s.io"
MUTATING_WEBHOOK_CONFIGURATIONS = _resource(
    _ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
    namespaced=False, categories=API_EXTENSIONS,
)  # fmt: skip
VALIDATING_ADMISSION_POLICIES = _resource(
    _ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies",
    namespaced=False, categories=API_EXTENSIONS, subresources=STATUS,
)  # fmt: skip
VALIDATING_ADMISSION_POLICY_BINDINGS = _resource(
    _ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings",
    namespaced=False, categories=API_EXTENSIONS,
)  # fmt: skip
VALIDATING_WEBHOOK_CONFIGURATIONS = _resource(
    _ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations",
    namespaced=False, categories=API_EXTENSIONS,
)  # fmt: skip

CUSTOM_RESOURCE_DEFINITIONS = _resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", "crds",
    namespaced=False, categories=API_EXTENSIONS, subresources=STATUS,
)  # fmt: skip
API_SERVICES = _resource(
    "apiregistration.k8s.io", "v1", "APIService", "apiservices",
    namespaced=False, categories=API_EXTENSIONS, subresources=STATUS,
)  # fmt: skip
PRIORITY_CLASSES = _resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", namespaced=False)
RUNTIME_CLASSES = _resource("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", namespaced=False)
_FLOW_CONTROL = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS = _resource(_FLOW_CONTROL, "v1", "FlowSchema", "flowschemas", namespaced=False, subresources=STATUS)
PRIORITY_LEVEL_CONFIGURATIONS = _resource(
    _FLOW_CONTROL, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations",
    namespaced=False, subresources=STATUS,
)  # fmt: skip

TOKEN_REVIEWS = _resource(
    "authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_REVIEWS = _resource(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False, verbs=CREATE_ONLY
)
_AUTHZ = "authorization.k8s.io"
SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_RULES_REVIEWS = _resource(
    _AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False, verbs=CREATE_ONLY
)
LOCAL_SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE_ONLY
)

BUILTIN: tuple[Resource, ...] = (
    NAMESPACES, NODES, PODS, CONFIG_MAPS, SECRETS, SERVICES, ENDPOINTS, EVENTS, SERVICE_ACCOUNTS,
    BINDINGS, COMPONENT_STATUSES,
    LIMIT_RANGES, PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, POD_TEMPLATES, REPLICATION_CONTROLLERS, RESOURCE_QUOTAS,
    API_SERVICES,
    DEPLOYMENTS, REPLICA_SETS, CONTROLLER_REVISIONS, DAEMON_SETS, STATEFUL_SETS,
    EVENTS_V1,
    TOKEN_REVIEWS, SELF_SUBJECT_REVIEWS,
    SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_RULES_REVIEWS, LOCAL_SUBJECT_ACCESS_REVIEWS,
    HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V1,
    CRON_JOBS, JOBS,
    CERTIFICATE_SIGNING_REQUESTS,
    INGRESSES, INGRESS_CLASSES, IP_ADDRESSES, NETWORK_POLICIES, SERVICE_CIDRS,
    POD_DISRUPTION_BUDGETS,
    ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS,
    CSI_DRIVERS, CSI_NODES, CSI_STORAGE_CAPACITIES, STORAGE_CLASSES, VOLUME_ATTACHMENTS,
    MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    CUSTOM_RESOURCE_DEFINITIONS,
    PRIORITY_CLASSES,
    LEASES,
    RUNTIME_CLASSES,
    ENDPOINT_SLICES,
    FLOW_SCHEMAS, PRIORITY_LEVEL_CONFIGURATIONS,
)  # fmt: skip
"""Every stored or virtual resource served from the start, in discovery order: the groups as upstream ranks them."""
