"""The straight line on real parts: a commit becomes running, reachable containers; a revert takes it back."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.real.line.conftest import IMAGE, Line, eventually, git, run

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "git", "ip", "curl")


def fetch(url: str) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=3) as answer:
        return answer.read().decode()
    return ""


def test_up_reports_what_it_started(line: Line):
    answer = line.answer
    assert answer["runtime"] == "docker"
    assert answer["commit"] == git(line.repository, "rev-parse", "HEAD")
    assert [app["health"] for app in answer["applications"]] == ["Healthy"]
    assert answer["repository"] == str(line.repository)


def test_a_second_up_finds_it_running(line: Line):
    before = line.answer["pid"]
    assert line.up()["pid"] == before


def test_kubectl_shows_everything(line: Line):
    listing = line.kubectl("get", "all", "-A")
    for expected in ("pod/web-", "service/web", "deployment.apps/web", "replicaset.apps/web-", "2/2"):
        assert expected in listing
    assert "Ready" in line.kubectl("get", "nodes")


def test_the_node_port_answers_from_the_host(line: Line):
    text = eventually(lambda: fetch(line.answer["url"]), within_s=10, what="an answer on the node port")
    assert text.startswith("Hello from web-")


def test_the_service_finds_another_service_by_name(line: Line):
    # The count comes from `visits`, through DNS and a ClusterIP.
    eventually(lambda: fetch(line.answer["url"]).rstrip().split(" ")[-1].isdigit(), what="a count from visits")


def test_a_pod_reaches_services_and_itself_through_its_own(line: Line):
    code = """
        import socket, urllib.request
        own = socket.gethostname()
        hosts = set()
        for _ in range(40):
            hosts.add(urllib.request.urlopen("http://web/", timeout=3).read().decode().split()[2].rstrip(","))
        print(own in hosts, len(hosts))
    """
    assert line.exec_python("deploy/web", code).split() == ["True", "2"]


def test_the_api_is_reachable_inside_pods(line: Line):
    code = """
        import json, ssl, urllib.request
        base = "/var/run/secrets/kubernetes.io/serviceaccount/"
        context = ssl.create_default_context(cafile=base + "ca.crt")
        token = open(base + "token").read()
        request = urllib.request.Request("https://kubernetes.default/version", headers={"Authorization": "Bearer " + token})
        print(json.load(urllib.request.urlopen(request, context=context, timeout=5))["minor"])
    """
    assert line.exec_python("deploy/web", code).strip() == "33"


@contextlib.contextmanager
def another_machine() -> Iterator[list[str]]:
    """A network namespace on a link of its own; gives the words that run a command there, and routes to the host."""
    name = "line-far"
    for words in (
        ["ip", "netns", "add", name],
        ["ip", "link", "add", "line-near", "type", "veth", "peer", "name", "eth0", "netns", name],
        ["ip", "address", "add", "198.51.100.1/24", "dev", "line-near"],
        ["ip", "link", "set", "line-near", "up"],
        ["ip", "-n", name, "address", "add", "198.51.100.2/24", "dev", "eth0"],
        ["ip", "-n", name, "link", "set", "eth0", "up"],
        ["ip", "-n", name, "route", "add", "default", "via", "198.51.100.1"],
    ):
        run(words)
    try:
        yield ["nsenter", f"--net=/run/netns/{name}"]
    finally:
        run(["ip", "netns", "delete", name])
        run(["ip", "link", "delete", "line-near"], check=False)


def test_the_node_port_answers_from_another_machine(line: Line):
    port = line.answer["url"].rstrip("/").rpartition(":")[2]
    assert "-P FORWARD DROP" in run(["iptables", "-S", "FORWARD"]).stdout
    with another_machine() as inside:
        node_ip = line.get("nodes")["items"][0]["status"]["addresses"][0]["address"]
        for address in (node_ip, "198.51.100.1"):
            text = eventually(
                lambda address=address: (
                    run([*inside, "curl", "-s", "--max-time", "3", f"http://{address}:{port}/"], check=False).stdout
                ),
                within_s=15,
                what=f"an answer from {address}",
            )
            assert text.startswith("Hello from web-")


def test_curl_with_a_token_is_authorized(line: Line):
    token = line.kubectl("create", "token", "default").strip()
    config = json.loads(line.kubectl("config", "view", "--raw", "-o", "json"))
    server = config["clusters"][0]["cluster"]["server"]
    ca = line.state / "pki" / "ca.crt"
    who = run(
        [
            "curl",
            "-s",
            "--cacert",
            str(ca),
            "-H",
            f"Authorization: Bearer {token}",
            f"{server}/api/v1/namespaces/default/pods",
        ]
    ).stdout
    assert json.loads(who)["reason"] == "Forbidden"
    assert 'User "system:serviceaccount:default:default" cannot list resource "pods"' in json.loads(who)["message"]
    assert ssl.create_default_context(cafile=str(ca)).verify_mode is ssl.CERT_REQUIRED


def test_a_deployment_of_ones_own_is_applied_and_rolled_out(line: Line):
    manifest = json.dumps(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "mine"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "mine"}},
                "template": {
                    "metadata": {"labels": {"app": "mine"}},
                    "spec": {"containers": [{"name": "c", "image": IMAGE, "args": ["web"]}]},
                },
            },
        }
    )
    line.kubectl("apply", "-f", "-", stdin=manifest)
    line.kubectl("rollout", "status", "deployment/mine", "--timeout=60s")
    eventually(lambda: "web listens on 8080" in line.kubectl("logs", "deploy/mine"), what="the first log line")
    line.kubectl("scale", "deployment/mine", "--replicas=2")
    line.kubectl("rollout", "status", "deployment/mine", "--timeout=60s")
    line.kubectl("set", "env", "deployment/mine", "A=b")
    line.kubectl("rollout", "status", "deployment/mine", "--timeout=60s")
    line.kubectl("rollout", "undo", "deployment/mine")
    line.kubectl("rollout", "status", "deployment/mine", "--timeout=60s")
    line.kubectl("delete", "deployment/mine", "--timeout=60s")
    eventually(lambda: "mine-" not in line.kubectl("get", "pods"), within_s=60, what="its pods to go")


def is_ready(pod: dict) -> bool:
    conditions = {found["type"]: found["status"] for found in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True"


def version_of(line: Line) -> set[str]:
    """The versions that web runs, once exactly two pods are left and ready."""
    pods = line.get("pods", "-l", "app=web")["items"]
    if len(pods) != 2 or not all(is_ready(pod) for pod in pods):
        return set()
    return {env["value"] for pod in pods for env in pod["spec"]["containers"][0]["env"] if env["name"] == "VERSION"}


def test_a_commit_deploys_and_a_revert_rolls_back(line: Line):
    changed = line.commit("Ship version 2", lambda text: text.replace('VERSION, value: "1"', 'VERSION, value: "2"'))
    eventually(lambda: version_of(line) == {"2"}, within_s=60, what="version 2 in both pods")
    git(line.repository, "revert", "--no-edit", "HEAD")
    reverted = git(line.repository, "rev-parse", "HEAD")
    eventually(lambda: version_of(line) == {"1"}, within_s=60, what="version 1 in both pods")

    def recorded() -> bool:
        history = line.reconciler("history").stdout
        return all(word in history for word in (changed[:8], reverted[:8], "Ship version 2", 'Revert "Ship version 2"'))

    eventually(recorded, within_s=30, what="both commits in the history")


def test_what_the_commit_no_longer_has_is_pruned(line: Line):
    (line.repository / "extra.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n"
    )
    git(line.repository, "add", "-A")
    git(line.repository, "commit", "-qm", "Add extra")
    eventually(lambda: "extra" in line.kubectl("get", "configmaps"), what="extra to appear")
    git(line.repository, "rm", "-q", "extra.yaml")
    git(line.repository, "commit", "-qm", "Remove extra")
    eventually(lambda: "extra" not in line.kubectl("get", "configmaps"), what="extra to go")


def test_a_wrong_manifest_is_reported_with_its_line_and_stops_nothing_else(line: Line):
    (line.repository / "bad.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: good\n---\napiVersion: v1\nkind: ConfigMap\n"
        "metadata:\n  name: bad\n  name: twice\n"
    )
    git(line.repository, "add", "-A")
    git(line.repository, "commit", "-qm", "Break something")
    eventually(lambda: "bad.yaml:10" in line.reconciler("status", check=False).stdout, what="the error's file and line")
    git(line.repository, "revert", "--no-edit", "HEAD")
    eventually(lambda: "bad.yaml" not in line.reconciler("status", check=False).stdout, what="the error to go")


def test_a_container_that_dies_is_restarted(line: Line):
    container = next(iter(line.containers("label=io.kubernetes.container.name=visits")), None) or next(
        id_ for id_, name in line.containers().items() if "visits" in name
    )
    run(["docker", "kill", container])
    eventually(
        lambda: any(
            status["restartCount"] >= 1 and status["ready"]
            for pod in line.get("pods", "-l", "app=visits")["items"]
            for status in pod["status"].get("containerStatuses", [])
        ),
        within_s=60,
        what="visits restarted and ready",
    )


def test_kill_nine_and_a_restart_touch_no_container(line: Line):
    before = line.containers()
    os.kill(line.answer["pid"], signal.SIGKILL)
    assert fetch(line.answer["url"] + "healthz") == "ok", "rules and containers outlive the daemon"
    old = line.answer["pid"]
    assert line.up()["pid"] != old
    assert {id_ for id_, name in before.items() if "pool" not in name} <= set(line.containers())
    assert subprocess.run(["docker", "ps", "-q"], capture_output=True).returncode == 0
