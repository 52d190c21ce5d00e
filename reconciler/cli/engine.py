"""Finding, installing and starting a Docker engine for `up`.

Nothing is installed unless root runs it on Debian or Ubuntu and --no-install was not given.  An engine started here runs
detached, is recorded in the state directory, and is stopped only by `down --purge`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.cli.exit_codes import CommandError, Exit

PACKAGES = ("docker.io", "nftables", "iptables")
START_TIMEOUT_S = 60.0
RECORD = "engine.json"

Say = Callable[[str], None]


def engine_answers() -> bool:
    """An engine listens where DOCKER_HOST, or the default socket, says and answers a ping, if only to root."""
    path = socket_path()
    if path is None:
        return True  # a remote or context engine: the daemon finds out, and says so
    if os.geteuid() != 0 and Path(path).is_socket() and not os.access(path, os.W_OK):
        return True  # it is there and not for us: the daemon will run through sudo
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return b" 200 " in connection.recv(256)
    except OSError:
        return False


def socket_path() -> str | None:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    return host.removeprefix("unix://") if host.startswith("unix://") else None


def prepare_engine(state_dir: Path, *, install: bool, say: Say) -> None:
    """Make an engine answer, or raise CommandError (NO_RUNTIME) saying what would."""
    if engine_answers():
        _install_missing(tuple(name for name in ("nftables", "iptables") if not _found(name)), install=install, say=say)
        return
    if os.environ.get("DOCKER_HOST"):
        raise CommandError(
            f"no Docker engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}",
            hint="start that engine, or unset DOCKER_HOST to use this host's own",
            code=Exit.NO_RUNTIME,
        )
    if not install:
        raise CommandError(
            "no Docker engine answers, and --no-install forbids to install or start one",
            hint="start Docker, or choose simulated containers with --runtime simulated",
            code=Exit.NO_RUNTIME,
        )
    if os.geteuid() != 0:
        raise CommandError(
            "no Docker engine answers, and only root can install or start one",
            hint="start Docker, or run this as root, or choose simulated containers with --runtime simulated",
            code=Exit.NO_RUNTIME,
        )
    if shutil.which("dockerd") is None:
        say("no Docker engine answers")
        _install_missing(PACKAGES, install=install, say=say)
    if not engine_answers():
        _start(state_dir, say)


def stop_engine(state_dir: Path, say: Say) -> None:
    """Stop the engine that `prepare_engine` started, if it did."""
    record = state_dir / RECORD
    if not record.exists():
        return
    pid = int(json.loads(record.read_text())["pid"])
    if _is_dockerd(pid):
        say("stopping the Docker engine that `up` started")
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_TIMEOUT_S
        while _is_dockerd(pid) and time.monotonic() < deadline:
            time.sleep(0.1)
    record.unlink()


def _found(package: str) -> bool:
    program = {"nftables": "nft", "iptables": "iptables"}[package]
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def _install_missing(packages: tuple[str, ...], *, install: bool, say: Say) -> None:
    if not packages:
        return
    wanted = " ".join(packages)
    if not install or os.geteuid() != 0 or not _is_debian():
        raise CommandError(
            f"missing on this host: {wanted}",
            hint=f"install it (on Debian or Ubuntu: apt install {wanted}), or choose --runtime simulated",
            code=Exit.NO_RUNTIME,
        )
    say(f"installing {wanted} ...")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
    ):
        finished = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if finished.returncode:
            lines = (finished.stderr or finished.stdout).strip().splitlines()[-5:]
            raise CommandError(
                f"{' '.join(command[:2])} failed: {' / '.join(lines)}",
                hint=f"install {wanted} by hand, or choose --runtime simulated",
                code=Exit.NO_RUNTIME,
            )


def _is_debian() -> bool:
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return False
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    family = f"{fields.get('ID', '')} {fields.get('ID_LIKE', '')}".replace('"', "").split()
    return bool({"debian", "ubuntu"} & set(family))


def _start(state_dir: Path, say: Say) -> None:
    if Path("/run/systemd/system").is_dir():
        say("starting the Docker engine (systemctl start docker)")
        subprocess.run(["systemctl", "start", "docker"], check=False, capture_output=True)
    else:
        say("starting the Docker engine")
        with (state_dir / "dockerd.log").open("ab") as log:
            process = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (state_dir / RECORD).write_text(json.dumps({"pid": process.pid}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while not engine_answers():
        if time.monotonic() > deadline:
            raise CommandError(
                f"the Docker engine did not answer within {START_TIMEOUT_S:.0f} s",
                hint=f"its log: {state_dir / 'dockerd.log'} (or `journalctl -u docker`)",
                code=Exit.NO_RUNTIME,
            )
        time.sleep(0.1)


def _is_dockerd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd" and not Path(
            f"/proc/{pid}/stat"
        ).read_text().rpartition(")")[2].split()[0].startswith("Z")
    except OSError:
        return False
