"""One served cluster for all client tests: the shipped daemon with a simulated node, so that pods run without Docker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.clients.served import Kubectl, Server, serving, until

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


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
