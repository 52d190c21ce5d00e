"""PriorityClasses, RuntimeClasses, flow control and APIServices: defaults, rules, rows."""

from __future__ import annotations

import pytest

from cluster.machinery.objects import name_of
from cluster.resources.apiregistration import local_api_service
from cluster.resources.flow_defaults import MANDATORY_LEVELS, MANDATORY_SCHEMAS, SUGGESTED_LEVELS, SUGGESTED_SCHEMAS
from cluster.resources.scheduling import system_priority_classes
from tests.unit.resources.kinds import CONTEXT, cells, complaints, kind_of, named

PRIORITY = kind_of("scheduling.k8s.io", "PriorityClass")
RUNTIME = kind_of("node.k8s.io", "RuntimeClass")
SCHEMA = kind_of("flowcontrol.apiserver.k8s.io", "FlowSchema")
LEVEL = kind_of("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")
API_SERVICE = kind_of("apiregistration.k8s.io", "APIService")


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("high", {"value": 1000000001}, "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"),
        ("high", {"value": 1, "preemptionPolicy": "Ask"}, 'preemptionPolicy: Unsupported value: "Ask": supported values: "Pre'),
        ("system-x", {"value": 1}, "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for "
         "system use only. error: system-x is not a known system priority class"),
        ("system-node-critical", {"value": 1}, "metadata.name: Forbidden: priority class names with 'system-' prefix are "
         "reserved for system use only. error: value of system-node-critical PriorityClass must be 2000001000"),
    ],
)  # fmt: skip
def test_a_priority_class_keeps_below_the_systems(name, fields, text):
    assert [line[: len(text)] for line in complaints(PRIORITY, named(name, **fields))] == [text]


def test_the_systems_own_classes_are_allowed():
    assert [complaints(PRIORITY, obj) for obj in system_priority_classes()] == [[], []]


def test_a_class_keeps_its_value():
    old = named("a", value=5)
    assert complaints(PRIORITY, named("a", value=6), old) == ["value: Forbidden: may not be changed in an update."]
    never = named("a", value=5, preemptionPolicy="Never")
    assert complaints(PRIORITY, never, old) == ['preemptionPolicy: Invalid value: "Never": field is immutable']
    assert complaints(PRIORITY, named("a", value=5, globalDefault=True), old) == []
    assert cells(PRIORITY, old) == ["a", 5, False, "60s", "PreemptLowerPriority"]


def test_a_runtime_class_names_a_handler_for_ever():
    old = named("r", handler="runsc", overhead={"podFixed": {"cpu": "100m"}})
    assert complaints(RUNTIME, old) == []
    assert complaints(RUNTIME, named("r", handler="kata"), old) == [
        'handler: Invalid value: "kata": field is immutable'
    ]
    assert complaints(RUNTIME, named("r", handler="A"))[0].startswith(
        'handler: Invalid value: "A": a lowercase RFC 1123 label'
    )
    bad = named("r", handler="h", overhead={"podFixed": {"cpu": "-1"}})
    assert complaints(RUNTIME, bad) == [
        'overhead.podFixed[cpu]: Invalid value: "-1": must be greater than or equal to 0'
    ]
    assert cells(RUNTIME, old) == ["r", "runsc", "60s"]


def test_what_every_cluster_has_is_valid():
    for descriptor, objects in (
        (LEVEL, (*MANDATORY_LEVELS.values(), *SUGGESTED_LEVELS)),
        (SCHEMA, (*MANDATORY_SCHEMAS.values(), *SUGGESTED_SCHEMAS)),
    ):
        assert [(name_of(obj), complaints(descriptor, obj)) for obj in objects if complaints(descriptor, obj)] == []
        # Nothing is added to them, or the server would find its own objects changed.
        assert [name_of(obj) for obj in objects if descriptor.strategy.default(obj) != obj] == []


def test_the_mandatory_objects_stay_as_they_are():
    for descriptor, name in ((SCHEMA, "exempt"), (SCHEMA, "catch-all"), (LEVEL, "catch-all")):
        mandatory = (MANDATORY_SCHEMAS if descriptor is SCHEMA else MANDATORY_LEVELS)[name]
        changed = {**mandatory, "spec": {**mandatory["spec"], "extra": 1}}
        assert f"spec of '{name}' must equal the fixed value" in complaints(descriptor, changed, mandatory)[0]


