"""kubectl's verbs about what runs: rollout, logs, exec, cordon, drain, taint."""

from __future__ import annotations

import pytest

from tests.real.clients.manifests import POD, WEB
from tests.real.clients.served import Kubectl, until

pytestmark = pytest.mark.needs("kubectl")


def test_a_rollout_is_followed_listed_and_undone(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    kubectl("set", "image", "deployment/web", "web=web:2")
    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=second image")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    history = kubectl("rollout", "history", "deployment/web")
    assert [line.split(None, 1) for line in history.split("\n")[2:4]] == [["1", "<none>"], ["2", "second image"]]
    assert "web:2" in kubectl("rollout", "history", "deployment/web", "--revision=2")
    assert kubectl("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    image = "jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl("get", "deployment", "web", "-o", image) == "web:1"
    assert "unable to find specified revision 9" in kubectl.refused("rollout", "undo", "deploy/web", "--to-revision=9")
    kubectl("rollout", "undo", "deployment/web", "--to-revision=2")
    assert kubectl("get", "deployment", "web", "-o", image) == "web:2"


def test_a_rollout_is_restarted_paused_and_resumed(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    before = set(kubectl("get", "pods", "-o", "name").split())
    assert kubectl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    until(lambda: not before & set(kubectl("get", "pods", "-o", "name").split()), what="the old pods are gone")
    assert kubectl("rollout", "pause", "deployment/web") == "deployment.apps/web paused\n"
    assert "already paused" in kubectl.refused("rollout", "pause", "deployment/web")
    kubectl("set", "image", "deployment/web", "web=web:2")
    assert "Cannot" in kubectl.refused("rollout", "undo", "deployment/web").replace("cannot", "Cannot")
    assert kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}") == "web:1 web:1"
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    images = "jsonpath={.items[*].spec.containers[0].image}"
    until(lambda: kubectl("get", "pods", "-o", images) == "web:2 web:2", what="the new image runs")


def test_logs_and_exec_reach_the_container(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("wait", "--for=condition=Ready", "pod/solo", "--timeout=20s")
    assert kubectl("logs", "solo") == ""
    assert kubectl("logs", "-l", "app=solo", "--tail=5") == ""
    assert "container other is not valid for pod solo" in kubectl.refused("logs", "solo", "-c", "other")
    assert "previous terminated container" in kubectl.refused("logs", "solo", "--previous")
    assert kubectl("exec", "solo", "--", "true") == ""
    assert "container other is not valid for pod solo" in kubectl.refused("exec", "solo", "-c", "other", "--", "true")
    assert 'pods "nope" not found' in kubectl.refused("exec", "nope", "--", "true")
    assert 'pods "nope" not found' in kubectl.refused("logs", "nope")


def test_a_node_is_cordoned_tainted_and_drained(kubectl: Kubectl) -> None:
    node = kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    try:
        assert kubectl("cordon", node) == f"node/{node} cordoned\n"
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        kubectl("run", "late", "--image=late:1")
        blocked = until(lambda: kubectl("events", "--for", "pod/late"), what="the scheduler says why")
        assert "1 node(s) were unschedulable" in blocked
        drained = kubectl("drain", node, "--pod-selector=app=web", "--timeout=20s")
        assert f"node/{node} drained" in drained
        assert drained.count("evicted") >= 2
    finally:
        kubectl("uncordon", node)
    kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=20s")
    try:
        assert kubectl("taint", "node", node, "only=me:NoSchedule") == f"node/{node} tainted\n"
        kubectl("run", "tainted", "--image=late:1")
        why = until(lambda: kubectl("events", "--for", "pod/tainted"), what="the scheduler says why")
        assert "had untolerated taint {only: me}" in why
    finally:
        assert kubectl("taint", "node", node, "only-") == f"node/{node} untainted\n"
    kubectl("wait", "--for=condition=Ready", "pod/tainted", "--timeout=20s")
