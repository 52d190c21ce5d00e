"""Repositories behind HTTPS and ssh, as teams have them: credentials from a Secret, polled, kept through bad news."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from cluster.machinery.objects import Key
from cluster.resources.builtin import CONFIG_MAPS, SECRETS
from reconciler.config import SYSTEM_NAMESPACE
from reconciler.crds.application import APPLICATIONS
from reconciler.crds.repository import REPOSITORIES
from tests.real.gitops.git_hosts import HttpsHost, SshHost, other_host_key
from tests.real.gitops.repository import Repository
from tests.real.gitops.world import World, config_map

pytestmark = pytest.mark.needs("git")

PASSWORD = "correct-horse/battery:staple"


class Remote:
    """An Application `far` of a Repository behind a URL, beside the bootstrap application."""

    def __init__(self, world: World, log: list[str]) -> None:
        self.world = world
        self.log = log

    async def start(self, url: str, secret: dict[str, str | bytes]) -> None:
        self.world.repository.commit("nothing", {"README.md": "empty\n"})
        self.secret(secret)
        self.world.start()
        await self.world.until(lambda: self.world.status().get("lastAttempted"))
        meta = {"namespace": SYSTEM_NAMESPACE, "name": "far"}
        source = {"url": url, "interval": "200ms", "timeout": "20s", "secretRef": {"name": "access"}}
        self.world.api.put(
            REPOSITORIES,
            {"apiVersion": REPOSITORIES.api_version, "kind": "Repository", "metadata": meta, "spec": source},
        )
        spec = {"repositoryRef": {"name": "far"}, "targetNamespace": "default", "serviceAccountName": "deployer"}
        self.world.api.put(
            APPLICATIONS,
            {"apiVersion": APPLICATIONS.api_version, "kind": "Application", "metadata": meta, "spec": spec},
        )

    def secret(self, data: dict[str, str | bytes]) -> None:
        encoded = {
            name: base64.b64encode(text.encode() if isinstance(text, str) else text).decode()
            for name, text in data.items()
        }
        meta = {"namespace": SYSTEM_NAMESPACE, "name": "access"}
        self.world.api.put(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": encoded})

    def synced(self, commit: str) -> bool:
        status = self.world.status("far")
        return status.get("revision") == commit and status.get("sync") == "Synced"

    @property
    def ready(self) -> dict[str, str]:
        found = self.world.api.get(REPOSITORIES, Key(SYSTEM_NAMESPACE, "far")) or {}
        conditions = (found.get("status") or {}).get("conditions") or ()
        return next((dict(each) for each in conditions if each["type"] == "Ready"), {})

    async def until_unreadable(self, why: str) -> None:
        await self.world.until(lambda: self.ready.get("status") == "False" and why in self.ready["message"])

    def never_said(self, text: str) -> bool:
        told = str([self.world.api.list(REPOSITORIES), self.world.api.list(APPLICATIONS), self.world.runs()])
        return text not in told and not any(text in line for line in (*self.log, str(self.world.events.said)))


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(f"{message} {message.record['extra']}"), level=0)
    yield lines
    logger.remove(sink)


@pytest.fixture
def remote(world: World, log: list[str]) -> Remote:
    return Remote(world, log)


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "host" / "team.git")


@pytest.fixture
def https(tmp_path: Path, origin: Repository) -> Iterator[HttpsHost]:
    host = HttpsHost(tmp_path / "host", user="ada", password=PASSWORD)
    host.start()
    yield host
    host.stop()


def access(host: HttpsHost, password: str = PASSWORD) -> dict[str, str | bytes]:
    return {"username": "ada", "password": password, "ca.crt": host.authority.certificate}


async def test_https_with_an_own_authority_and_basic_auth_is_polled_and_fetched_only_when_it_moved(
    remote: Remote, origin: Repository, https: HttpsHost
) -> None:
    first = origin.commit("one", {"a.yaml": config_map("a")})
    await remote.start(https.url("team.git"), access(https))
    await remote.world.until(lambda: remote.synced(first))
    fetches, asked = https.fetches, https.asked
    await remote.world.until(lambda: https.asked > asked + 3)
    assert https.fetches == fetches
    second = origin.commit("two", {"a.yaml": config_map("a", "2")})
    await remote.world.until(lambda: remote.synced(second))
    assert remote.world.value("a") == "2"
    assert https.fetches == fetches + 1
    assert remote.never_said(PASSWORD)


async def test_a_wrong_password_is_reported_and_a_changed_secret_is_used_at_once(
    remote: Remote, origin: Repository, https: HttpsHost, tmp_path: Path
) -> None:
    commit = origin.commit("one", {"a.yaml": config_map("a")})
    await remote.start(https.url("team.git"), access(https, "wrong-password"))
    await remote.until_unreadable("Authentication failed")
    assert "Authentication failed" in str(remote.world.status("far").get("conditions"))
    remote.secret(access(https))
    await remote.world.until(lambda: remote.synced(commit))
    assert remote.never_said("wrong-password")
    assert remote.never_said(PASSWORD)
    remote.world.api.drop(REPOSITORIES, Key(SYSTEM_NAMESPACE, "far"))
    await remote.world.until(lambda: not (tmp_path / "state" / "credentials" / f"{SYSTEM_NAMESPACE}.far").exists())


async def test_an_authority_that_nobody_named_is_not_trusted(
    remote: Remote, origin: Repository, https: HttpsHost
) -> None:
    origin.commit("one", {"a.yaml": config_map("a")})
    await remote.start(https.url("team.git"), {"username": "ada", "password": PASSWORD})
    await remote.until_unreadable("certificate")
    assert https.asked == 0


async def test_a_forced_push_is_followed_and_deletes_nothing(
    remote: Remote, origin: Repository, https: HttpsHost
) -> None:
    origin.commit("base", {"README.md": "team\n"})
    first = origin.commit("one", {"a.yaml": config_map("a"), "b.yaml": config_map("b")})
    await remote.start(https.url("team.git"), access(https))
    await remote.world.until(lambda: remote.synced(first))
    origin.git("reset", "-q", "--hard", "HEAD~1")
    other = origin.commit("other", {"a.yaml": config_map("a", "2")})
    await remote.world.until(lambda: remote.world.status("far").get("lastAttempted") == other)
    await remote.world.until(lambda: "history was rewritten" in str(remote.world.status("far")["conditions"]))
    assert (remote.world.value("a"), remote.world.value("b")) == ("2", "1")


async def test_a_deleted_branch_keeps_what_runs(remote: Remote, origin: Repository, https: HttpsHost) -> None:
    first = origin.commit("one", {"a.yaml": config_map("a")})
    await remote.start(https.url("team.git"), access(https))
    await remote.world.until(lambda: remote.synced(first))
    origin.git("checkout", "-q", "--detach")
    origin.git("symbolic-ref", "HEAD", "refs/heads/gone")
    origin.git("branch", "-D", "main")
    await remote.until_unreadable("the remote has no HEAD")
    assert remote.world.value("a") == "1"
    assert remote.synced(first)


async def test_a_host_that_is_away_is_said_once_and_caught_up_with(
    remote: Remote, origin: Repository, https: HttpsHost
) -> None:
    first = origin.commit("one", {"a.yaml": config_map("a")})
    await remote.start(https.url("team.git"), access(https))
    await remote.world.until(lambda: remote.synced(first))
    https.stop()
    second = origin.commit("two", {"a.yaml": config_map("a", "2")})
    await remote.until_unreadable("Failed to connect")
    live = remote.world.api.find("ConfigMap", "a")
    assert live is not None
    # Drift is still undone from the last good revision.
    remote.world.api.put(CONFIG_MAPS, {**live, "data": {"value": "hacked"}})
    await remote.world.until(lambda: remote.world.value("a") == "1")
    https.start()
    await remote.world.until(lambda: remote.synced(second))
    told = [line for line in remote.log if "repository cannot be read" in line]
    assert len(told) == 1
    assert remote.ready["status"] == "True"


@pytest.mark.needs("sshd", "root")
async def test_ssh_with_a_pinned_host_key(remote: Remote, origin: Repository, tmp_path: Path) -> None:
    host = SshHost(tmp_path / "ssh")
    first = origin.commit("one", {"a.yaml": config_map("a")})
    secret: dict[str, str | bytes] = {"identity": host.identity.read_bytes(), "known_hosts": host.known_hosts}
    with host.running():
        await remote.start(host.url(origin.path), secret)
        await remote.world.until(lambda: remote.synced(first))
        second = origin.commit("two", {"a.yaml": config_map("a", "2")})
        await remote.world.until(lambda: remote.synced(second))
        # Another key for the same host is somebody else's host.
        remote.secret({**secret, "known_hosts": other_host_key(tmp_path / "other", host.port)})
        await remote.until_unreadable("Host key verification failed")
        assert remote.synced(second)
    key = host.identity.read_text().splitlines()[1]
    assert remote.never_said(key)


@pytest.mark.needs("sshd", "root")
async def test_ssh_without_a_pinned_host_key_is_refused(remote: Remote, origin: Repository, tmp_path: Path) -> None:
    host = SshHost(tmp_path / "ssh")
    origin.commit("one", {"a.yaml": config_map("a")})
    with host.running():
        await remote.start(host.url(origin.path), {"identity": host.identity.read_bytes()})
        await remote.until_unreadable("must be pinned")
        remote.secret({"identity": host.identity.read_bytes(), "known_hosts": "\n"})
        await remote.until_unreadable("Host key verification failed")
