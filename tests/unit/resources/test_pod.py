"""Pods: defaults, what is refused and in which words, what may change, and the columns people read."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cluster.machinery.objects import GroupKind, with_field
from cluster.resources.pod import KINDS, prepare_ephemeral_containers, validate_ephemeral_containers
from cluster.resources.pod_columns import pod_state_of, ready_cell, restarts_cell
from cluster.resources.qos import qos_class_of
from cluster.resources.strategy import WriteContext

POD = KINDS[GroupKind("", "Pod")].strategy
NOW = datetime(2025, 1, 1, 12, 0, tzinfo=UTC)


def _pod(container=None, **spec):
    containers = [{"name": "c", "image": "app:1", **(container or {})}]
    return {"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": containers, **spec}}


def _created(container=None, **spec):
    return POD.prepare_create(_pod(container, **spec), WriteContext(user="tester"))


def _texts(causes):
    return [f"{cause.field}: {cause.message}" for cause in causes]


def test_a_small_pod_gets_every_default():
    pod = _created()
    assert pod["metadata"]["generation"] == 1
    assert pod["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert pod["spec"] == {
        "containers": [
            {
                "name": "c",
                "image": "app:1",
                "imagePullPolicy": "IfNotPresent",
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "enableServiceLinks": True,
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }
    assert POD.validate(pod) == ()


def test_defaulting_twice_changes_nothing_and_spares_its_input():
    given = _pod(
        {"ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}}, volumes=[{"name": "v"}]
    )
    kept = repr(given)
    once = POD.default(given)
    assert repr(given) == kept
    assert POD.default(once) == once


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("host:5000/app", "Always"),
        ("host:5000/app:2", "IfNotPresent"),
        ("app@sha256:abc", "IfNotPresent"),
    ],
)
def test_a_moving_tag_is_always_pulled(image, policy):
    assert _created({"image": image})["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_probes_ports_and_volumes_are_defaulted():
    container = {
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": "web"}, "timeoutSeconds": 0},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    }
    projected = {"sources": [{"serviceAccountToken": {"path": "token"}}]}
    volumes = [{"name": "a"}, {"name": "b", "secret": {"secretName": "s"}}, {"name": "c", "projected": projected}]
    spec = _created(container, volumes=volumes, hostNetwork=True, serviceAccountName="robot")["spec"]
    made = spec["containers"][0]
    assert made["ports"] == [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]
    assert made["readinessProbe"] == {
        "httpGet": {"port": "web", "path": "/", "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert spec["volumes"][0] == {"name": "a", "emptyDir": {}}
    assert spec["volumes"][1]["secret"]["defaultMode"] == 0o644
    assert spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert spec["serviceAccount"] == "robot"


def test_requests_default_to_limits_in_pods():
    resources = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}
    made = _created({"resources": resources})["spec"]["containers"][0]["resources"]
    assert made["requests"] == {"cpu": "500m", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "1"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1"}, "requests": {"cpu": "1000m", "memory": "1"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "2"}, "requests": {"memory": "1"}}, "Burstable"),
        ({"limits": {"example.com/gpu": "1"}}, "BestEffort"),
    ],
)
def test_the_quality_class_follows_from_cpu_and_memory(resources, expected):
    assert qos_class_of({"containers": [{"resources": resources}]}) == expected


@pytest.mark.parametrize(
    ("container", "spec", "text"),
    [
        ({"name": "A"}, {}, 'spec.containers[0].name: Invalid value: "A": a lowercase RFC 1123 label'),
        ({"image": ""}, {}, "spec.containers[0].image: Required value"),
        ({"image": " a"}, {}, "spec.containers[0].image: Invalid value"),
        ({"imagePullPolicy": "No"}, {}, 'spec.containers[0].imagePullPolicy: Unsupported value: "No": supported values: '
         '"Always", "IfNotPresent", "Never"'),
        ({"ports": [{"containerPort": 70000}]}, {}, "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must "
         "be between 1 and 65535, inclusive"),
        ({"ports": [{"containerPort": 1, "protocol": "X"}]}, {}, "spec.containers[0].ports[0].protocol: Unsupported value"),
        ({"ports": [{"containerPort": 1, "hostPort": 1}, {"containerPort": 2, "hostPort": 1}]}, {},
         "spec.containers[0].ports[1].hostPort: Duplicate value"),
        ({"env": [{"name": "A=B"}]}, {}, "spec.containers[0].env[0].name: Invalid value"),
        ({"env": [{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}, {},
         'spec.containers[0].env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}, {},
         'spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x"'),
        ({"envFrom": [{}]}, {}, "spec.containers[0].envFrom[0]: Invalid value"),
        ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}, {}, 'spec.containers[0].volumeMounts[0].name: Not found: "v"'),
        ({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}, {},
         'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        ({"resources": {"requests": {"cpu": "lots"}}}, {}, "spec.containers[0].resources.requests[cpu]: Invalid value"),
        ({"resources": {"requests": {"memory": "-1"}}}, {},
         'spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0'),
        ({"resources": {"requests": {"example.com/gpu": "1"}}}, {}, "spec.containers[0].resources.limits: Required value"),
        ({"livenessProbe": {}}, {}, "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        ({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}, {},
         "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"),
        ({"livenessProbe": {"tcpSocket": {"port": 1}, "successThreshold": 2}}, {},
         "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"),
        ({"lifecycle": {"preStop": {"httpGet": {"port": 0}}}}, {}, "spec.containers[0].lifecycle.preStop.httpGet.port: Inv"),
        ({"restartPolicy": "Always"}, {}, "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init"),
        ({"securityContext": {"runAsUser": -1}}, {}, "spec.containers[0].securityContext.runAsUser: Invalid value: -1"),
        ({"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}}, {},
         "spec.containers[0].securityContext: Invalid value"),
        ({}, {"restartPolicy": "Maybe"}, 'spec.restartPolicy: Unsupported value: "Maybe"'),
        ({}, {"dnsPolicy": "None"}, "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        ({}, {"terminationGracePeriodSeconds": -1}, "spec.terminationGracePeriodSeconds: Invalid value: -1"),
        ({}, {"activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds: Invalid value: 0"),
        ({}, {"nodeSelector": {"a b": "c"}}, 'spec.nodeSelector: Invalid value: "a b"'),
        ({}, {"tolerations": [{"effect": "NoExecute"}]}, "spec.tolerations[0].operator: Invalid value"),
        ({}, {"tolerations": [{"key": "a", "tolerationSeconds": 1}]}, "spec.tolerations[0].effect: Invalid value"),
        ({}, {"hostname": "a.b"}, 'spec.hostname: Invalid value: "a.b"'),
        ({}, {"hostAliases": [{"ip": "x"}]}, "spec.hostAliases[0].ip: Invalid value"),
        ({}, {"initContainers": [{"name": "c", "image": "i"}]}, 'spec.initContainers[0].name: Duplicate value: "c"'),
        ({}, {"initContainers": [{"name": "i", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]},
         "spec.initContainers[0].readinessProbe: Forbidden"),
        ({}, {"volumes": [{"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}]},
         "spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type"),
        ({}, {"volumes": [{"name": "v"}, {"name": "v"}]}, 'spec.volumes[1].name: Duplicate value: "v"'),
        ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/a/../b"}}]}, "spec.volumes[0].hostPath.path: Invalid value"),
        ({}, {"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]},
         "spec.volumes[0].configMap.items[0].path: Invalid value"),
        ({}, {"volumes": [{"name": "v", "secret": {"secretName": "s", "defaultMode": 512}}]},
         "spec.volumes[0].secret.defaultMode: Invalid value: 512: must be a number between 0 and 0777"),
        ({}, {"volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "a"}]}}]},
         "spec.volumes[0].downwardAPI.items[0]: "),
        ({}, {"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"}]},
         "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"),
        ({}, {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}},
         "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value"),
        ({}, {"ephemeralContainers": [{"name": "d", "image": "d"}]}, "spec.ephemeralContainers: Forbidden: cannot be set on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_upstreams_words(container, spec, text):
    causes = _texts(POD.validate(_created(container, **spec)))
    assert len(causes) == 1, causes
    assert causes[0].startswith(text)


def test_a_pod_without_containers_is_refused():
    assert _texts(POD.validate(POD.default({"metadata": {"name": "p", "namespace": "n"}}))) == [
        "spec.containers: Required value"
    ]


def test_image_deadline_and_new_tolerations_may_change():
    old = _created(activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists"}])
    new = with_field(old, ("spec", "activeDeadlineSeconds"), 5)
    new = with_field(new, ("spec", "containers"), [{**old["spec"]["containers"][0], "image": "app:2"}])
    new = with_field(new, ("spec", "tolerations"), [*old["spec"]["tolerations"], {"key": "b", "operator": "Exists"}])
    assert POD.validate_update(new, old) == ()
    assert POD.prepare_update(new, old)["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"a": "b"}),
        ("hostNetwork", True),
        ("terminationGracePeriodSeconds", 1),
        ("containers", [{**_created()["spec"]["containers"][0], "command": ["x"]}]),
    ],
)
def test_nothing_else_of_a_pods_spec_may_change(field, value):
    old = _created()
    texts = _texts(POD.validate_update(with_field(old, ("spec", field), value), old))
    assert len(texts) == 1
    assert texts[0].startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"
    )


def test_tolerations_are_not_taken_away_nor_deadlines_extended():
    old = _created(activeDeadlineSeconds=10, tolerations=[{"key": "a", "operator": "Exists"}])
    new = with_field(with_field(old, ("spec", "tolerations"), []), ("spec", "activeDeadlineSeconds"), 11)
    assert [cause.field for cause in POD.validate_update(new, old)] == [
        "spec.activeDeadlineSeconds",
        "spec.tolerations",
    ]


def test_a_status_write_keeps_the_spec_and_the_quality_class():
    old = _created({"resources": {"requests": {"cpu": "1"}}})
    written = {**old, "spec": {}, "status": {"phase": "Running"}}
    new = POD.prepare_status(written, old)
    assert new["spec"] == old["spec"]
    assert new["status"] == {"phase": "Running", "qosClass": "Burstable"}


def test_ephemeral_containers_are_only_added():
    old = _created()
    added = prepare_ephemeral_containers(
        with_field(old, ("spec", "ephemeralContainers"), [{"name": "d", "image": "d:1", "targetContainerName": "c"}]),
        old,
    )
    assert validate_ephemeral_containers(added, old) == ()
    assert added["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"] == "File"
    assert _texts(validate_ephemeral_containers(old, added)) == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed\n'
    ]


def _status(*containers, init=(), **status):
    pod = _pod(initContainers=[{"name": f"i{n}"} for n in range(len(init))])
    return {**pod, "status": {"containerStatuses": list(containers), "initContainerStatuses": list(init), **status}}


RUNNING = {"ready": True, "state": {"running": {}}}
WAITING = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
DONE = {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
KILLED = {"state": {"terminated": {"exitCode": 137, "signal": 9}}}


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (_status(phase="Pending"), "Pending"),
        (_status(RUNNING, phase="Running"), "Running"),
        (_status(WAITING, phase="Running"), "CrashLoopBackOff"),
        (_status(DONE, phase="Succeeded"), "Completed"),
        (_status(KILLED, phase="Failed"), "Signal:9"),
        (_status(DONE, RUNNING, phase="Running"), "NotReady"),
        (_status(phase="Pending", init=({"state": {"running": {}}},)), "Init:0/1"),
        (_status(phase="Pending", init=(DONE, {"state": {"waiting": {"reason": "PodInitializing"}}})), "Init:1/2"),
        (_status(phase="Pending", init=(WAITING,)), "Init:CrashLoopBackOff"),
        (_status(phase="Pending", init=({"state": {"terminated": {"exitCode": 3}}},)), "Init:ExitCode:3"),
        (_status(phase="Failed", reason="Evicted"), "Evicted"),
        (with_field(_status(RUNNING, phase="Running"), ("metadata", "deletionTimestamp"), "x"), "Terminating"),
        (_status(phase="Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]),
         "SchedulingGated"),
    ],
)  # fmt: skip
def test_one_word_says_what_a_pod_does(pod, state):
    assert pod_state_of(pod) == state


def test_ready_and_restarts_are_counted():
    crashed = {"ready": False, "restartCount": 3, "lastState": {"terminated": {"finishedAt": "2025-01-01T11:55:00Z"}}}
    pod = _status(crashed, phase="Running")
    assert ready_cell(pod, NOW) == "0/1"
    assert restarts_cell(pod, NOW) == "3 (5m ago)"
    assert restarts_cell(_status(RUNNING), NOW) == "0"
