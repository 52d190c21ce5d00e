"""Settings of one cluster on this host: chosen once, kept in the state directory, the same after every restart.

The only reader of the settings file.  What is not written there has a default here; unknown names are errors.
"""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from cluster.base.files import write_atomically
from cluster.store.etcd_address import parse_address

SETTINGS_FILE = "cluster.json"
SHARED = ("cluster_id", "pod_cidr", "service_cidr", "cluster_domain")
"""The settings that every node has from the server; the others are a host's own."""
DEFAULT_API_PORT = 6443
DEFAULT_POD_CIDR = "10.244.0.0/16"
DEFAULT_SERVICE_CIDR = "10.96.0.0/16"


class SettingsError(ValueError):
    """The settings cannot be used; the message names the file, the setting and why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One cluster.  `cluster_id` names everything it makes on the host, so that two never touch each other's."""

    state_dir: Path
    cluster_id: str
    node_name: str
    runtime: str = "docker"  # docker, simulated
    api_port: int = DEFAULT_API_PORT
    api_host: str = "127.0.0.1"
    pod_cidr: str = DEFAULT_POD_CIDR
    service_cidr: str = DEFAULT_SERVICE_CIDR
    cluster_domain: str = "cluster.local"
    store: str = ""
    """Where the state is kept: empty for SQLite in the state directory, else `etcd://HOST:PORT[,HOST:PORT]` (or `etcds://`)."""
    store_ca: str = ""
    store_cert: str = ""
    store_key: str = ""
    allow_privileged: bool = False
    allow_host_network: bool = False
    allowed_host_paths: tuple[str, ...] = ()
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_username_claim: str = "sub"
    oidc_username_prefix: str = ""
    oidc_groups_claim: str = ""
    oidc_groups_prefix: str = ""
    oidc_ca_file: str = ""
    encrypted_kinds: str = "secrets"
    audit_policy_file: str = ""
    audit_file_max_mb: int = 10
    audit_files_max: int = 5

    @property
    def node_cidr(self) -> str:
        """This node's part of the pod range."""
        return str(next(IPv4Network(self.pod_cidr).subnets(new_prefix=24)))

    @property
    def gateway_ip(self) -> str:
        """The node's address towards its pods."""
        return str(IPv4Network(self.node_cidr)[1])

    @property
    def kubernetes_ip(self) -> str:
        """The address of the `kubernetes` Service: the first of the range."""
        return str(IPv4Network(self.service_cidr)[1])

    @property
    def dns_ip(self) -> str:
        """Where cluster DNS answers: the tenth of the range, as everywhere."""
        return str(IPv4Network(self.service_cidr)[10])

    @property
    def shared(self) -> Mapping[str, str]:
        """What every node of the cluster must be told."""
        return {name: getattr(self, name) for name in SHARED}

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def agent_kubeconfig(self) -> Path:
        """Where a server leaves what an agent on the same host needs to reach it."""
        return self.state_dir / "agent" / "kubeconfig"

    @property
    def encryption_key_file(self) -> Path:
        return self.state_dir / "encryption.keys"

    @property
    def audit_file(self) -> Path:
        return self.state_dir / "audit.log"

    @property
    def pki_dir(self) -> Path:
        return self.state_dir / "pki"

    @property
    def store_prefix(self) -> str:
        """Below which this cluster keeps its keys in an etcd that others may use too."""
        return f"/reconciler/{self.cluster_id}"

    @property
    def store_file(self) -> Path:
        return self.state_dir / "store.db"

    @property
    def kubelet_dir(self) -> Path:
        return self.state_dir / "kubelet"


def load_settings(state_dir: Path) -> Settings:
    """The settings kept in a state directory.  Raises SettingsError."""
    path = state_dir / SETTINGS_FILE
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{path} is not valid JSON: {error}") from error
    return _checked(state_dir, document, where=str(path))


def create_settings(state_dir: Path, *, cluster_id: str, **chosen: object) -> Settings:
    """Choose settings for a new cluster and keep them.  Raises SettingsError, OSError."""
    document = {"cluster_id": cluster_id, "node_name": default_node_name(), **chosen}
    settings = _checked(state_dir, document, where="the given settings")
    save_settings(settings)
    return settings


