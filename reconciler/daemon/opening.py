"""From a Repository to its source: the address checked, Git prepared."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cluster.client.transport import Transport
from cluster.machinery.objects import Key, Obj, field_of
from reconciler.config import Settings
from reconciler.content import Source
from reconciler.daemon.credentials import SecretCredentials, credentials_directory, forget_credentials
from reconciler.daemon.spec import seconds_of
from reconciler.errors import source_error
from reconciler.source.address import checked_commit, checked_directory, checked_ref, checked_url
from reconciler.source.command import CredentialsOf, Git, no_credentials
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
            credentials=self._credentials(key, spec),
            timeout_s=seconds_of(str(spec.get("timeout", "60s"))),
        )
        return Opened(remote, seconds_of(str(spec.get("interval", "30s"))))

    def _credentials(self, key: Key, spec: Obj) -> CredentialsOf:
        directory = credentials_directory(self._settings.state_dir, key)
        name = str(field_of(spec, "secretRef", "name", default=""))
        if not name:
            forget_credentials(directory)
            return no_credentials
        return SecretCredentials(self._transport, Key(key.namespace, name), directory=directory, url=str(spec["url"]))
