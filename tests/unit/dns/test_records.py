"""The zone says of each name what the Kubernetes DNS specification says."""

from __future__ import annotations

import pytest

from cluster.client.cache import Change
from cluster.dns.records import Kind, Zone
from cluster.machinery.objects import key_of
from cluster.resources.builtin import ENDPOINT_SLICES, SERVICES


def service(name, *, ip="None", kind="ClusterIP", ports=(), external=None):
    spec = {"type": kind, "ports": list(ports)}
    spec |= {"externalName": external} if external else {"clusterIP": ip}
    return {"metadata": {"namespace": "shop", "name": name}, "spec": spec}


def endpoint_slice(owner, *endpoints, ports=()):
    return {
        "metadata": {"namespace": "shop", "name": f"{owner}-x", "labels": {"kubernetes.io/service-name": owner}},
        "endpoints": list(endpoints),
        "ports": list(ports),
    }


def endpoint(address, *, ready=True, hostname=None):
    made = {"addresses": [address], "conditions": {"ready": ready}}
    return made | ({"hostname": hostname} if hostname else {})


def zone_of(*objects):
    zone = Zone("cluster.local")
    for resource, obj in objects:
        zone.apply(Change(resource, key_of(obj), None, obj))
    return zone


HTTP = {"name": "http", "port": 80}
ZONE = zone_of(
    (SERVICES, service("web", ip="10.96.0.7", ports=[HTTP])),
    (SERVICES, service("db")),
    (SERVICES, service("away", kind="ExternalName", external="Example.org.")),
    (
        ENDPOINT_SLICES,
        endpoint_slice(
            "db", endpoint("10.244.0.5", hostname="db-0"), endpoint("10.244.0.6"), endpoint("10.244.0.9", ready=False),
            ports=[{"name": "sql", "port": 5432}],
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "targets"),
    [
        ("web.shop.svc.cluster.local", Kind.A, ["10.96.0.7"]),
        ("db.shop.svc.cluster.local", Kind.A, ["10.244.0.5", "10.244.0.6"]),
        ("db-0.db.shop.svc.cluster.local", Kind.A, ["10.244.0.5"]),
        ("10-244-0-6.db.shop.svc.cluster.local", Kind.A, ["10.244.0.6"]),
        ("away.shop.svc.cluster.local", Kind.CNAME, ["example.org"]),
        ("_http._tcp.web.shop.svc.cluster.local", Kind.SRV, ["web.shop.svc.cluster.local"]),
        (
            "_sql._tcp.db.shop.svc.cluster.local",
            Kind.SRV,
            ["10-244-0-6.db.shop.svc.cluster.local", "db-0.db.shop.svc.cluster.local"],
        ),
        ("10-244-0-5.shop.pod.cluster.local", Kind.A, ["10.244.0.5"]),
        ("7.0.96.10.in-addr.arpa", Kind.PTR, ["web.shop.svc.cluster.local"]),
        ("5.0.244.10.in-addr.arpa", Kind.PTR, ["db-0.db.shop.svc.cluster.local"]),
    ],
)
def test_a_name_has_its_records(name, kind, targets):
    assert ZONE.covers(name)
    answer = ZONE.look_up(name)
    assert (answer.exists, answer.kind, [record.target for record in answer.records]) == (True, kind, targets)


@pytest.mark.parametrize("name", ["cluster.local", "svc.cluster.local", "shop.svc.cluster.local"])
def test_a_name_in_between_exists_without_records(name):
    answer = ZONE.look_up(name)
    assert answer.exists and not answer.records


@pytest.mark.parametrize(
    "name",
    [
        "none.shop.svc.cluster.local",
        "nowhere.svc.cluster.local",
        "db-0.web.shop.svc.cluster.local",
        "_ftp._tcp.web.shop.svc.cluster.local",
        "a.b.c.d.e.svc.cluster.local",
        "300-1-1-1.shop.pod.cluster.local",
        "example.cluster.local",
    ],
)
def test_what_does_not_exist_is_said_to(name):
    assert ZONE.covers(name)
    assert not ZONE.look_up(name).exists


@pytest.mark.parametrize("name", ["example.org", "mycluster.local", "1.1.1.1.in-addr.arpa", "local"])
def test_other_names_are_not_ours(name):
    assert not ZONE.covers(name)


def test_a_removed_service_and_slice_leave_nothing():
    web, db = service("web", ip="10.96.0.7"), endpoint_slice("web", endpoint("10.244.0.5"))
    zone = zone_of((SERVICES, web), (ENDPOINT_SLICES, db))
    zone.apply(Change(SERVICES, key_of(web), web, None))
    zone.apply(Change(ENDPOINT_SLICES, key_of(db), db, None))
    assert not zone.look_up("web.shop.svc.cluster.local").exists
    assert not zone.covers("7.0.96.10.in-addr.arpa")
    assert zone._slices == {} and zone._by_address == {}
