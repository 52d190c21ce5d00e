"""`up --runtime simulated` needs no engine, no root and no packet rules: the examples become healthy for anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("git")

ROOT = Path(__file__).resolve().parents[3]
NOBODY = 65534


def _reconciler(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody without rights: nobody when the tests run as root, else whoever runs them."""
    unprivileged: Sequence[str] = ()
    if os.geteuid() == 0:
        # Only reading is kept: this interpreter may lie in root's home.
        kept = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search")
        unprivileged = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *kept, "--")
    command = [*unprivileged, sys.executable, "-m", "reconciler.cli.main", *words, "--state", str(state)]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(state), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=state, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="simulated-") as name:
        directory = Path(name)
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
        yield directory
        _reconciler(directory, "down")


def test_the_examples_become_healthy_without_rights_or_an_engine(state: Path) -> None:
    finished = _reconciler(state, "up", "--runtime", "simulated", "--detach", "--json", "--timeout", "20")
    assert finished.returncode == 0, finished.stderr + finished.stdout
    told = json.loads(finished.stdout)
    assert told["runtime"] == "simulated"
    assert [(app["sync"], app["health"]) for app in told["applications"]] == [("Synced", "Healthy")]
    assert told["url"] == ""  # nothing runs that could be opened
    assert "containers are simulated" in (state / "daemon.log").read_text()

    again = _reconciler(state, "up", "--runtime", "simulated", "--detach", "--json", "--timeout", "20")
    assert json.loads(again.stdout)["pid"] == told["pid"]


def test_a_restarted_daemon_runs_the_pods_again(state: Path) -> None:
    first = _reconciler(state, "up", "--runtime", "simulated", "--detach", "--json", "--timeout", "20")
    assert first.returncode == 0, first.stderr
    assert _reconciler(state, "down").returncode == 0
    second = _reconciler(state, "up", "--runtime", "simulated", "--detach", "--json", "--timeout", "40")
    assert second.returncode == 0, second.stderr
    assert json.loads(second.stdout)["commit"] == json.loads(first.stdout)["commit"]
