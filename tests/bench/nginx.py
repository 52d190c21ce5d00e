"""nginx as the peer: one worker that serves one file over TLS with our certificate."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.config import free_port

STARTS_WITHIN_S = 5.0


@contextmanager
def serving(directory: Path, content: bytes, *, certificate: Path, key: Path) -> Iterator[tuple[int, str]]:
    """The master's process id and the file's URL."""
    (directory / "content.json").write_bytes(content)
    directory.chmod(0o755)
    port = free_port(0, host="127.0.0.1")
    configuration = directory / "nginx.conf"
    configuration.write_text(f"""
        daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log; user root;
        events {{ worker_connections 1024; }}
        http {{
          access_log off; keepalive_requests 1000000000; sendfile on; tcp_nodelay on; default_type application/json;
          client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
          uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5; open_file_cache max=100;
          server {{
            listen 127.0.0.1:{port} ssl; root {directory};
            ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
          }}
        }}
    """)
    process = subprocess.Popen(["nginx", "-c", str(configuration)])
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not (directory / "nginx.pid").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("nginx did not start:\n" + (directory / "nginx.log").read_text())
            time.sleep(0.05)
        yield process.pid, f"https://127.0.0.1:{port}/content.json"
    finally:
        process.terminate()
        process.wait(10)
