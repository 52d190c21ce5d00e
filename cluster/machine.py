"""This machine as the roles' ports: store file, credentials, HTTPS; what runs pods on it is `node_runtime`'s.

`control_plane` and `node_agent` decide what runs; here is only what it runs on.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from loguru import logger

from cluster.apiserver.apiserver import ApiServer
from cluster.apiserver.audit import DEFAULT_POLICY, AuditPolicy, PolicyError, parse_policy
from cluster.apiserver.audit_log import AuditLog
from cluster.apiserver.credentials import (
    Credentials,
    certificate_ends,
    ensure_credentials,
    write_admin_kubeconfig,
    write_node_kubeconfig,
)
from cluster.apiserver.decoding import decoded
from cluster.apiserver.server import HttpsServer, serving_context
from cluster.apiserver.state import TableId, prefix_of
from cluster.base.certificate_requests import sign_request
from cluster.base.clock import Clock, SystemClock
from cluster.base.entropy import Entropy, SystemEntropy
from cluster.config import Settings, SettingsError
from cluster.machinery.errors import ApiError
from cluster.ports import Listener, Ports, Runtime, Trust
from cluster.store.api import Store, Unavailable
from cluster.store.encryption import EncryptedStore, KeyFileError, load_keys
from cluster.store.etcd_address import parse_address
from cluster.store.sqlite import SqliteStore

POLICY_SIZE_MAX_BYTES = 1 << 20
STORE_RETRY_S = 2.0
"""Between attempts to reach an etcd at the start."""


def machine_ports(settings: Settings) -> Ports:
    """What this machine offers to a process that runs the roles.  Nothing is opened yet."""
    clock, entropy = SystemClock(), SystemEntropy()

    async def open_store() -> Store:
        if settings.store:
            return await encrypted_store(await open_etcd(settings, clock), settings, entropy)
        return await encrypted_store(await SqliteStore.open(settings.store_file, clock=clock), settings, entropy)

    def runtime() -> Runtime:
        # Only a node needs what reaches Docker and netlink: a server without one never loads it.
        from cluster.node_runtime import docker_runtime, simulated_runtime

        if settings.runtime == "simulated":
            return simulated_runtime(settings, clock=clock)
        return docker_runtime(settings, entropy=entropy)

    def listener(api: ApiServer) -> Listener:
        return HttpsListener(api, settings, clock)

    return Ports(
        clock=clock,
        entropy=entropy,
        open_store=open_store,
        trust=lambda: trust_of(credentials_of(settings, clock), clock),
        listener=listener,
        audit=lambda: audit_log(settings, clock, entropy),
        port_in_use=host_port_in_use,
        runtime=runtime,
    )


async def open_etcd(settings: Settings, clock: Clock) -> Store:
    """The store in the etcd that the settings name, waited for as long as it takes: it may start after us."""
    from cluster.store.etcd import EtcdStore

    address = parse_address(settings.store)
    tls = client_context(settings) if address.tls else None
    while True:
        try:
            return await EtcdStore.open(address.endpoints, prefix=settings.store_prefix, clock=clock, tls=tls)
        except Unavailable as error:
            logger.warning("store does not answer, trying again", reason=str(error))
            await clock.sleep(STORE_RETRY_S)


def client_context(settings: Settings) -> ssl.SSLContext:
    """How etcd is trusted, and who we are to it.  Raises SettingsError naming the file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.store_ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.store_cert:
            context.load_cert_chain(settings.store_cert, settings.store_key or None)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(filter(None, (settings.store_ca, settings.store_cert, settings.store_key)))
        raise SettingsError(f"store_ca, store_cert, store_key ({files}): {error}") from error
    return context


def credentials_of(settings: Settings, clock: Clock) -> Credentials:
    """The files that make identities, with a serving certificate for every name this host is reached by."""
    names = [
        settings.api_host,
        "localhost",
        "127.0.0.1",
        settings.gateway_ip,
        settings.kubernetes_ip,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{settings.cluster_domain}",
        settings.node_name,
    ]
    return ensure_credentials(settings.pki_dir, list(dict.fromkeys(names)), now=clock.now())


def hand_over(settings: Settings, clock: Clock) -> None:
    """Leave the kubeconfig of this host's node where its agent finds it.  Raises OSError."""
    write_node_kubeconfig(
        settings.agent_kubeconfig,
        credentials_of(settings, clock),
        directory=settings.pki_dir,
        host=settings.api_host,
        port=settings.api_port,
        node=settings.node_name,
        now=clock.now(),
    )


