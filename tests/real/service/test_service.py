"""Both services under a systemd that booted: started, watched, killed, asked for their log, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.real.service.booted import RECONCILER, Host, booted_host, until

SERVER, AGENT = "reconciler-server.service", "reconciler-agent.service"
KUBECONFIG = "/var/lib/reconciler/kubeconfig"
SOURCE = "/root/deploy"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "examples.local/web:1"}]
"""

pytestmark = pytest.mark.needs("docker", "root", "debootstrap", "git", "kubectl")


@pytest.fixture(scope="module")
def machine() -> Iterator[Host]:
    with booted_host() as host:
        yield host


@pytest.fixture(scope="module")
def host(machine: Host) -> Host:
    """With both services installed, on a source in root's home."""
    machine.write(f"{SOURCE}/apps/web.yaml", WEB)
    machine.reconciler("service", "install", "--source", SOURCE, "--runtime", "simulated")
    # systemd was told that they are ready, or `install` would still wait: nothing is polled here.
    assert kubectl(machine, "get", "--raw", "/readyz") == "ok"
    until(lambda: "Succeeded" in machine.reconciler("logs"), "the source is deployed")
    until(
        lambda: kubectl(machine, "get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running", "the pod runs"
    )
    return machine


def kubectl(host: Host, *words: str) -> str:
    return host.run("kubectl", f"--kubeconfig={KUBECONFIG}", *words)


def containers(host: Host) -> str:
    return kubectl(host, "get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}")


def test_the_server_is_an_unprivileged_user_and_the_agent_has_what_a_node_needs(host: Host) -> None:
    server = host.run("cat", f"/proc/{host.pid(SERVER)}/status")
    agent = host.run("cat", f"/proc/{host.pid(AGENT)}/status")
    uid = host.run("id", "-u", "reconciler").strip()
    assert uid != "0" and f"Uid:\t{uid}\t{uid}" in server
    assert all(f"{kind}:\t{0:016x}" in server for kind in ("CapEff", "CapPrm", "CapBnd"))
    assert "NoNewPrivs:\t1" in server and "NoNewPrivs:\t1" in agent
    assert f"CapBnd:\t{0:016x}" not in agent and f"CapBnd:\t{(1 << 41) - 1:016x}" not in agent


def test_root_needs_to_name_no_kubeconfig(host: Host) -> None:
    assert "bootstrap" in host.run("env", "-u", "KUBECONFIG", "HOME=/root", *RECONCILER, "status")


def test_installing_again_changes_nothing(host: Host) -> None:
    before = host.pid(SERVER), host.pid(AGENT)
    host.reconciler("service", "install")
    assert (host.pid(SERVER), host.pid(AGENT)) == before


def test_a_new_setting_restarts_the_service_that_has_it_and_no_other(host: Host) -> None:
    server, agent, running = host.pid(SERVER), host.pid(AGENT), containers(host)
    host.reconciler("service", "install", "--path", "apps")
    assert host.pid(SERVER) != server and host.pid(AGENT) == agent
    assert "--path=apps" in host.run("cat", f"/proc/{host.pid(SERVER)}/cmdline")
    assert containers(host) == running


def test_the_reconciliation_log_comes_from_the_journal_with_its_fields(host: Host) -> None:
    lines = host.reconciler("logs", "--json", "--object", "deployment/default/web").splitlines()
    first = json.loads(lines[0])
    assert (first["message"], first["action"], first["app"]) == (
        "object applied",
        "Create",
        "reconciler-system/bootstrap",
    )
    match = f"RECONCILER_REVISION={first['revision']}"
    entries = host.journal("-o", "json", match, "RECONCILER_ACTION=Create").splitlines()
    entry = json.loads(entries[0])
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"]) == ("6", "reconciler")
    assert entry["RECONCILER_OBJECT"] == "Deployment.apps default/web"
    assert first["revision"] in host.reconciler("logs", "--commit", first["revision"], "--app", "bootstrap", "-n", "1")
    assert host.reconciler("logs", "--commit", "ffffffff") == ""


def test_nobody_else_can_write_into_the_reconciliation_log(host: Host) -> None:
    host.run(
        "sh",
        "-c",
        "printf 'RECONCILER_PART=reconciler\nMESSAGE=forged\nRECONCILER_MESSAGE=forged\n' | logger --journald",
    )
    until(lambda: "forged" in host.journal("RECONCILER_MESSAGE=forged"), "the entry is in the journal")
    assert "forged" not in host.reconciler("logs", "-n", "1000")


def test_a_killed_server_comes_back_and_the_agent_goes_on(host: Host) -> None:
    server, agent, running = host.pid(SERVER), host.pid(AGENT), containers(host)
    host.kill(server, "KILL")
    until(lambda: host.shown(SERVER, "ActiveState") == "active" and host.pid(SERVER) not in (0, server), "it is back")
    assert host.pid(AGENT) == agent
    assert kubectl(host, "get", "--raw", "/readyz") == "ok"
    assert containers(host) == running


def test_a_killed_agent_comes_back_and_the_server_goes_on(host: Host) -> None:
    server, agent = host.pid(SERVER), host.pid(AGENT)
    host.kill(agent, "KILL")
    assert kubectl(host, "get", "--raw", "/readyz") == "ok"
    until(lambda: host.shown(AGENT, "ActiveState") == "active" and host.pid(AGENT) not in (0, agent), "it is back")
    assert host.pid(SERVER) == server


def test_a_server_that_hangs_is_killed_by_its_watchdog_and_started_again(host: Host) -> None:
    drop_in = f"/etc/systemd/system/{SERVER}.d/watchdog.conf"
    host.write(drop_in, "[Service]\nWatchdogSec=1\n")
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", SERVER)
    server = host.pid(SERVER)
    # Fed three times a second, it lives on while it works.
    until(lambda: int(host.shown(SERVER, "ActiveEnterTimestampMonotonic")) + 2e6 < uptime_us(host), "two periods pass")
    assert host.pid(SERVER) == server
    host.kill(server, "STOP")
    until(lambda: host.shown(SERVER, "ActiveState") == "active" and host.pid(SERVER) not in (0, server), "it is back")
    assert "Watchdog timeout" in host.journal("-u", SERVER)
    host.run("rm", "-r", drop_in.rpartition("/")[0])
    host.run("systemctl", "daemon-reload")
    host.run("systemctl", "restart", SERVER)


def uptime_us(host: Host) -> float:
    return float(host.run("cat", "/proc/uptime").split()[0]) * 1e6


def test_a_backup_of_the_server_brings_back_what_git_does_not_hold(host: Host) -> None:
    """The steps of docs/operations.md, section Backup."""
    kubectl(host, "create", "configmap", "kept", "--from-literal=a=1")
    host.run("systemctl", "stop", SERVER)
    archive = ("tar", "-C", "/var/lib", "--exclude=reconciler/gitops", "--exclude=*.ballast")
    host.run(*archive, "-czf", "/root/backup.tar.gz", "reconciler")
    host.run("systemctl", "start", SERVER)
    kubectl(host, "delete", "configmap", "kept")
    kubectl(host, "create", "configmap", "later", "--from-literal=a=1")
    host.run("systemctl", "stop", SERVER)
    host.run("mv", "/var/lib/reconciler", "/var/lib/reconciler.old")
    host.run("tar", "-C", "/var/lib", "-xzf", "/root/backup.tar.gz")
    host.run("systemctl", "start", SERVER)
    host.run("systemctl", "restart", AGENT)
    names = kubectl(host, "get", "configmaps", "-o", "name").split()
    assert "configmap/kept" in names and "configmap/later" not in names
    kubectl(host, "scale", "deployment/web", "--replicas=2")
    until(
        lambda: kubectl(host, "get", "pods", "-o", "jsonpath={.items[*].status.phase}") == "Running Running",
        "the node serves the restored cluster",
    )


def test_settings_that_cannot_work_are_said_once_and_not_tried_for_ever(host: Host) -> None:
    said = host.reconciler("service", "install", "--role", "server", "--runtime", "docker", code=3)
    assert "journalctl -u" in said
    assert (host.shown(SERVER, "ActiveState"), host.shown(SERVER, "ExecMainStatus")) == ("failed", "2")
    assert "failed" in host.reconciler("service", "status", code=1)
    host.reconciler("service", "install", "--role", "server", "--runtime", "simulated")


def test_removing_leaves_the_state_and_purging_nothing(host: Host) -> None:
    host.reconciler("service", "uninstall")
    assert host.run("systemctl", "is-active", SERVER, AGENT, code=None).split() == ["inactive", "inactive"]
    left = host.run("sh", "-c", "ls /etc/systemd/system /etc/sysusers.d /etc/tmpfiles.d /var/lib")
    assert "reconciler-server.service" not in left and "reconciler.conf" not in left
    assert {"reconciler", "reconciler-agent"} <= set(left.split())
    host.reconciler("service", "uninstall", "--purge")
    assert "reconciler" not in host.run("ls", "/var/lib").split() and "reconciler" not in host.run("ls", "/etc").split()
