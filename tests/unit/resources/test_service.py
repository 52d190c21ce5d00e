"""Services: defaults, rules, and what an update keeps or gives back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cluster.machinery.objects import GroupKind
from cluster.resources.printing import table_of
from cluster.resources.service import COLUMNS, KINDS
from cluster.resources.strategy import WriteContext

SERVICE = KINDS[GroupKind("", "Service")].strategy
NOW = datetime(2025, 1, 1, tzinfo=UTC)


def _service(**spec):
    spec.setdefault("ports", [{"port": 80}])
    return {"metadata": {"name": "s", "namespace": "n"}, "spec": spec}


def _created(**spec):
    return SERVICE.prepare_create(_service(**spec), WriteContext(user="tester"))


def test_a_small_service_gets_every_default():
    service = _created()
    assert service["status"] == {"loadBalancer": {}}
    assert service["spec"] == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
    }
    assert SERVICE.validate(service) == ()


def test_affinity_and_outside_traffic_are_defaulted_where_they_apply():
    spec = _created(type="NodePort", sessionAffinity="ClientIP")["spec"]
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert "ipFamilies" not in _created(type="ExternalName", externalName="a.b", ports=[])["spec"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"type": "Nope"}, "spec.type"),
        ({"ports": []}, "spec.ports"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}, "spec.ports[1].name"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]}, "spec.ports[1].name"),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 1, "name": "b"}]}, "spec.ports[1]"),
        ({"ports": [{"port": 0}]}, "spec.ports[0].port"),
        ({"ports": [{"port": 1, "nodePort": 30000}]}, "spec.ports[0].nodePort"),
        ({"ports": [{"port": 1, "targetPort": "Not_a_port"}]}, "spec.ports[0].targetPort"),
        ({"sessionAffinity": "Sticky"}, "spec.sessionAffinity"),
        ({"clusterIP": "not-an-ip"}, "spec.clusterIPs[0]"),
        ({"clusterIP": "None", "type": "NodePort"}, "spec.clusterIPs[0]"),
        ({"type": "ExternalName"}, "spec.externalName"),
        ({"type": "ExternalName", "externalName": "a", "clusterIP": "10.0.0.1"}, "spec.clusterIP"),
        ({"externalIPs": ["x"]}, "spec.externalIPs[0]"),
        ({"externalIPs": ["8.8.8.8", "127.0.0.1"]}, "spec.externalIPs[1]"),
        ({"externalIPs": ["::ffff:127.0.0.1"]}, "spec.externalIPs[0]"),
        ({"externalIPs": ["0:0:0:0:0:0:0:1"]}, "spec.externalIPs[0]"),
        ({"externalIPs": ["169.254.169.254"]}, "spec.externalIPs[0]"),
        ({"externalIPs": ["0.0.0.0"]}, "spec.externalIPs[0]"),
        ({"internalTrafficPolicy": "Near"}, "spec.internalTrafficPolicy"),
        ({"selector": {"a": "b c"}}, "spec.selector"),
    ],
)
def test_what_is_wrong_is_found_where_it_is(spec, field):
    assert field in [cause.field for cause in SERVICE.validate(_created(**spec))]


def test_a_headless_service_needs_no_ports():
    service = _created(clusterIP="None", ports=[])
    assert service["spec"]["clusterIPs"] == ["None"]
    assert SERVICE.validate(service) == ()


def _allocated(**spec):
    return _created(clusterIP="10.96.0.5", **spec)


def test_an_update_keeps_what_was_allocated():
    old = _allocated(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    new = SERVICE.prepare_update(_service(type="NodePort", ports=[{"port": 80}, {"port": 81, "name": "b"}]), old)
    assert new["spec"]["clusterIPs"] == ["10.96.0.5"]
    assert [port.get("nodePort") for port in new["spec"]["ports"]] == [30080, None]


def test_the_address_may_not_change_once_set():
    causes = SERVICE.validate_update(_created(clusterIP="10.96.0.6"), _allocated())
    assert [f"{c.field}: {c.message}" for c in causes] == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set'
    ]


def test_a_change_of_type_gives_back_what_the_old_type_used():
    old = _allocated(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    inside = SERVICE.prepare_update({**old, "spec": {**old["spec"], "type": "ClusterIP"}}, old)
    assert "nodePort" not in inside["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in inside["spec"]
    assert SERVICE.validate_update(inside, old) == ()
    named = {**inside["spec"], "type": "ExternalName", "externalName": "a.b"}
    outside = SERVICE.prepare_update({**inside, "spec": named}, inside)
    assert not {"clusterIP", "clusterIPs", "ipFamilies"} & outside["spec"].keys()
    assert SERVICE.validate_update(outside, inside) == ()


def test_the_row_of_a_service():
    service = _allocated(type="NodePort", ports=[{"port": 80, "nodePort": 30080}], selector={"a": "b"})
    rows = table_of(COLUMNS, [service], NOW)["rows"]
    assert rows[0]["cells"] == ["s", "NodePort", "10.96.0.5", "<none>", "80:30080/TCP", "<unknown>", "a=b"]
    pending = _allocated(type="LoadBalancer")
    assert table_of(COLUMNS, [pending], NOW)["rows"][0]["cells"][3] == "<pending>"
