"""StatefulSets and DaemonSets on the real engine, as kubectl rolls them out, back and up and down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.real.line.conftest import IMAGE, Line, eventually

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip")


def template(app: str) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": IMAGE,
        "args": ["web"],
        "env": [{"name": "VERSION", "value": "1"}],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"metadata": {"labels": {"app": app}}, "spec": spec}


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": name}}
    body = {"selector": selector, "template": template(name), **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": body}


def versions(line: Line, app: str) -> list[tuple[str, str]]:
    pods = line.get("pods", "-l", f"app={app}")["items"]
    return sorted((pod["metadata"]["name"], pod["spec"]["containers"][0]["env"][0]["value"]) for pod in pods)


def test_a_stateful_set_has_names_rolls_out_is_undone_and_scales(line: Line):
    headless = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "db"},
        "spec": {"clusterIP": "None", "selector": {"app": "db"}, "ports": [{"port": 8080}]},
    }
    wanted = workload("StatefulSet", "db", replicas=2, serviceName="db")
    line.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [headless, wanted]})
    )
    try:
        line.kubectl("rollout", "status", "sts/db", "--timeout=60s")
        assert line.exec_python("db-1", "import socket; print(socket.gethostname())").strip() == "db-1"
        first = line.get("pod", "db-0")["status"]["podIP"]
        look_up = "import socket; print(socket.gethostbyname('db-0.db'))"
        assert eventually(lambda: line.exec_python("db-1", look_up).strip() == first)

        line.kubectl("set", "env", "sts/db", "VERSION=2")
        line.kubectl("rollout", "status", "sts/db", "--timeout=60s")
        assert versions(line, "db") == [("db-0", "2"), ("db-1", "2")]
        history = line.kubectl("rollout", "history", "sts/db").split()
        assert [word for word in history if word.isdigit()] == ["1", "2"]

        line.kubectl("rollout", "undo", "sts/db")
        line.kubectl("rollout", "status", "sts/db", "--timeout=60s")
        assert versions(line, "db") == [("db-0", "1"), ("db-1", "1")]

        line.kubectl("scale", "sts/db", "--replicas=1")
        eventually(lambda: versions(line, "db") == [("db-0", "1")])
        reasons = {event["reason"] for event in line.get("events")["items"] if event["involvedObject"]["name"] == "db"}
        assert {"SuccessfulCreate", "SuccessfulDelete"} <= reasons
        assert 'controller_unsettled_seconds{controller="statefulset"}' in line.kubectl("get", "--raw", "/metrics")
    finally:
        line.kubectl("delete", "sts/db", "service/db", "--wait")


def test_a_daemon_set_rolls_out_and_is_undone(line: Line):
    line.kubectl("apply", "-f", "-", stdin=json.dumps(workload("DaemonSet", "agent")))
    try:
        line.kubectl("rollout", "status", "ds/agent", "--timeout=60s")
        line.kubectl("set", "env", "ds/agent", "VERSION=2")
        line.kubectl("rollout", "status", "ds/agent", "--timeout=60s")
        assert [version for _, version in versions(line, "agent")] == ["2"]
        line.kubectl("rollout", "undo", "ds/agent")
        line.kubectl("rollout", "status", "ds/agent", "--timeout=60s")
        assert [version for _, version in versions(line, "agent")] == ["1"]
        history = line.kubectl("rollout", "history", "ds/agent").split()
        assert [word for word in history if word.isdigit()] == ["2", "3"]
        status = line.get("ds", "agent")["status"]
        assert (status["desiredNumberScheduled"], status["numberAvailable"]) == (1, 1)
    finally:
        line.kubectl("delete", "ds/agent", "--wait")
