"""A repository served over TLS on loopback: git's own `http-backend` behind Python's server, in another process."""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cluster.base.pki import create_ca, issue_serving
from reconciler.source.command import Git


@contextmanager
def https_remote(repository: Path, directory: Path, program: Git) -> Iterator[str]:
    """Serve the repository over TLS; `program` is told to trust it.  Its processes are another process's children."""
    now = datetime.now(UTC)
    ca = create_ca("bench", now=now)
    pair = issue_serving(ca, "localhost", ["localhost"], now=now)
    for name, content in (("ca.crt", ca.certificate), ("tls.crt", pair.certificate), ("tls.key", pair.key)):
        (directory / name).write_bytes(content)
    with (program.home / "gitconfig").open("a") as config:
        config.write(f"[http]\n\tsslCAInfo = {directory / 'ca.crt'}\n")
    receiving, sending = os.pipe()
    server = os.fork()
    if server == 0:
        try:
            _serve(repository, directory, sending)
        finally:
            os._exit(1)
    os.close(sending)
    try:
        port = int(os.read(receiving, 16))
        yield f"https://localhost:{port}/repository/.git"
    finally:
        os.kill(server, 15)
        os.waitpid(server, 0)
        os.close(receiving)


def _serve(repository: Path, directory: Path, announce: int) -> None:
    class Backend(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _answer(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(repository.parent), "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }  # fmt: skip
            answer = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True).stdout
            head, _, content = answer.partition(b"\r\n\r\n")
            self.send_response(200)
            for line in head.decode().splitlines():
                name, _, value = line.partition(": ")
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.crt", directory / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever).start()
    os.write(announce, str(server.server_address[1]).encode())
    threading.Event().wait()
