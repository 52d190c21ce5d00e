"""Server and agent as two processes: what works through both, and what goes on without one of them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.roles.conftest import NOBODY, PYTHON, Roles, eventually

pytestmark = pytest.mark.needs("docker", "root", "kubectl", "nft", "ip")

BY_NAME = """
import urllib.request
print(urllib.request.urlopen("http://web.default.svc.cluster.local/", timeout=5).read().decode())
"""


def greeting(url: str) -> str:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=3) as answer:
        return answer.read().decode()
    return ""


def node_port(roles: Roles) -> str:
    return f"http://127.0.0.1:{roles.get('service', 'web')['spec']['ports'][0]['nodePort']}/"


def goes_on(roles: Roles, url: str) -> None:
    """Nobody deciding: containers are restarted, probes asked, names and Services answered."""
    for hurt in ("dead", "sick"):
        before = roles.containers()
        if hurt == "dead":
            subprocess.run(["docker", "kill", before[0]], check=True, capture_output=True)
        else:
            roles.inside(before[0], "open('/tmp/sick', 'w')")
        after = eventually(
            lambda before=before: len(now := roles.containers()) == 2 and now != before and now,
            within_s=90,  # Hurt often, it is restarted with back-off.
            what=f"a {hurt} container is replaced",
        )
        assert len({*before} & {*after}) == 1
    eventually(lambda: greeting(url).startswith("Hello from web-"), what="the node port answers")
    for container in roles.containers():
        # A container that just began is behind the Service before it listens: nobody decides on its readiness now.
        eventually(
            lambda container=container: "Hello from web-" in roles.inside(container, BY_NAME, check=False),
            what="a Service answers a pod under its name",
        )


@pytest.fixture
def unhurt(roles: Roles) -> Iterator[None]:
    """Both processes run and everything is ready, before and after."""
    eventually(roles.settled, within_s=60, what="all is ready again")
    yield
    for role in ("server", "agent"):
        if roles.processes[role].poll() is not None:
            roles.start(role)
    eventually(roles.settled, within_s=60, what="all is ready again")


def test_the_server_is_not_root_and_has_no_rights(roles: Roles) -> None:
    status = Path(f"/proc/{roles.processes['server'].pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {*fields["Uid"].split()} == {NOBODY}
    assert int(fields["CapEff"], 16) == 0


def test_what_is_handed_over_is_for_one_node_and_not_for_the_world(roles: Roles) -> None:
    assert roles.handed_over.stat().st_mode & 0o777 == 0o640
    assert roles.handed_over.parent.stat().st_mode & 0o007 == 0
    own = roles.get("nodes")["items"][0]["metadata"]["name"]
    assert own in roles.kubectl("get", "node", own, kubeconfig=roles.handed_over)
    for words in (["get", "secrets", "-A"], ["delete", "deployment", "web"], ["exec", "deploy/web", "--", "x"]):
        assert "Forbidden" in roles.kubectl(*words, kubeconfig=roles.handed_over, check=False)


def test_logs_exec_and_port_forward_reach_the_node(roles: Roles) -> None:
    assert "web listens on 8080" in roles.kubectl("logs", "deploy/web")
    shout = "import sys; print(sys.stdin.read().upper())"
    assert "TYPED" in roles.kubectl("exec", "-i", "deploy/web", "--", PYTHON, "-c", shout, stdin="typed")
    much = "import sys; sys.stdout.write('x' * 5_000_000)"
    assert len(roles.kubectl("exec", "deploy/web", "--", PYTHON, "-c", much)) == 5_000_000
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["kubectl", "--kubeconfig", str(roles.server_state / "kubeconfig"), "port-forward", "deploy/web"]
    forwarding = subprocess.Popen([*words, f"{port}:8080"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/"
        assert eventually(lambda: greeting(url), within_s=10, what="the port answers").startswith("Hello from web-")
    finally:
        forwarding.kill()
        forwarding.wait()


def test_pods_reach_the_api_under_its_name(roles: Roles) -> None:
    code = """
        import ssl, urllib.request
        ca = ssl.create_default_context(cafile="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
        print(urllib.request.urlopen("https://kubernetes.default/version", context=ca, timeout=5).status)
    """
    assert roles.inside(roles.containers()[0], code).strip() == "200"


@pytest.mark.usefixtures("unhurt")
def test_a_killed_server_stops_nothing_on_the_node(roles: Roles) -> None:
    url = node_port(roles)
    roles.kill("server")
    goes_on(roles, url)
    before = roles.containers()
    roles.start("server")
    eventually(roles.settled, within_s=60, what="the server knows how everything is")
    assert roles.containers() == before
    eventually(
        lambda: "web listens on 8080" in roles.kubectl("logs", "deploy/web", check=False), what="the node is reached"
    )


@pytest.mark.usefixtures("unhurt")
def test_a_killed_agent_adopts_what_runs(roles: Roles) -> None:
    before = roles.containers()
    roles.kill("agent")
    assert "is connected" in eventually(
        lambda: (said := roles.kubectl("logs", "deploy/web", check=False)) and "503" not in said and said,
        what="logs of a node without its agent are refused",
    )
    roles.start("agent")
    eventually(
        lambda: "web listens on 8080" in roles.kubectl("logs", "deploy/web", check=False), what="the node is reached"
    )
    eventually(roles.settled, within_s=60, what="all is ready")
    assert roles.containers() == before


@pytest.mark.usefixtures("unhurt")
def test_an_agent_starts_from_what_it_knew_while_the_server_is_away(roles: Roles) -> None:
    url = node_port(roles)
    kept = roles.agent_state / "kept" / "services.json"
    eventually(kept.exists, what="the agent's state is kept")
    assert kept.stat().st_mode & 0o777 == 0o600
    roles.kill("server")
    roles.kill("agent")
    before = roles.containers()
    roles.start("agent")
    eventually(
        lambda: "going on with what is known" in roles.log("agent").read_text(), what="the agent goes on by itself"
    )
    assert roles.containers() == before
    goes_on(roles, url)
    before = roles.containers()
    roles.start("server")
    eventually(roles.settled, within_s=60, what="the server knows how everything is")
    assert roles.containers() == before
