"""The printed table of a small node, as checked in: what an operator sees, and every change to it in review.

`RECONCILER_GOLDEN=write pytest tests/unit/proxy/test_golden_ruleset.py` writes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from cluster.proxy.ruleset import NodeNetwork, ruleset
from cluster.proxy.services import NodeFacts, service_map
from tests.unit.proxy.objects import endpoint, endpoint_slice, pod, service

GOLDEN = Path(__file__).parents[2] / "golden" / "ruleset.nft"


def test_the_table_prints_as_checked_in() -> None:
    services = [
        service("web", type="NodePort", ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}]),
        service("dns", cluster_ip="10.96.0.53", ports=[{"port": 53, "protocol": "UDP"}]),
        service("empty", cluster_ip="10.96.0.9"),
        service(
            "edge",
            cluster_ip="10.96.0.10",
            type="LoadBalancer",
            ingress=["192.0.2.1"],
            ports=[{"port": 443, "protocol": "TCP"}],
        ),
    ]
    slices = [
        endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.1.6", node="n2")),
        endpoint_slice("dns", endpoint("10.244.0.8"), port=53, protocol="UDP"),
        endpoint_slice("edge", endpoint("10.244.0.5"), port=8443),
    ]
    found = service_map(services, slices, [pod(containerPort=8080, hostPort=9000)], NodeFacts("n1", ("192.0.2.1",)))
    text = ruleset(found, NodeNetwork("golden", "rb-golden", "10.244.0.0/16", "10.244.0.0/24")).text()
    if os.environ.get("RECONCILER_GOLDEN") == "write":
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
