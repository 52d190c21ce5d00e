"""A real daemon for a benchmark: `serve` as a process on a Git repository of its own, purged afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """`ready_s` is from the start of the process to its word that it is ready."""

    pid: int
    state: Path
    repository: Path
    ready_s: float

    @property
    def cluster_id(self) -> str:
        return str(json.loads((self.state / "cluster.json").read_text())["cluster_id"])

    def command_s(self, *words: str) -> float:
        """How long one of our own commands takes against this daemon, in seconds."""
        environment = {**_environment(), "KUBECONFIG": str(self.state / "kubeconfig")}
        begun = time.perf_counter()
        subprocess.run(_command(*words), env=environment, cwd=ROOT, check=True, capture_output=True)
        return time.perf_counter() - begun

    def kubectl(self, *words: str) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.state / "kubeconfig")}
        return subprocess.run(["kubectl", *words], env=environment, check=True, capture_output=True, text=True).stdout


@contextmanager
def running_daemon(files: Mapping[str, str], *, runtime: str = "docker", restarts: int = 0) -> Iterator[Daemon]:
    """Serve a new repository with `files`; `restarts` warm starts come first, so that readiness is that of a restart."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        repository, state = Path(directory, "repository"), Path(directory, "state")
        make_repository(repository, files)
        state.mkdir()
        try:
            for _ in range(restarts):
                process, _ready_s = _start(state, repository, runtime)
                _stop(process)
            process, ready_s = _start(state, repository, runtime)
            try:
                yield Daemon(process.pid, state, repository, ready_s)
            finally:
                _stop(process)
        finally:
            _run("down", "--purge", "--state", str(state))


def make_repository(repository: Path, files: Mapping[str, str]) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(repository)], check=True)
    write_files(repository, files)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "Begin")


def write_files(repository: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(repository: Path, *words: str) -> None:
    who = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0")
    subprocess.run(["git", "-C", str(repository), *who, *words], check=True)


def _start(state: Path, repository: Path, runtime: str) -> tuple[subprocess.Popen[bytes], float]:
    words = ["serve", "--state", str(state), "--source", str(repository), "--runtime", runtime]
    begun = time.perf_counter()
    with (state / "daemon.log").open("ab") as log:
        process = subprocess.Popen(_command(*words), stdout=subprocess.PIPE, stderr=log, env=_environment(), cwd=ROOT)
    if process.stdout is None:
        raise RuntimeError("a process started with a pipe has none")
    if process.stdout.readline() != b"ready\n":
        process.kill()
        raise RuntimeError("the daemon did not start:\n" + (state / "daemon.log").read_text()[-4000:])
    return process, time.perf_counter() - begun


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(*words: str) -> None:
    subprocess.run(_command(*words), check=True, env=_environment(), cwd=ROOT, capture_output=True)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "reconciler.cli.main", *words]


def _environment() -> dict[str, str]:
    # an installed package has its modules compiled
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""}
