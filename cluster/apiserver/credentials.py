"""The files that make identities: CA, serving certificate, token key, the operator's kubeconfig.

Made at first start, kept 0600, renewed in the last third of their lives or when the names to serve change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cluster.apiserver.aggregation import FRONT_PROXY_NAME, FrontProxy
from cluster.apiserver.node_authorizer import NODE_PREFIX, NODES_GROUP
from cluster.base.files import write_atomically
from cluster.base.pki import (
    KeyPair,
    create_ca,
    create_signing_key,
    end_of,
    issue_client,
    issue_serving,
    names_of,
    needs_renewal,
)
from cluster.client.kubeconfig import ClusterAccess, kubeconfig_of

SERVING = "apiserver"
ADMIN_GROUP = "system:masters"
HAND_OVER_MODE = 0o640
"""Of a node's kubeconfig: for its owner and the service's group."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where they lie, and what in-process components need of them."""

    ca: KeyPair
    ca_file: Path
    serving_certificate_file: Path
    serving_key_file: Path
    token_key: bytes
    front_proxy: FrontProxy


def ensure_credentials(directory: Path, names: Sequence[str], *, now: datetime) -> Credentials:
    """Read or make them so that the serving certificate covers `names`.  Raises OSError, ValueError for damaged files."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = _read_pair(directory, "ca")
    if ca is None:
        ca = create_ca("reconciler-ca", now=now)
        _write_pair(directory, "ca", ca)
    serving = _read_pair(directory, SERVING)
    if (
        serving is None
        or needs_renewal(serving.certificate, now=now)
        or not set(names) <= names_of(serving.certificate)
    ):
        serving = issue_serving(ca, "kube-apiserver", names, now=now)
        _write_pair(directory, SERVING, serving)
    token_key_file = directory / "service-account.key"
    if not token_key_file.exists():
        write_atomically(token_key_file, create_signing_key())
    front_proxy_ca = _read_pair(directory, "front-proxy-ca")
    if front_proxy_ca is None:
        # Of its own: whoever holds a certificate of it is believed about anybody's name.
        front_proxy_ca = create_ca("reconciler-front-proxy-ca", now=now)
        _write_pair(directory, "front-proxy-ca", front_proxy_ca)
    _client_pair(directory, FRONT_PROXY_NAME, front_proxy_ca, FRONT_PROXY_NAME, "", now=now)
    return Credentials(
        front_proxy=FrontProxy(
            front_proxy_ca.certificate.decode(),
            str(directory / f"{FRONT_PROXY_NAME}.crt"),
            str(directory / f"{FRONT_PROXY_NAME}.key"),
        ),
        ca=ca,
        ca_file=directory / "ca.crt",
        serving_certificate_file=directory / f"{SERVING}.crt",
        serving_key_file=directory / f"{SERVING}.key",
        token_key=token_key_file.read_bytes(),
    )


def write_admin_kubeconfig(
    path: Path, credentials: Credentials, *, directory: Path, host: str, port: int, name: str, now: datetime
) -> None:
    """A kubeconfig whose user may do everything; rewritten only when the address or the certificate changes."""
    admin = _client_pair(directory, "admin", credentials.ca, "kubernetes-admin", ADMIN_GROUP, now=now)
    _write_kubeconfig(path, credentials, admin, host=host, port=port, name=name)


def write_node_kubeconfig(
    path: Path, credentials: Credentials, *, directory: Path, host: str, port: int, node: str, now: datetime
) -> None:
    """A kubeconfig whose user is the agent of `node`, for an agent on this host; rewritten as the admin's is.

    The file's group may read it (HAND_OVER_MODE), so that a server without root can hand it over.
    """
    user = f"{NODE_PREFIX}{node}"
    pair = _client_pair(directory, f"node-{node}", credentials.ca, user, NODES_GROUP, now=now)
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    _write_kubeconfig(path, credentials, pair, host=host, port=port, name="reconciler", mode=HAND_OVER_MODE)


def certificate_ends(directory: Path) -> Mapping[str, datetime]:
    """When each certificate kept there ends, by name.  Raises OSError, ValueError."""
    return {file.stem: end_of(file.read_bytes()) for file in sorted(directory.glob("*.crt"))}


def _client_pair(directory: Path, name: str, ca: KeyPair, user: str, group: str, *, now: datetime) -> KeyPair:
    pair = _read_pair(directory, name)
    if pair is None or needs_renewal(pair.certificate, now=now):
        pair = issue_client(ca, user, [group] if group else [], now=now)
        _write_pair(directory, name, pair)
    return pair


def _write_kubeconfig(
    path: Path, credentials: Credentials, pair: KeyPair, *, host: str, port: int, name: str, mode: int = 0o600
) -> None:
    access = ClusterAccess(
        host=host, port=port, ca=credentials.ca.certificate, certificate=pair.certificate, key=pair.key
    )
    text = kubeconfig_of(access, name=name)
    if not path.exists():
        write_atomically(path, text, mode=mode)
    elif path.read_bytes() != text:
        owner = path.stat()
        write_atomically(path, text, mode=mode)
        # Whoever was given the file keeps it.
        with suppress(PermissionError):
            os.chown(path, owner.st_uid, owner.st_gid)


def _read_pair(directory: Path, name: str) -> KeyPair | None:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    if not certificate.exists() or not key.exists():
        return None
    return KeyPair(certificate.read_bytes(), key.read_bytes())


def _write_pair(directory: Path, name: str, pair: KeyPair) -> None:
    write_atomically(directory / f"{name}.key", pair.key)
    write_atomically(directory / f"{name}.crt", pair.certificate, mode=0o644)
