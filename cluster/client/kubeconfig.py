"""Kubeconfig files: read the access a context gives, write the one we hand out.

Only what needs no other program is understood: certificates, tokens and their files.  `exec` and `auth-provider` entries run
commands a file names, so they are refused with a hint.  Upstream: client-go/tools/clientcmd.
"""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

KUBECONFIG_SIZE_MAX_BYTES = 4 * 1024 * 1024


class KubeconfigError(ValueError):
    """The file cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """How to reach one API server as one user; certificates and keys are PEM."""

    host: str
    port: int
    server_name: str = ""
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    namespace: str = "default"
    insecure: bool = False

    def tls_context(self) -> ssl.SSLContext:
        """A context that verifies the server against `ca` and presents the client certificate, if any."""
        context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
        context.set_alpn_protocols(["http/1.1"])
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        self.present_to(context)
        return context

    def present_to(self, context: ssl.SSLContext) -> None:
        """Make `context` present the client certificate, if any, in the handshakes that follow."""
        if self.certificate:
            # The ssl module reads certificates from files only; this one is gone before anyone else could open it.
            with tempfile.NamedTemporaryFile(prefix="kube-", dir=_private_directory()) as file:
                file.write(self.certificate + b"\n" + self.key)
                file.flush()
                context.load_cert_chain(file.name)


def load_kubeconfig(path: Path | None = None, *, context: str = "") -> ClusterAccess:
    """The access that `context` (default: the current one) of a file gives.

    Without a path: the first file of $KUBECONFIG, else ~/.kube/config.  Raises KubeconfigError.
    """
    if path is None:
        named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
        path = Path(named) if named else Path.home() / ".kube" / "config"
    try:
        with path.open("rb") as file:
            text = file.read(KUBECONFIG_SIZE_MAX_BYTES)
        document = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeconfigError(f"cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(document, Mapping):
        raise KubeconfigError(f"{path} is not a kubeconfig")
    chosen = context or str(document.get("current-context") or "")
    if not chosen:
        raise KubeconfigError(f"{path} names no current-context; choose one of its contexts")
    entry = _named(document, "contexts", "context", chosen, path)
    cluster = _named(document, "clusters", "cluster", str(entry.get("cluster", "")), path)
    user = _named(document, "users", "user", str(entry.get("user", "")), path) if entry.get("user") else {}
    for refused in ("exec", "auth-provider"):
        if refused in user:
            raise KubeconfigError(
                f"{path}: user {entry['user']!r} logs in with {refused!r}, which runs other programs; "
                "use a certificate or a token"
            )
    server = urlsplit(str(cluster.get("server", "")))
    if server.scheme != "https" or not server.hostname:
        raise KubeconfigError(f"{path}: cluster {entry.get('cluster')!r} has no https server")
    return ClusterAccess(
        host=server.hostname,
        port=server.port or 443,
        server_name=str(cluster.get("tls-server-name") or ""),
        ca=_data(cluster, "certificate-authority", path),
        certificate=_data(user, "client-certificate", path),
        key=_data(user, "client-key", path),
        token=_token(user, path),
        namespace=str(entry.get("namespace") or "default"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )


def kubeconfig_of(access: ClusterAccess, *, name: str) -> bytes:
    """A kubeconfig file with one context, everything embedded, ready for kubectl."""
    cluster: dict[str, Any] = {"server": f"https://{_bracketed(access.host)}:{access.port}"}
    if access.ca:
        cluster["certificate-authority-data"] = base64.b64encode(access.ca).decode()
    user: dict[str, Any] = {}
    if access.certificate:
        user["client-certificate-data"] = base64.b64encode(access.certificate).decode()
        user["client-key-data"] = base64.b64encode(access.key).decode()
    if access.token:
        user["token"] = access.token
    context = {"cluster": name, "user": name, "namespace": access.namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _named(document: Mapping[str, Any], section: str, field_name: str, name: str, path: Path) -> Mapping[str, Any]:
    entries: Sequence[Any] = document.get(section) or ()
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("name") == name:
            found: Mapping[str, Any] = entry.get(field_name) or {}
            return found
    raise KubeconfigError(f"{path} has no {field_name} named {name!r}")


def _data(entry: Mapping[str, Any], name: str, path: Path) -> bytes:
    """The PEM under NAME-data, or in the file that NAME gives, relative to the kubeconfig."""
    if encoded := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(str(encoded), validate=True)
        except binascii.Error as error:
            raise KubeconfigError(f"{path}: {name}-data is not valid base64") from error
    if file := entry.get(name):
        try:
            return (path.parent / str(file)).read_bytes()
        except OSError as error:
            raise KubeconfigError(f"{path}: cannot read {name} {file}: {error.strerror}") from error
    return b""


def _token(user: Mapping[str, Any], path: Path) -> str:
    if file := user.get("tokenFile"):
        try:
            return (path.parent / str(file)).read_text().strip()
        except OSError as error:
            raise KubeconfigError(f"{path}: cannot read tokenFile {file}: {error.strerror}") from error
    return str(user.get("token") or "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _private_directory() -> str | None:
    """A memory-backed directory, where the machine has one: keys then never reach a disk."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
