"""One served cluster for all client tests: the shipped daemon with a simulated node, so that pods run without Docker."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clients.served import Kubectl, Server, until

ROOT = Path(__file__).resolve().parents[3]
_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("served")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        options = ["--state", str(state), "--runtime", "simulated", "--port", str(probe.getsockname()[1])]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli.main", "serve", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n", (state / "log").read_text()
        served = Server(state=state, pid=process.pid)
        until(lambda: _node_is_ready(served), what="the node is ready")
        yield served
        assert process.poll() is None, (state / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def _node_is_ready(server: Server) -> bool:
    nodes = server.request("GET", "/api/v1/nodes").obj["items"]
    conditions = [c for node in nodes for c in node["status"].get("conditions", ())]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kubectl's home: one discovery cache for all tests."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def namespace(server: Server) -> str:
    """A namespace of the test's own."""
    name = f"test-{next(_numbers)}"
    made = server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert made.status == 201, made.body
    # Pods are admitted once their service account is there.
    path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    until(lambda: server.request("GET", path).status == 200, what="the namespace has its service account")
    return name


@pytest.fixture
def kubectl(server: Server, namespace: str, home: Path) -> Kubectl:
    return Kubectl(server, namespace, home)
