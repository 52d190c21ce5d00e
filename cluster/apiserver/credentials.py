"""The files that make identities: CA, serving certificate, token key, the operator's kubeconfig.

Made at first start, kept 0600, renewed in the last third of their lives or when the names to serve change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.base.files import write_atomically
from cluster.base.pki import (
    KeyPair,
    create_ca,
    create_signing_key,
    issue_client,
    issue_serving,
    names_of,
    needs_renewal,
)
from cluster.client.kubeconfig import ClusterAccess, kubeconfig_of

ADMIN_GROUP = "system:masters"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where they lie, and what in-process components need of them."""

    ca: KeyPair
    ca_file: Path
    serving_certificate_file: Path
    serving_key_file: Path
    token_key: bytes


def ensure_credentials(directory: Path, names: Sequence[str], *, now: datetime) -> Credentials:
    """Read or make them so that the serving certificate covers `names`.  Raises OSError, ValueError for damaged files."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = _read_pair(directory, "ca")
    if ca is None:
        ca = create_ca("reconciler-ca", now=now)
        _write_pair(directory, "ca", ca)
    serving = _read_pair(directory, "apiserver")
    if (
        serving is None
        or needs_renewal(serving.certificate, now=now)
        or not set(names) <= names_of(serving.certificate)
    ):
        serving = issue_serving(ca, "kube-apiserver", names, now=now)
        _write_pair(directory, "apiserver", serving)
    token_key_file = directory / "service-account.key"
    if not token_key_file.exists():
        write_atomically(token_key_file, create_signing_key())
    return Credentials(
        ca=ca,
        ca_file=directory / "ca.crt",
        serving_certificate_file=directory / "apiserver.crt",
        serving_key_file=directory / "apiserver.key",
        token_key=token_key_file.read_bytes(),
    )


def write_admin_kubeconfig(
    path: Path, credentials: Credentials, *, directory: Path, host: str, port: int, name: str, now: datetime
) -> None:
    """A kubeconfig whose user may do everything; rewritten only when the address or the certificate changes."""
    admin = _read_pair(directory, "admin")
    if admin is None or needs_renewal(admin.certificate, now=now):
        admin = issue_client(credentials.ca, "kubernetes-admin", [ADMIN_GROUP], now=now)
        _write_pair(directory, "admin", admin)
    access = ClusterAccess(
        host=host, port=port, ca=credentials.ca.certificate, certificate=admin.certificate, key=admin.key
    )
    text = kubeconfig_of(access, name=name)
    if not path.exists() or path.read_bytes() != text:
        write_atomically(path, text)


def _read_pair(directory: Path, name: str) -> KeyPair | None:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    if not certificate.exists() or not key.exists():
        return None
    return KeyPair(certificate.read_bytes(), key.read_bytes())


def _write_pair(directory: Path, name: str, pair: KeyPair) -> None:
    write_atomically(directory / f"{name}.key", pair.key)
    write_atomically(directory / f"{name}.crt", pair.certificate, mode=0o644)
