"""The shipped daemon with its state in a real etcd over TLS: clients see no difference, neither end's death loses anything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.base.certificate_requests import sign_request
from cluster.base.pki import KeyPair, create_ca, issue_client
from cluster.config import Settings, create_settings, free_port
from tests.etcd import EtcdMember, Tls

pytestmark = pytest.mark.needs("etcd", "kubectl")

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 30.0


class Daemon:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.settings.state_dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "reconciler.cli.main", "serve", "--state", str(self.settings.state_dir)),
                    *("--runtime", "simulated"),
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def await_ready(self) -> None:
        until(lambda: (self.settings.state_dir / "run.json").exists(), what="the daemon is ready")

    def end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(DEADLINE_S)
            (self.settings.state_dir / "run.json").unlink(missing_ok=True)
            self.process = None

    @property
    def log(self) -> str:
        return (self.settings.state_dir / "log").read_text()

    def kubectl(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {"KUBECONFIG": str(self.settings.kubeconfig), "PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        return subprocess.run(["kubectl", *words], env=environment, capture_output=True, text=True, timeout=60)

    def uid_of(self, *words: str) -> str:
        return self.kubectl("get", *words, "-o", "jsonpath={.metadata.uid}").stdout


def until(holds: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _written(directory: Path, name: str, pair: KeyPair) -> tuple[Path, Path]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


def _member_pair(ca: KeyPair, now: datetime) -> KeyPair:
    """For both usages: an etcd that asks for client certificates shows its own when its gateway connects to itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd")])
    )
    signed = request.add_extension(names, critical=False).sign(key, hashes.SHA256())
    certificate = sign_request(
        ca,
        signed.public_bytes(serialization.Encoding.PEM),
        usages=["server auth", "client auth", "digital signature"],
        lifetime=timedelta(hours=1),
        now=now,
    )
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return KeyPair(certificate, key.private_bytes(*private))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[EtcdMember, Daemon]]:
    now = datetime.now(UTC)
    ca = create_ca("etcd-ca", now=now)
    ca_file, _ = _written(tmp_path, "ca", ca)
    serving = _written(tmp_path, "serving", _member_pair(ca, now))
    client = _written(tmp_path, "client", issue_client(ca, "reconciler", (), now=now))
    member = EtcdMember(tmp_path / "etcd" / "data", tls=Tls(ca_file, *serving))
    (tmp_path / "state").mkdir()
    settings = create_settings(
        tmp_path / "state",
        cluster_id="etcdtest",
        runtime="simulated",
        api_port=free_port(0, host="127.0.0.1"),
        store=member.url,
        store_ca=str(ca_file),
        store_cert=str(client[0]),
        store_key=str(client[1]),
    )
    daemon = Daemon(settings)
    yield member, daemon
    daemon.end(signal.SIGKILL)
    member.kill()


def test_a_state_directory_keeps_the_store_it_was_made_with(parts: tuple[EtcdMember, Daemon]) -> None:
    member, daemon = parts
    member.start()
    state = daemon.settings.state_dir
    words = (sys.executable, "-m", "reconciler.cli.main", "serve", "--state", str(state), "--runtime", "simulated")
    refused = subprocess.run([*words, "--store", "etcd://127.0.0.1:1"], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"belongs to a cluster with the store '{member.url}'" in refused.stderr


def test_a_cluster_on_etcd_outlives_its_server_and_waits_for_its_store(parts: tuple[EtcdMember, Daemon]) -> None:
    member, daemon = parts
    daemon.start()
    until(lambda: "store does not answer, trying again" in daemon.log, what="the daemon waits for etcd")
    member.start()
    daemon.await_ready()
    assert daemon.kubectl("create", "deployment", "web", "--image=web:1", "--replicas=2").returncode == 0
    rolled = daemon.kubectl("rollout", "status", "deployment/web", "--timeout=20s")
    assert rolled.returncode == 0, rolled.stderr
    uid = daemon.uid_of("deployment", "web")
    assert not (daemon.settings.state_dir / "store.db").exists()

    member.kill()
    refused = daemon.kubectl("create", "configmap", "lost")
    assert refused.returncode != 0
    assert "the store is unavailable" in refused.stderr
    assert daemon.uid_of("deployment", "web") == uid  # what was known is still told
    member.start()
    until(lambda: daemon.kubectl("create", "configmap", "kept").returncode == 0, what="writes work again")
    daemon.kubectl("scale", "deployment/web", "--replicas=3")
    assert daemon.kubectl("rollout", "status", "deployment/web", "--timeout=20s").returncode == 0

    pods = daemon.kubectl("get", "pods", "-o", "name").stdout
    daemon.end(signal.SIGKILL)
    daemon.start()
    daemon.await_ready()
    assert daemon.uid_of("deployment", "web") == uid
    assert daemon.kubectl("get", "pods", "-o", "name").stdout == pods
    assert daemon.kubectl("delete", "deployment", "web", "--timeout=20s").returncode == 0
