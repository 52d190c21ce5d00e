"""Ingresses, their classes, NetworkPolicies, IPAddresses and ServiceCIDRs: defaults, rules, rows."""

from __future__ import annotations

import pytest

from tests.unit.resources.kinds import CONTEXT, cells, complaints, kind_of, named

GROUP = "networking.k8s.io"
INGRESS, CLASS, POLICY, ADDRESS, RANGE = (
    kind_of(GROUP, kind) for kind in ("Ingress", "IngressClass", "NetworkPolicy", "IPAddress", "ServiceCIDR")
)
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def _ingress(**spec):
    return named("i", "n", spec=spec)


def _path(path="/", kind="Prefix", backend=BACKEND):
    return {"rules": [{"http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]}


PATH = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"),
        ({"defaultBackend": {}}, 'spec.defaultBackend: Invalid value: "": resource or service backend is required'),
        ({"defaultBackend": {"service": {"name": "a", "port": {}}}},
         "spec.defaultBackend: Required value: port name or number is required"),
        ({"defaultBackend": {"service": {"name": "a", "port": {"name": "x", "number": 1}}}},
         'spec.defaultBackend: Invalid value: "": cannot set both port name & port number'),
        ({"defaultBackend": {"resource": {"kind": "K", "name": ""}}}, "spec.defaultBackend.resource.name: Required value"),
        ({"rules": [{"host": "1.2.3.4"}]},
         'spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address'),
        ({"rules": [{"host": "a.*.b"}]}, 'spec.rules[0].host: Invalid value: "a.*.b": a wildcard DNS-1123 subdomain must'),
        ({"rules": [{"http": {"paths": []}}]}, "spec.rules[0].http.paths: Required value"),
        (_path(kind=None), f"{PATH}.pathType: Required value: pathType must be specified"),
        (_path(kind="Regex"), f'{PATH}.pathType: Unsupported value: "Regex": supported values: "Exact", "Implementation'),
        (_path("a"), f'{PATH}.path: Invalid value: "a": must be an absolute path'),
        (_path("/a//b"), f"{PATH}.path: Invalid value: \"/a//b\": must not contain '//'"),
        (_path("/a/.."), f"{PATH}.path: Invalid value: \"/a/..\": cannot end with '/..'"),
        ({**_path(), "tls": [{"hosts": ["a_b"]}]}, 'spec.tls[0].hosts[0]: Invalid value: "a_b": a lowercase RFC 1123'),
        ({**_path(), "ingressClassName": "A"}, 'spec.ingressClassName: Invalid value: "A": a lowercase RFC 1123'),
    ],
)  # fmt: skip
def test_an_ingress_that_leads_nowhere_is_refused(spec, text):
    assert [line[: len(text)] for line in complaints(INGRESS, _ingress(**spec))] == [text]


@pytest.mark.parametrize("spec", [{"defaultBackend": BACKEND}, _path(), _path("", "ImplementationSpecific"),
                                  {"rules": [{"host": "*.example.com"}]}])  # fmt: skip
def test_an_ingress_that_leads_somewhere_is_kept(spec):
    assert complaints(INGRESS, _ingress(**spec)) == []


def test_the_old_annotation_of_the_class_warns_and_must_agree():
    obj = _ingress(**_path())
    obj["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "a"}
    assert INGRESS.strategy.warnings(obj) == (
        "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead",
    )
    obj["spec"]["ingressClassName"] = "b"
    assert INGRESS.strategy.warnings(obj) == ()
    assert complaints(INGRESS, obj) == [
        'annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified'
    ]


def test_an_ingress_counts_changes_of_its_spec_only():
    old = INGRESS.strategy.prepare_create(_ingress(**_path()), CONTEXT)
    assert (old["status"], old["metadata"]["generation"]) == ({"loadBalancer": {}}, 1)
    same = INGRESS.strategy.prepare_update({**old, "status": {"loadBalancer": {"ingress": []}}}, old)
    assert same["status"] == {"loadBalancer": {}} and same["metadata"]["generation"] == 1
    other = INGRESS.strategy.prepare_update({**old, "spec": _path("/x")}, old)
    assert other["metadata"]["generation"] == 2


def test_an_ingress_in_a_table():
    rules = [{"host": f"{letter}.example.com"} for letter in "abcde"]
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "lb"}]}}
    obj = {**_ingress(rules=rules, tls=[{}], ingressClassName="nginx"), "status": status}
    hosts = "a.example.com,b.example.com,c.example.com + 2 more..."
    assert cells(INGRESS, obj) == ["i", "nginx", hosts, "10.0.0.1,lb", "80, 443", "60s"]
    assert cells(INGRESS, _ingress(defaultBackend=BACKEND)) == ["i", "<none>", "*", "", "80", "60s"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, "spec.controller: Required value"),
        ({"controller": "nginx"}, 'spec.controller: Invalid value: "nginx": must be a domain-prefixed path (such as "acme'),
        ({"controller": "a.io/b c"}, 'spec.controller: Invalid value: "b c": Invalid path'),
        ({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}},
         "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"),
        ({"controller": "a.io/b", "parameters": {"kind": "K", "name": "n", "namespace": "x"}},
         "spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"),
    ],
)  # fmt: skip
def test_a_class_names_its_controller(spec, text):
    assert [line[: len(text)] for line in complaints(CLASS, named("c", spec=spec))] == [text]