def joined_settings(state_dir: Path, shared: Mapping[str, str], *, node_name: str, runtime: str) -> Settings:
    """The settings of an agent whose server says `shared`: kept in its directory, where the host's own may be edited.

    Raises SettingsError, also when the directory is another cluster's.
    """
    told = {name: shared[name] for name in SHARED if name in shared}
    if missing := sorted(set(SHARED) - set(told)):
        raise SettingsError(f"the server does not say {missing[0]}")
    path = state_dir / SETTINGS_FILE
    if not path.exists():
        chosen = {name: value for name, value in told.items() if name != "cluster_id"}
        return create_settings(
            state_dir, cluster_id=told["cluster_id"], **(chosen | {"node_name": node_name, "runtime": runtime})
        )
    kept = load_settings(state_dir)
    if kept.cluster_id != told["cluster_id"]:
        raise SettingsError(f"{path} is of the cluster {kept.cluster_id}, the server's is {told['cluster_id']}")
    document = dataclasses.asdict(kept) | told | {"node_name": node_name, "runtime": runtime}
    del document["state_dir"]
    settings = _checked(state_dir, document, where="what the server says")
    if settings != kept:
        save_settings(settings)
    return settings


def save_settings(settings: Settings) -> None:
    document = dataclasses.asdict(settings)
    del document["state_dir"]
    write_atomically(settings.state_dir / SETTINGS_FILE, json.dumps(document, indent=2).encode() + b"\n")


def default_node_name() -> str:
    """The host's name made into one a Node may have."""
    name = re.sub(r"[^a-z0-9.-]+", "-", socket.gethostname().lower()).strip("-.")
    return name[:63] or "node"


def free_port(wanted: int, *, host: str) -> int:
    """`wanted` if nothing listens there, else any free port."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SettingsError(f"no port is free on {host}")


def _checked(state_dir: Path, document: object, *, where: str) -> Settings:
    if not isinstance(document, dict):
        raise SettingsError(f"{where}: not a mapping of settings")
    known = {field.name for field in dataclasses.fields(Settings)} - {"state_dir"}
    if unknown := sorted(set(document) - known):
        raise SettingsError(f"{where}: unknown setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
    for name in ("pod_cidr", "service_cidr"):
        try:
            network = IPv4Network(document.get(name, "10.0.0.0/16"))
        except ValueError as error:
            raise SettingsError(f"{where}: {name}: {error}") from error
        if network.prefixlen > 24:
            raise SettingsError(f"{where}: {name}: {network} is too small, /24 is the least")
    try:
        if store := document.get("store", ""):
            parse_address(str(store))
    except ValueError as error:
        raise SettingsError(f"{where}: store: {error}") from error
    if document.get("runtime", "docker") not in ("docker", "simulated"):
        raise SettingsError(f"{where}: runtime: {document['runtime']!r} is neither docker nor simulated")
    if not re.fullmatch(r"[a-z0-9]{4,16}", str(document.get("cluster_id", ""))):
        raise SettingsError(f"{where}: cluster_id: 4 to 16 lower-case letters and digits are needed")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", str(document.get("node_name", ""))):
        raise SettingsError(f"{where}: node_name: {document.get('node_name')!r} is no name a Node may have")
    if issuer := document.get("oidc_issuer"):
        if not str(issuer).startswith("https://"):
            raise SettingsError(f"{where}: oidc_issuer: {issuer!r} is no https address")
        if not document.get("oidc_client_id"):
            raise SettingsError(f"{where}: oidc_client_id: needed with oidc_issuer")
    if not re.fullmatch(r"([a-z0-9.-]+(,[a-z0-9.-]+)*)?", str(document.get("encrypted_kinds", ""))):
        raise SettingsError(f"{where}: encrypted_kinds: plurals with their groups, separated by commas, are needed")
    for name, least in (("audit_file_max_mb", 1), ("audit_files_max", 0)):
        value = document.get(name, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 1000:
            raise SettingsError(f"{where}: {name}: a number from {least} to 1000 is needed")
    values = dict(document)
    values["allowed_host_paths"] = tuple(values.get("allowed_host_paths", ()))
    return Settings(state_dir=state_dir, **values)
