"""What the machine has: tests name the real parts they use with `@pytest.mark.needs(...)`.

A missing part skips its tests and says so; under `--all` it fails them, so that a complete run proves every one.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# A machine that is busy is not a wrong answer: examples have no time limit of their own.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# Where `.ci/run` installs the JavaScript client that tests/real/clients/node locks.
CLIENT_NODE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "reconciler-tests" / "client-node"


def _docker_answers() -> bool:
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(path)
    except OSError:
        return False
    return True


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def older_kubectl() -> str:
    """A kubectl of a minor whose streams are SPDY (before 1.30), of those some distributions put beside kubectl; or ""."""
    found = shutil.which("kubectl")
    beside = sorted(Path(found).resolve().parent.glob("kubectl.1.2[0-9]")) if found else []
    return str(beside[-1]) if beside else ""


PARTS: dict[str, Callable[[], bool]] = {
    "docker": _docker_answers,
    "older-kubectl": lambda: bool(older_kubectl()),
    "client-node": lambda: (CLIENT_NODE / "node_modules" / "@kubernetes" / "client-node").is_dir(),
    "root": lambda: os.geteuid() == 0,
    **{
        name: _program(name)
        for name in (
            "kubectl",
            "node",
            "nft",
            "git",
            "ip",
            "conntrack",
            "curl",
            "gcc",
            "nginx",
            "wrk",
            "dig",
            "etcd",
            "busybox",
            "systemd-analyze",
            "debootstrap",
            "docker-registry",
            "sshd",
        )
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="a missing real part fails its tests instead of skipping them")
    parser.addoption("--seed", type=int, default=None, help="play simulated worlds with this seed only")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for part in marker.args:
            if not PARTS[part]():
                reason = f"this machine has no {part}"
                if item.config.getoption("--all"):
                    pytest.fail(reason)
                pytest.skip(reason)