def test_the_controller_of_a_class_stays():
    old = named("c", spec={"controller": "a.io/b"})
    new = named("c", spec={"controller": "a.io/c"})
    assert complaints(CLASS, new, old) == ['spec.controller: Invalid value: "a.io/c": field is immutable']


def test_a_class_in_a_table():
    parameters = {"apiGroup": "k8s.io", "kind": "Param", "name": "p"}
    obj = named("c", spec={"controller": "a.io/b", "parameters": parameters})
    assert cells(CLASS, obj) == ["c", "a.io/b", "Param.k8s.io/p", "60s"]
    assert cells(CLASS, named("c", spec={"controller": "a.io/b"}))[2] == "<none>"


def _policy(**spec):
    return named("p", "n", spec=spec)


def test_a_policy_is_for_ingress_and_for_egress_where_it_has_rules():
    made = POLICY.strategy.prepare_create(_policy(ingress=[{"ports": [{"port": 80}]}]), CONTEXT)
    assert made["spec"] == {
        "podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}],
    }  # fmt: skip
    assert made["metadata"]["generation"] == 1 and "status" not in made
    assert POLICY.strategy.default(_policy(egress=[{}]))["spec"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
         "spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
         "spec.podSelector.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or"),
        ({"podSelector": {"matchExpressions": [{"key": "a", "operator": "Near"}]}},
         'spec.podSelector.matchExpressions[0].operator: Invalid value: "Near": not a valid selector operator'),
        ({"podSelector": {"matchLabels": {"a": "b c"}}}, 'spec.podSelector.matchLabels: Invalid value: "b c": a valid label'),
        ({"policyTypes": ["Both"]}, 'spec.policyTypes[0]: Unsupported value: "Both": supported values: "Ingress", "Egress"'),
        ({"policyTypes": ["Ingress"] * 3}, "spec.policyTypes: Invalid value:"),
        ({"ingress": [{"from": [{}]}]}, "spec.ingress[0].from[0]: Required value: must specify a peer"),
        ({"egress": [{"to": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
         "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer"),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0"}}]}]},
         'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24'),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]},
         'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of `cidr`'),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8"]}}]}]},
         'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "10.0.0.0/8": must be a strict subset of `cidr`'),
        ({"ingress": [{"ports": [{"port": 90, "endPort": 80}]}]},
         "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`"),
        ({"ingress": [{"ports": [{"port": "http", "endPort": 80}]}]},
         "spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is non-numeric"),
        ({"ingress": [{"ports": [{"endPort": 80}]}]},
         "spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified"),
        ({"ingress": [{"ports": [{"port": 0}]}]}, "spec.ingress[0].ports[0].port: Invalid value: 0: must be between 1 and"),
        ({"ingress": [{"ports": [{"port": 1, "protocol": "ICMP"}]}]},
         'spec.ingress[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"'),
    ],
)  # fmt: skip
def test_a_policy_that_means_nothing_is_refused(spec, text):
    assert [line[: len(text)] for line in complaints(POLICY, _policy(**spec))] == [text]


def test_a_policy_in_a_table():
    assert cells(POLICY, _policy(podSelector={"matchLabels": {"a": "b"}})) == ["p", "a=b", "60s"]
    assert cells(POLICY, _policy(podSelector={})) == ["p", "<none>", "60s"]


PARENT = {"resource": "services", "namespace": "default", "name": "kubernetes"}


def test_an_address_is_its_own_name_and_has_a_parent_for_ever():
    assert complaints(ADDRESS, named("10.96.0.1", spec={"parentRef": PARENT})) == []
    assert complaints(ADDRESS, named("x", spec={}))[1] == "spec.parentRef: Required value"
    assert "canonical" in complaints(ADDRESS, named("2001:DB8::1", spec={"parentRef": PARENT}))[0]
    other = named("10.96.0.1", spec={"parentRef": {**PARENT, "name": "x"}})
    assert "field is immutable" in complaints(ADDRESS, other, named("10.96.0.1", spec={"parentRef": PARENT}))[0]
    assert cells(ADDRESS, named("10.96.0.1", spec={"parentRef": PARENT}))[1] == "services/default/kubernetes"


@pytest.mark.parametrize(
    ("cidrs", "text"),
    [
        ([], "spec.cidrs: Required value: at least one CIDR required"),
        (["10.0.0.0/8", "11.0.0.0/8"], "spec.cidrs: Invalid value:"),
        (["10.0.0.1/8"], 'spec.cidrs[0]: Invalid value: "10.0.0.1/8": must be in canonical form ("10.0.0.0/8")'),
        (["x"], 'spec.cidrs[0]: Invalid value: "x": must be a valid CIDR value'),
    ],
)  # fmt: skip
def test_a_range_is_one_network_a_family(cidrs, text):
    assert [line[: len(text)] for line in complaints(RANGE, named("r", spec={"cidrs": cidrs}))] == [text]


def test_a_range_stays_what_it_is():
    old, new = (named("r", spec={"cidrs": [cidr]}) for cidr in ("10.0.0.0/8", "11.0.0.0/8"))
    assert complaints(RANGE, old, old) == []
    assert complaints(RANGE, new, old) == ['spec.cidrs: Invalid value: ["11.0.0.0/8"]: field is immutable']
    assert cells(RANGE, old) == ["r", "10.0.0.0/8", "60s"]
