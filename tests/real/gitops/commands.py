"""A served daemon and its commands, as a user has them: processes, what they print, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


class Commands:
    """The verbs, against one kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig

    def __call__(self, *words: str) -> Outcome:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            [sys.executable, "-m", "reconciler.cli.main", *words],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@contextmanager
def serving(state: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`reconciler serve` until the end; its log is `state/log`."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "log").open("ab") as log:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "reconciler.cli.main", "serve", "--state", str(state), *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert daemon.stdout is not None
    try:
        assert daemon.stdout.readline() == b"ready\n", (state / "log").read_text()
        yield daemon
        assert daemon.poll() is None, (state / "log").read_text()
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)
        daemon.stdout.close()


def until(look: Callable[[], Any], *, what: str) -> Any:
    """The first true answer of `look`; fails when there is none in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.05)
    return found
