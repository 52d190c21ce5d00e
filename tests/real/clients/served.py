"""A served cluster as clients see it: where it is, the admin's kubectl, and a bare HTTPS connection."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 20.0
"""What anything in these tests may take: the simulated node needs well under a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a kubectl command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server replied; `headers` has lower-case names."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def obj(self) -> Any:
        return json.loads(self.body)


class Server:
    """The process under test and the admin's credentials to it."""

    def __init__(self, *, state: Path, pid: int) -> None:
        self.state = state
        self.pid = pid
        self.kubeconfig = state / "kubeconfig"
        config = yaml.safe_load(self.kubeconfig.read_text())
        self.url: str = config["clusters"][0]["cluster"]["server"]
        parts = urlsplit(self.url)
        self.host, self.port = str(parts.hostname), int(parts.port or 443)
        self.ca: str = base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        user = config["users"][0]["user"]
        self._pair = state / "client.pem"
        self._pair.write_bytes(
            base64.b64decode(user["client-certificate-data"]) + base64.b64decode(user["client-key-data"])
        )

    def tls(self, *, as_admin: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.ca)
        if as_admin:
            context.load_cert_chain(self._pair)
        return context

    @contextmanager
    def connection(
        self, *, as_admin: bool = True, timeout_s: float = DEADLINE_S
    ) -> Iterator[http.client.HTTPSConnection]:
        connection = http.client.HTTPSConnection(
            self.host, self.port, context=self.tls(as_admin=as_admin), timeout=timeout_s
        )
        try:
            yield connection
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        as_admin: bool = True,
    ) -> Answer:
        """One request on a connection of its own.  A body that is not bytes is sent as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} if body is not None else {}
        with self.connection(as_admin=as_admin) as connection:
            connection.request(method, path, body=sent, headers={**given, **(headers or {})})
            reply = connection.getresponse()
            return Answer(reply.status, reply.read(), {name.lower(): value for name, value in reply.getheaders()})

    def resident_bytes(self) -> int:
        """What the process holds in memory now."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


class Kubectl:
    """kubectl as the admin, in one namespace.  Called, it returns what was printed and fails the test on a failure."""

    def __init__(self, server: Server, namespace: str, home: Path, program: str = "kubectl") -> None:
        self.program = program
        self.server = server
        self.namespace = namespace
        self.home = home

    def run(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> Outcome:
        environment = {
            "KUBECONFIG": str(self.server.kubeconfig),
            "HOME": str(self.home),
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            **(env or {}),
        }
        command = [self.program, *(("-n", self.namespace) if self.namespace else ()), *arguments]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        done = self.run(*arguments, stdin=stdin, env=env)
        assert done.code == 0, f"kubectl {' '.join(arguments)}: {done.code}\n{done.out}\n{done.err}"
        return done.out

    def refused(self, *arguments: str, stdin: str = "") -> str:
        """What a command that must fail says on stderr."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code != 0, f"kubectl {' '.join(arguments)} was to fail: {done.out}"
        return done.err

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "-o", "json"))

    @contextmanager
    def following(self, *arguments: str) -> Iterator[Iterator[str]]:
        """A command that keeps printing; its lines as they come."""
        environment = {**os.environ, "KUBECONFIG": str(self.server.kubeconfig), "HOME": str(self.home)}
        command = ["timeout", str(int(DEADLINE_S)), self.program, "-n", self.namespace, *arguments]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield iter(process.stdout.readline, "")
            finally:
                process.terminate()


def until(condition: Callable[[], Any], *, what: str, deadline_s: float = DEADLINE_S) -> Any:
    """The first true answer of `condition`; fails when there is none in time."""
    end = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < end, f"still not: {what}"
        time.sleep(0.05)
    return found


@contextmanager
def serving(state: Path) -> Iterator[Server]:
    """The shipped daemon with a simulated node, as a process of its own; fails the test when it ends before it is told to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        options = ["--state", str(state), "--runtime", "simulated", "--port", str(probe.getsockname()[1])]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli.main", "serve", *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n", (state / "log").read_text()
        served = Server(state=state, pid=process.pid)
        until(lambda: _node_is_ready(served), what="the node is ready")
        yield served
        assert process.poll() is None, (state / "log").read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def _node_is_ready(server: Server) -> bool:
    nodes = server.request("GET", "/api/v1/nodes").obj["items"]
    conditions = [c for node in nodes for c in node["status"].get("conditions", ())]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
