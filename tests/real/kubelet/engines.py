"""A second Docker engine of a test's own, in a network namespace of its own, that may be stopped and started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cluster.kubelet.volumes.mounts import SystemMounter, mounts_below


class Engine:
    """`dockerd` with its own data; the machine's engine and its containers are not touched."""

    def __init__(self) -> None:
        # Not below pytest's: the name of a socket has at most 107 bytes, and its containerd adds some.
        self._directory = directory = Path(tempfile.mkdtemp(prefix="n2-"))
        self.socket = str(directory / "docker.sock")
        self._namespace = f"n2-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        subprocess.run(["ip", "netns", "add", self._namespace], check=True)

    def start(self) -> None:
        """Return once it answers."""
        directory = self._directory
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "nsenter", f"--net=/run/netns/{self._namespace}", "dockerd", "--host", f"unix://{self.socket}",
                    "--data-root", str(directory / "data"), "--exec-root", str(directory / "run"),
                    "--pidfile", str(directory / "pid"), "--bridge", "none", "--iptables=false", "--ip-forward=false",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "-H", f"unix://{self.socket}", "version"], capture_output=True).returncode:
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((directory / "log").read_text()[-2000:])
            time.sleep(0.1)

    def stop(self) -> None:
        """It stops its containers first."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=60)
            self._process = None

    def kill(self) -> None:
        """The engine dies; its containers go on until the next one ends them."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for pid in self._processes("containerd"):
            os.kill(pid, signal.SIGKILL)
        # A dead containerd that nobody has waited for looks alive to the next engine.
        (self._directory / "run" / "containerd" / "containerd.pid").unlink(missing_ok=True)

    def docker(self, *words: str) -> str:
        done = subprocess.run(["docker", "-H", f"unix://{self.socket}", *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"docker {words[0]}: {done.stderr}")
        return done.stdout

    def close(self) -> None:
        self.stop()
        for pid in self._processes("containerd-shim-runc-v2"):
            for inner in (pid, *_children(pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(inner, signal.SIGKILL)
        for path in mounts_below(self._directory):
            SystemMounter().unmount(path)
        shutil.rmtree(self._directory)
        subprocess.run(["ip", "netns", "del", self._namespace], check=False)

    def _processes(self, program: str) -> list[int]:
        """Those of our own engine: they are told its directory."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name, *words = (entry / "cmdline").read_bytes().decode().split("\0")
                if Path(name).name == program and any(word.startswith(f"{self._directory}/") for word in words):
                    found.append(int(entry.name))
        return found


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    return []