def trust_of(credentials: Credentials, clock: Clock) -> Trust:
    key = serialization.load_pem_private_key(credentials.token_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("the service account key is not an elliptic curve key")

    def sign(request: bytes, usages: Collection[str], lifetime: timedelta) -> bytes:
        return sign_request(credentials.ca, request, usages=usages, lifetime=lifetime, now=clock.now())

    ca_pem = credentials.ca.certificate.decode()
    return Trust(token_key=key, ca_pem=ca_pem, sign=sign, front_proxy=credentials.front_proxy)


async def encrypted_store(store: Store, settings: Settings, entropy: Entropy) -> Store:
    """`store`, with the values of the settings' kinds encrypted, those that lie there already too.

    Raises SettingsError for a key file that cannot be used, Unavailable for a value that was tampered with.
    """
    kinds = [kind for kind in settings.encrypted_kinds.split(",") if kind]
    if not kinds and not settings.encryption_key_file.exists():
        return store
    try:
        keys = load_keys(settings.encryption_key_file, random=entropy.token_bytes)
        tables = [TableId(kind.partition(".")[2], kind.partition(".")[0]) for kind in kinds]
        encrypted = EncryptedStore(store, keys, [prefix_of(table) for table in tables], random=entropy.token_bytes)
        if count := await encrypted.rewrite():
            logger.info("stored values were encrypted anew", count=count)
    except KeyFileError as error:
        await store.close()
        raise SettingsError(str(error)) from error
    except BaseException:
        await store.close()
        raise
    return encrypted


def audit_log(settings: Settings, clock: Clock, entropy: Entropy) -> AuditLog | None:
    """Where requests are recorded, as the settings say.  Raises SettingsError for a policy that cannot be used."""
    if not settings.audit_files_max:
        return None
    return AuditLog(
        audit_policy(settings.audit_policy_file),
        settings.audit_file,
        size_max_bytes=settings.audit_file_max_mb << 20,
        files_max=settings.audit_files_max,
        clock=clock,
        entropy=entropy,
    )


def audit_policy(path: str) -> AuditPolicy:
    """The policy in a file, the default one without.  Raises SettingsError."""
    if not path:
        return DEFAULT_POLICY
    try:
        with Path(path).open("rb") as file:
            return parse_policy(decoded(file.read(POLICY_SIZE_MAX_BYTES), "application/yaml"))
    except (OSError, PolicyError) as error:
        raise SettingsError(f"audit_policy_file: {path}: {error}") from error
    except ApiError as error:
        raise SettingsError(f"audit_policy_file: {path}: {error.message}") from error


class HttpsListener:
    """TLS on this host's addresses.  The operator's kubeconfig is written once the first of them is served."""

    def __init__(self, api: ApiServer, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._credentials = credentials_of(settings, clock)
        self._tls = serving_context(
            str(self._credentials.serving_certificate_file),
            str(self._credentials.serving_key_file),
            str(self._credentials.ca_file),
        )
        self._server = HttpsServer(
            handler=api, authenticator=api.authenticator, tls=self._tls, clock=clock, refused=api.note_refused
        )

    def listen(self, host: str, *, may_come_later: bool = False) -> None:
        self._server.listen(host, self._settings.api_port, may_come_later=may_come_later)
        self._write_kubeconfig()

    def renew(self) -> Mapping[str, datetime]:
        self._credentials = credentials_of(self._settings, self._clock)
        # Handshakes to come present what lies there now.
        self._tls.load_cert_chain(self._credentials.serving_certificate_file, self._credentials.serving_key_file)
        self._write_kubeconfig()
        if self._settings.agent_kubeconfig.exists():
            hand_over(self._settings, self._clock)
        return certificate_ends(self._settings.pki_dir)

    def _write_kubeconfig(self) -> None:
        settings = self._settings
        write_admin_kubeconfig(
            settings.kubeconfig,
            self._credentials,
            directory=settings.pki_dir,
            host=settings.api_host,
            port=settings.api_port,
            name="reconciler",
            now=self._clock.now(),
        )

    async def stop(self) -> None:
        await self._server.stop()


def host_port_in_use(port: int) -> bool:
    """Somebody on this host listens on a TCP or UDP port, on any address."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                return True
    return False