def _schema(**spec):
    return named("s", spec={"priorityLevelConfiguration": {"name": "x"}, **spec})


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"matchingPrecedence": 1}, "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have"),
        ({"matchingPrecedence": 10001}, "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000"),
        ({"priorityLevelConfiguration": {}},
         "spec.priorityLevelConfiguration.name: Required value: must reference a priority level"),
        ({"distinguisherMethod": {"type": "ByLuck"}}, 'spec.distinguisherMethod.type: Unsupported value: "ByLuck"'),
        ({"rules": [{"subjects": [{"kind": "User", "user": {"name": "u"}}]}]},
         "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"),
        ({"rules": [{"nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]},
         "spec.rules[0].subjects: Required value: subjects must contain at least one value"),
        ({"rules": [{"subjects": [{"kind": "Group"}], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["x"]}]}]},
         "spec.rules[0].subjects[0].group: Required value"),
    ],
)  # fmt: skip
def test_a_flow_schema_that_matches_nothing_is_refused(spec, text):
    assert complaints(SCHEMA, _schema(**spec))[0][: len(text)] == text


def test_a_flow_schema_in_a_table():
    made = SCHEMA.strategy.prepare_create(_schema(distinguisherMethod={"type": "ByUser"}), CONTEXT)
    assert cells(SCHEMA, made) == ["s", "x", 1000, "ByUser", "60s", "?"]


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"type": "Fast"}, 'spec.type: Unsupported value: "Fast": supported values: "Exempt", "Limited"'),
        ({"type": "Limited"}, "spec.limited: Required value: must not be empty when type is Limited"),
        ({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}},
         "spec.limited.limitResponse.queuing: Required value"),
        ({"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 4, "handSize": 8}}}},
         "spec.limited.limitResponse.queuing.handSize: Invalid value: 8: should not be greater than queues (4)"),
    ],
)  # fmt: skip
def test_a_priority_level_that_limits_nothing_is_refused(spec, text):
    assert [line[: len(text)] for line in complaints(LEVEL, named("l", spec=spec))] == [text]


def test_a_priority_level_queues_by_default():
    spec = {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}}
    made = LEVEL.strategy.default(named("l", spec=spec))
    assert cells(LEVEL, made) == ["l", "Limited", 30, 64, 8, 50, "60s"]
    assert cells(LEVEL, MANDATORY_LEVELS["exempt"])[1:6] == ["Exempt", "<none>", "<none>", "<none>", "<none>"]


def test_a_group_that_the_server_serves_is_available_at_once():
    obj = local_api_service("apps", "v1", custom=False)
    obj = {**obj, "metadata": {**obj["metadata"], "creationTimestamp": "2025-01-01T11:59:00Z"}}
    made = API_SERVICE.strategy.prepare_create(obj, CONTEXT)
    assert complaints(API_SERVICE, made) == []
    assert cells(API_SERVICE, made) == ["v1.apps", "Local", "True", "60s"]
    assert made["status"]["conditions"][0]["lastTransitionTime"] == "2025-01-01T11:59:00Z"
    assert complaints(API_SERVICE, local_api_service("", "v1", custom=False)) == []


def _api_service(name="v1.a.io", service=None, **spec):
    base = {"group": "a.io", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1}
    return named(name, spec={**base, **({"service": service} if service is not None else {}), **spec})


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (_api_service("x"), 'metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "v1.a.io"'),
        (_api_service(versionPriority=0), "spec.versionPriority: Invalid value: 0: must be positive and less than 1000"),
        (_api_service(groupPriorityMinimum=20001), "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and"),
        (_api_service(caBundle="eA=="), 'spec.caBundle: Invalid value: "4 characters": local APIServices may not have a ca'),
        (_api_service(service={"name": "s"}), "spec.service.namespace: Required value"),
        (_api_service(service={"name": "s", "namespace": "n"}, insecureSkipTLSVerify=True, caBundle="eA=="),
         "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"),
    ],
)  # fmt: skip
def test_an_api_service_says_where_to_ask(obj, text):
    assert [line[: len(text)] for line in complaints(API_SERVICE, obj)] == [text]


def test_a_remote_api_service_waits_to_be_available():
    obj = _api_service(service={"name": "s", "namespace": "n"})
    made = API_SERVICE.strategy.prepare_create(obj, CONTEXT)
    assert made["spec"]["service"]["port"] == 443 and made["status"] == {}
    assert cells(API_SERVICE, made) == ["v1.a.io", "n/s", "Unknown", "60s"]
