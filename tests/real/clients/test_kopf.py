"""An operator written with kopf, run as its users run it: handlers, finalizer, status, owned objects, events."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real.clients.served import Server, until
from tests.real.clients.test_kubectl_crds import definition

OPERATOR = Path(__file__).with_name("operator_of_widgets.py")
MERGE = {"Content-Type": "application/merge-patch+json"}


@pytest.fixture
def widgets(server: Server, namespace: str, tmp_path: Path) -> Iterator[str]:
    """The path of a collection of Widgets that the operator looks after."""
    group = f"{namespace.replace('-', '')}.example.com"
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    preserving = yaml.safe_load(definition(group))
    # Where kopf keeps its own notes: the status of kinds that let it.
    schema = preserving["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    schema["status"]["x-kubernetes-preserve-unknown-fields"] = True
    assert server.request("POST", crds, preserving).status == 201
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "GROUP": group, "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "kopf", "run", "--verbose", "-n", namespace, str(OPERATOR)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, env=environment, stderr=log) as operator:
        try:
            yield f"/apis/{group}/v1/namespaces/{namespace}/widgets"
            assert operator.poll() is None, (tmp_path / "log").read_text()
        finally:
            operator.terminate()


def test_an_operator_follows_its_objects_from_birth_to_death(server: Server, widgets: str, namespace: str) -> None:
    config_maps = f"/api/v1/namespaces/{namespace}/configmaps"

    def sizes() -> Any:
        answer = server.request("GET", f"{config_maps}/w")
        return answer.obj["data"]["size"] if answer.status == 200 else None

    def phase() -> Any:
        return server.request("GET", f"{widgets}/w").obj.get("status", {}).get("phase")

    made = server.request("POST", widgets, {"metadata": {"name": "w"}, "spec": {"size": 3}})
    assert made.status == 201
    until(lambda: (sizes(), phase()) == ("3", "Created"), what="the operator saw the widget")
    held = server.request("GET", f"{widgets}/w").obj["metadata"]
    assert held["finalizers"] == ["widgets.example.com/operator"]
    (owner,) = server.request("GET", f"{config_maps}/w").obj["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Widget", made.obj["metadata"]["uid"])

    assert server.request("PATCH", f"{widgets}/w", {"spec": {"size": 5}}, headers=MERGE).status == 200
    until(lambda: (sizes(), phase()) == ("5", "Resized"), what="the operator saw the change")

    going = server.request("DELETE", f"{widgets}/w").obj["metadata"]
    assert "deletionTimestamp" in going
    until(lambda: server.request("GET", f"{widgets}/w").status == 404, what="the finalizer was taken off")
    assert server.request("GET", f"{config_maps}/goodbye-w").status == 200
    until(lambda: sizes() is None, what="what the widget owned is collected")
    events = server.request("GET", f"/api/v1/namespaces/{namespace}/events").obj["items"]
    told = {(event["reason"], event["involvedObject"]["kind"]) for event in events}
    assert ("Settled", "Widget") in told
