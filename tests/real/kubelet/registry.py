"""A private image registry on loopback, that lets in one user.  It must be stopped."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

USER, PASSWORD = "robot", "correct-horse"
_HTPASSWD = "robot:$2y$04$gQvhyxjAU3Nk1nM3IEpH4e4YKTh8bSk0e08Eo4StY.JiDMicWpbei\n"
_CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {directory}/images}}}}
http: {{addr: "{address}"}}
auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}
"""


class Registry:
    """`address` is host:port, the prefix of its images' names."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._directory = directory
        (directory / "htpasswd").write_text(_HTPASSWD)
        (directory / "config.yml").write_text(_CONFIG.format(directory=directory, address=self.address))
        (directory / "config.json").write_text(docker_config(self.address, PASSWORD))
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=log
            )
        self._wait()

    def push(self, image: str, name: str) -> str:
        """Push the engine's `image` as `name`; its full name here, which the engine itself is made to forget."""
        full = f"{self.address}/{name}"
        self._docker("tag", image, full)
        self._docker("push", "-q", full)
        self._docker("rmi", full)
        return full

    def forget(self, *names: str) -> None:
        """Remove pulled names from the engine."""
        for name in names:
            subprocess.run(["docker", "rmi", name], capture_output=True, check=False)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _docker(self, *words: str) -> None:
        done = subprocess.run(["docker", "--config", str(self._directory), *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"docker {words[0]}: {done.stderr}")

    def _wait(self) -> None:
        host, _, port = self.address.partition(":")
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection((host, int(port)), timeout=1):
                    return
            except OSError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self._directory / "log").read_text()) from error
                time.sleep(0.05)


def docker_config(address: str, password: str) -> str:
    """What `docker login` would have stored."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {address: {"auth": auth}}})


def pull_secret(name: str, address: str, password: str) -> dict[str, Any]:
    data = base64.b64encode(docker_config(address, password).encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": name, "namespace": "default"},
        "data": {".dockerconfigjson": data},
    }
