"""What a Repository's Secret says, as private files for git: asked for at each use, so that a changed Secret is used at once.

Values become files of mode 0600, never arguments, parts of an address or log lines.
"""

from __future__ import annotations

import base64
import binascii
import shutil
from pathlib import Path
from urllib.parse import quote, urlsplit

from cluster.base.files import write_atomically
from cluster.client.transport import Transport
from cluster.machinery.errors import ApiError, NotFound
from cluster.machinery.objects import Key, Obj, resource_version_of, uid_of
from cluster.resources.builtin import SECRETS
from reconciler.errors import Fault, source_error
from reconciler.source.command import Credentials


def credentials_directory(state_dir: Path, repository: Key) -> Path:
    return state_dir / "credentials" / f"{repository.namespace}.{repository.name}"


def forget_credentials(directory: Path) -> None:
    """The Repository is gone, or names no Secret any more."""
    shutil.rmtree(directory, ignore_errors=True)


class SecretCredentials:
    """Called, it gives the credentials as they are now."""

    def __init__(self, transport: Transport, secret: Key, *, directory: Path, url: str) -> None:
        self._transport = transport
        self._secret = secret
        self._directory = directory
        self._url = url
        self._written: tuple[tuple[str, str], Credentials] | None = None

    async def __call__(self) -> Credentials:
        """Raises StageError, worth a retry: the Secret may be put right."""
        try:
            secret = await self._transport.get(SECRETS, self._secret)
        except NotFound as error:
            message = f"secretRef names {self._secret.name!r}, which does not exist"
            raise source_error(message, retryable=True) from error
        except ApiError as error:
            message = f"the Secret {self._secret.name!r} cannot be read: {error.message}"
            raise source_error(message, fault=Fault.CLUSTER, retryable=True) from error
        version = (uid_of(secret), resource_version_of(secret))
        if self._written is None or self._written[0] != version:
            self._written = (version, self._files(secret))
        return self._written[1]

    def _files(self, secret: Obj) -> Credentials:
        forget_credentials(self._directory)
        self._directory.mkdir(parents=True, mode=0o700)
        try:
            data = {field: base64.b64decode(text) for field, text in (secret.get("data") or {}).items()}
        except binascii.Error as error:
            raise source_error(f"the Secret {self._secret.name!r} is not base64", retryable=True) from error
        files = _contents(self._url, data)
        for name, content in files.items():
            write_atomically(self._directory / name, content)
        place = {name: self._directory / name for name in files}
        return Credentials(
            store=place.get("store"),
            identity=place.get("identity"),
            known_hosts=place.get("known_hosts"),
            authority=place.get("ca.crt"),
        )


def _contents(url: str, data: dict[str, bytes]) -> dict[str, bytes]:
    """The files by name.  Raises StageError for what cannot be used with `url`."""
    files: dict[str, bytes] = {}
    https = url.startswith("https://")
    if "password" in data or "token" in data:
        if not https:
            raise source_error("a password in secretRef is of use for https:// only", retryable=True)
        files["store"] = _store_line(url, data)
    if "ca.crt" in data:
        if not https:
            raise source_error("ca.crt in secretRef is of use for https:// only", retryable=True)
        files["ca.crt"] = data["ca.crt"]
    if "identity" in data:
        if "known_hosts" not in data:
            message = "the Secret has an identity and no known_hosts: the host's key must be pinned"
            raise source_error(message, retryable=True)
        files["identity"] = data["identity"].rstrip(b"\n") + b"\n"
        files["known_hosts"] = data["known_hosts"].rstrip(b"\n") + b"\n"
    if not files:
        message = "the Secret has none of: username and password, token, ca.crt, identity and known_hosts"
        raise source_error(message, retryable=True)
    return files


def _store_line(url: str, data: dict[str, bytes]) -> bytes:
    """git-credential-store's format: percent-encoded, one line."""
    user = quote(data.get("username", b"git").decode("utf-8", "replace").strip(), safe="")
    secret = quote((data.get("password") or data.get("token") or b"").decode("utf-8", "replace").strip(), safe="")
    return f"https://{user}:{secret}@{urlsplit(url).netloc}\n".encode()
