"""A real etcd of the test's own, one member on loopback."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from cluster.config import free_port
from cluster.store.etcd_address import Endpoint

READY_S = 20.0


@dataclass(frozen=True, slots=True)
class Tls:
    """The files a member serves with; clients need a certificate of `ca`."""

    ca: Path
    certificate: Path
    key: Path


class EtcdMember:
    """etcd in `directory`; can be killed and started again on the same data, or with another snapshot's."""

    def __init__(self, directory: Path, *, tls: Tls | None = None) -> None:
        self._directory = directory
        self._tls = tls
        self._process: subprocess.Popen[bytes] | None = None
        client, peer, health = (free_port(0, host="127.0.0.1") for _ in range(3))
        self._health = f"http://127.0.0.1:{health}"
        self.endpoint = Endpoint("127.0.0.1", client)
        self._peer = f"http://127.0.0.1:{peer}"

    @property
    def url(self) -> str:
        return f"{'etcds' if self._tls else 'etcd'}://{self.endpoint}"

    def start(self) -> None:
        """Returns when it answers.  Values as large as the store accepts need bounds above etcd's defaults."""
        client = f"{'https' if self._tls else 'http'}://{self.endpoint}"
        command = ["etcd", "--data-dir", str(self._directory), "--listen-client-urls", client]
        command += ["--advertise-client-urls", client, "--listen-peer-urls", self._peer, "--logger", "zap"]
        command += ["--listen-metrics-urls", self._health]
        command += ["--initial-advertise-peer-urls", self._peer, "--initial-cluster", f"default={self._peer}"]
        command += ["--heartbeat-interval", "10", "--election-timeout", "100"]
        command += ["--max-txn-ops", "1024", "--max-request-bytes", str(32 * 1024 * 1024)]
        if self._tls is not None:
            command += ["--cert-file", str(self._tls.certificate), "--key-file", str(self._tls.key)]
            command += ["--client-cert-auth", "--trusted-ca-file", str(self._tls.ca)]
        self._directory.parent.mkdir(parents=True, exist_ok=True)
        with (self._directory.parent / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_S
        while not self._answers():
            assert time.monotonic() < deadline, "etcd does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut ends it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restore(self, snapshot: Path, *, into: Path) -> None:
        """Make `snapshot` the data of the next start."""
        subprocess.run(
            [
                *("etcdctl", "snapshot", "restore", str(snapshot), "--data-dir", str(into), "--name", "default"),
                *("--initial-cluster", f"default={self._peer}", "--initial-advertise-peer-urls", self._peer),
            ],
            env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"},
            check=True,
            capture_output=True,
        )
        self._directory = into

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._health}/health", timeout=1) as response:
                return b'"true"' in response.read()
        except OSError:
            return False
