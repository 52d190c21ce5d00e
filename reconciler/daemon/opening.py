"""From a Repository to its source: the address checked, the credentials fetched, Git prepared."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from cluster.base.files import write_atomically
from cluster.client.transport import Transport
from cluster.machinery.errors import NotFound
from cluster.machinery.objects import Key, Obj, field_of
from cluster.resources.builtin import SECRETS
from reconciler.config import Settings
from reconciler.content import Source
from reconciler.daemon.spec import seconds_of
from reconciler.errors import source_error
from reconciler.source.address import checked_commit, checked_directory, checked_ref, checked_url
from reconciler.source.command import Credentials, Git
from reconciler.source.folder import Folder
from reconciler.source.git import GitRef, LocalRepository, RemoteRepository


class Opened(NamedTuple):
    """A source, and how often a remote is asked (0: it is local)."""

    source: Source
    interval_s: float = 0


class SourceOpener(Protocol):
    """Implementations: `HostSources` here, and the simulated world's repositories in memory."""

    async def open(self, key: Key, repository: Obj) -> Opened:
        """The source that a Repository names.  Raises StageError."""
        ...


class HostSources:
    """Git and folders as this host has and reaches them."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._settings = settings
        self._git: Git | None = None

    async def open(self, key: Key, repository: Obj) -> Opened:
        spec = repository.get("spec") or {}
        named = [field for field in ("url", "path", "folder") if spec.get(field)]
        if len(named) != 1:
            raise source_error("exactly one of url, path and folder must be set")
        ref = GitRef(
            branch=checked_ref(name) if (name := str(field_of(spec, "ref", "branch", default=""))) else "",
            tag=checked_ref(name) if (name := str(field_of(spec, "ref", "tag", default=""))) else "",
            commit=checked_commit(name) if (name := str(field_of(spec, "ref", "commit", default=""))) else "",
        )
        roots = self._settings.source_roots
        if named == ["folder"]:
            return Opened(Folder(checked_directory(str(spec["folder"]), roots)))
        if self._git is None:
            self._git = Git.prepare(self._settings.state_dir / "git-home")
        if named == ["path"]:
            return Opened(LocalRepository(self._git, checked_directory(str(spec["path"]), roots), ref))
        remote = RemoteRepository(
            self._git,
            checked_url(str(spec["url"])),
            ref,
            cache=self._settings.state_dir / "mirrors" / key.namespace,
            credentials=await self._credentials(key, spec),
            timeout_s=seconds_of(str(spec.get("timeout", "60s"))),
        )
        return Opened(remote, seconds_of(str(spec.get("interval", "30s"))))

    async def _credentials(self, key: Key, spec: Obj) -> Credentials:
        """The named Secret's contents as private files; they never become arguments or part of an address."""
        name = str(field_of(spec, "secretRef", "name", default=""))
        if not name:
            return Credentials()
        try:
            secret = await self._transport.get(SECRETS, Key(key.namespace, name))
        except NotFound as error:
            raise source_error(f"secretRef names {name!r}, which does not exist", retryable=True) from error
        data = {field: base64.b64decode(text) for field, text in (secret.get("data") or {}).items()}
        directory = self._settings.state_dir / "credentials" / f"{key.namespace}.{key.name}"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _credential_files(directory, str(spec["url"]), data)


def _credential_files(directory: Path, url: str, data: dict[str, bytes]) -> Credentials:
    store = identity = known_hosts = None
    if "password" in data or "token" in data:
        if not url.startswith("https://"):
            raise source_error("a password in secretRef is of use for https:// only")
        store = directory / "store"
        write_atomically(store, _store_line(url, data))
    if "identity" in data:
        identity, known_hosts = directory / "identity", directory / "known_hosts"
        if "known_hosts" not in data:
            raise source_error("the Secret has an identity and no known_hosts: the host's key must be pinned")
        write_atomically(identity, data["identity"].rstrip(b"\n") + b"\n")
        write_atomically(known_hosts, data["known_hosts"].rstrip(b"\n") + b"\n")
    return Credentials(store, identity, known_hosts)


def _store_line(url: str, data: dict[str, bytes]) -> bytes:
    """git-credential-store's format: percent-encoded, one line."""
    user = quote(data.get("username", b"git").decode("utf-8", "replace").strip(), safe="")
    secret = quote((data.get("password") or data.get("token") or b"").decode("utf-8", "replace").strip(), safe="")
    return f"https://{user}:{secret}@{urlsplit(url).netloc}\n".encode()
