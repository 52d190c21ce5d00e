"""Real pods behind the proxy subresource, and a kubectl from before 1.30 in a real container."""

from __future__ import annotations

import os
import sys

import pytest

from tests.conftest import older_kubectl
from tests.real.line.conftest import Line, run

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip", "curl")


def first_pod(line: Line) -> str:
    return line.kubectl(
        "get", "pods", "-A", "-l", "app=web", "-o", "jsonpath={.items[0].metadata.namespace}/{.items[0].metadata.name}"
    )


def test_a_service_and_a_pod_answer_through_the_api(line: Line) -> None:
    namespace, name = first_pod(line).split("/")
    port = line.kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.ports[0].port}")
    target = line.kubectl(
        "-n", namespace, "get", "pod", name, "-o", "jsonpath={.spec.containers[0].ports[0].containerPort}"
    )
    base = f"/api/v1/namespaces/{namespace}"
    assert line.kubectl("get", "--raw", f"{base}/services/web:{port}/proxy/").startswith("Hello from web-")
    assert line.kubectl("get", "--raw", f"{base}/pods/{name}:{target}/proxy/").startswith(f"Hello from {name}")


@pytest.mark.needs("older-kubectl")
def test_an_older_kubectl_carries_a_file_through_a_process_and_back(line: Line) -> None:
    namespace, name = first_pod(line).split("/")
    sent = "content " * 50_000
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(7)"
    command = [older_kubectl(), "-n", namespace, "exec", "-i", name, "--", os.path.realpath(sys.executable), "-c", code]
    done = run(command, env=line.environment, stdin=sent, check=False)
    assert (done.returncode, done.stdout == sent.upper()) == (7, True), done.stderr
