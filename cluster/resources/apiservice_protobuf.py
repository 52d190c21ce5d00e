"""The protobuf field numbers of apiregistration.k8s.io/v1, which no client binary at hand carries.

Upstream: kube-aggregator/pkg/apis/apiregistration/v1/generated.proto.
In the form of `crd_protobuf`; read by the generator only.
"""

from __future__ import annotations

from collections.abc import Mapping

APISERVICE_PACKAGE = "k8s.io.kube_aggregator.pkg.apis.apiregistration.v1"

_META = "k8s.io.apimachinery.pkg.apis.meta.v1."

APISERVICE_MESSAGES: Mapping[str, Mapping[str, tuple[str, str, str]]] = {
    "APIService": {
        "1": ("metadata", _META + "ObjectMeta", ""),
        "2": ("spec", "APIServiceSpec", ""),
        "3": ("status", "APIServiceStatus", ""),
    },
    "APIServiceSpec": {
        "1": ("service", "ServiceReference", ""),
        "2": ("group", "string", ""),
        "3": ("version", "string", ""),
        "4": ("insecureSkipTLSVerify", "bool", ""),
        "5": ("caBundle", "bytes", ""),
        "7": ("groupPriorityMinimum", "int", "0"),
        "8": ("versionPriority", "int", "0"),
    },
    "ServiceReference": {"1": ("namespace", "string", ""), "2": ("name", "string", ""), "3": ("port", "int", "")},
    "APIServiceStatus": {"1": ("conditions", "APIServiceCondition", "r")},
    "APIServiceCondition": {
        "1": ("type", "string", ""),
        "2": ("status", "string", ""),
        "3": ("lastTransitionTime", _META + "Time", ""),
        "4": ("reason", "string", ""),
        "5": ("message", "string", ""),
    },
}
