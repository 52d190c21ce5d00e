from __future__ import annotations

from typing import Any

import pytest

from cluster.apiserver.admission.api import Attributes
from cluster.apiserver.admission.pod_security import PodPolicy, PodSecurity
from cluster.apiserver.admission.unenforced import Unenforced
from cluster.apiserver.http import Identity
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, Obj
from cluster.resources.catalog import builtin_catalog


def attributes(obj: Obj, *, group: str = "", plural: str = "pods", namespace: str = "default") -> Attributes:
    descriptor = builtin_catalog().get(group, "v1", plural)
    assert descriptor is not None
    return Attributes("CREATE", descriptor, Key(namespace, "one"), "", Identity("somebody", ()), obj, None, [])


def pod(**spec: Any) -> Obj:
    return {"metadata": {"name": "one"}, "spec": {"containers": [{"name": "main", "image": "x"}], **spec}}


def warnings_of(asked: Attributes) -> list[str]:
    Unenforced().validate(asked)
    return asked.warnings


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"hostNetwork": True}, "hostNetwork=true"),
        ({"hostPID": True}, "hostPID=true"),
        ({"hostIPC": True}, "hostIPC=true"),
        ({"volumes": [{"name": "h", "hostPath": {"path": "/etc"}}]}, 'hostPath volume "h" (/etc)'),
        ({"securityContext": {"sysctls": [{"name": "kernel.panic", "value": "1"}]}}, 'sysctl "kernel.panic"'),
        ({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}, "appArmorProfile Unconfined of pod"),
        ({"hostUsers": False}, "spec.hostUsers (not supported)"),
        ({"runtimeClassName": "gvisor"}, "spec.runtimeClassName (not supported)"),
    ],
)
def test_the_host_is_not_given_away(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(Forbidden) as caught:
        PodPolicy(PodSecurity()).validate(attributes(pod(**spec)))
    assert told in caught.value.message


def test_the_operator_may_allow_it() -> None:
    policy = PodPolicy(PodSecurity(allow_host_network=True, allowed_host_paths=("/srv",)))
    policy.validate(
        attributes(pod(hostNetwork=True, volumes=[{"name": "h", "hostPath": {"path": "/srv/data"}}])),
    )


def test_an_exempt_namespace_is_still_told_what_nobody_enforces() -> None:
    policy = PodPolicy(PodSecurity())
    policy.validate(attributes(pod(hostNetwork=True), namespace="kube-system"))
    with pytest.raises(Forbidden):
        policy.validate(attributes(pod(hostUsers=False), namespace="kube-system"))


def test_a_field_without_effect_is_warned_of() -> None:
    assert warnings_of(attributes(pod(setHostnameAsFQDN=True))) == [
        "spec.setHostnameAsFQDN: is stored but not enforced by this cluster"
    ]


def test_a_pod_that_no_node_starts_is_warned_of() -> None:
    share = {"name": "data", "nfs": {"server": "files", "path": "/"}}
    assert warnings_of(attributes(pod(volumes=[share]))) == [
        "spec.volumes[0].nfs: is not supported by this cluster: no such pod is run"
    ]


def test_a_template_is_warned_of_where_it_stands() -> None:
    template = pod(runtimeClassName="gvisor")
    deployment = {"spec": {"template": template}}
    assert warnings_of(attributes(deployment, group="apps", plural="deployments")) == [
        "spec.template.spec.runtimeClassName: is not supported by this cluster: no such pod is run"
    ]


def test_a_service_is_warned_of() -> None:
    service = {"spec": {"externalIPs": ["192.0.2.7"]}}
    assert warnings_of(attributes(service, plural="services")) == [
        "spec.externalIPs: is stored but not enforced by this cluster"
    ]
