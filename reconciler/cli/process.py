"""The daemon's process as the commands see it: is it running, start it, stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

RUN_FILE = "run.json"
LOG_FILE = "daemon.log"
RECORDS_FILE = "reconciliation.log"
PART = "reconciler"
"""The top package whose records are the reconciliation log."""
DAEMONS = frozenset((b"serve", b"server", b"agent"))
"""The verbs that run until they are stopped."""


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that said it is ready."""

    pid: int
    runtime: str
    kubeconfig: Path
    repository: str


def find_running(state_dir: Path) -> Running | None:
    """The daemon of that state directory, if it is ready and still alive."""
    try:
        record = json.loads((state_dir / RUN_FILE).read_text())
    except (OSError, ValueError):
        return None
    pid = int(record["pid"])
    if not is_daemon(pid):
        return None
    return Running(pid, record["runtime"], Path(record["kubeconfig"]), record["repository"])


def is_daemon(pid: int) -> bool:
    """That process is alive and one of ours: process numbers are used again."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return bool(DAEMONS & {*words}) and state != "Z"


def start_daemon(state_dir: Path, options: list[str], *, sudo: bool) -> subprocess.Popen[bytes]:
    """Start `serve` detached from this terminal; its log goes to the state directory."""
    command = [sys.executable, "-m", "reconciler.cli.main", "serve", "--state", str(state_dir), *options]
    if sudo:
        kept = [f"{name}={os.environ[name]}" for name in ("PYTHONPATH", "DOCKER_HOST") if name in os.environ]
        command = ["sudo", "--", "env", *kept, *command]
    with (state_dir / LOG_FILE).open("ab") as log:
        return subprocess.Popen(
            command, stdin=None if sudo else subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=not sudo
        )


def stop_daemon(pid: int, *, timeout_s: float) -> bool:
    """Ask it to stop and wait; False if it is still there after `timeout_s`."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True
    except PermissionError:
        subprocess.run(["sudo", "kill", "-TERM", str(pid)], check=False)
    deadline = time.monotonic() + timeout_s
    while is_daemon(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def last_lines(state_dir: Path, count: int) -> str:
    """The end of the daemon's log, for an error message."""
    try:
        return "\n".join((state_dir / LOG_FILE).read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
