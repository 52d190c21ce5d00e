"""A host that systemd has booted: a container with a minimal Debian, this checkout and its interpreter mounted read-only.

The image is made once, by debootstrap from the package source that this machine itself uses, and kept under a tag that names
its recipe.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv" / "bin" / "python"
PACKAGES = "systemd,python3"
"""python3 is for its libraries: the checkout's own interpreter links to the same ones."""
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/i18n",
    "var/cache/apt",
    "var/lib/apt/lists",
)
RECONCILER = ("env", f"PYTHONPATH={ROOT}", str(PYTHON), "-m", "reconciler.cli.main")
REPOSITORY = "reconciler-tests/systemd"
DEADLINE_S = 30.0


class Host:
    """Commands in the container, as root."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *words: str, code: int | None = 0) -> str:
        """Standard output; `code` None takes any exit status."""
        finished = subprocess.run(["docker", "exec", self.name, *words], capture_output=True, text=True, timeout=120)
        if code is not None and finished.returncode != code:
            raise AssertionError(f"{words}: {finished.returncode}\n{finished.stdout}\n{finished.stderr}")
        return finished.stdout + finished.stderr if code != 0 else finished.stdout

    def reconciler(self, *words: str, code: int | None = 0) -> str:
        return self.run(*RECONCILER, *words, code=code)

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" > "$1"', "sh", path, text)

    def shown(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", f"--property={name}", "--value", unit).strip()

    def pid(self, unit: str) -> int:
        return int(self.shown(unit, "MainPID"))

    def kill(self, pid: int, signal: str) -> None:
        self.run("sh", "-c", f"kill -{signal} {pid}")

    def journal(self, *words: str) -> str:
        return self.run("journalctl", "--no-pager", *words)


def until(question: Callable[[], object], what: str) -> None:
    """Ask until the answer is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not question():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {DEADLINE_S:g} s")
        time.sleep(0.1)


@contextmanager
def booted_host() -> Iterator[Host]:
    name = f"reconciler-systemd-{uuid.uuid4().hex[:8]}"
    mounts = [ROOT, PYTHON.parents[1].resolve(), *_outside_usr(Path(sys.base_prefix).resolve())]
    options = [f"--volume={path}:{path}:ro" for path in sorted(set(mounts))]
    options += [
        f"--volume={Path(shutil.which(tool) or tool).resolve()}:/usr/bin/{tool}:ro" for tool in ("git", "kubectl")
    ]
    options += [f"--volume={_git_programs()}:/usr/lib/git-core:ro", *_control_groups()]
    # PTRACE: systemd looks into /proc of a process that it hides from others.
    options += [f"--cap-add={name}" for name in ("SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE")]
    options += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
    options += ["--tmpfs=/run", "--tmpfs=/tmp", "--env=container=docker"]
    _docker("run", "--detach", f"--name={name}", *options, _image(), "/lib/systemd/systemd")
    try:
        host = Host(name)
        until(lambda: "running" in host.run("systemctl", "is-system-running", code=None), "systemd has booted")
        yield host
    finally:
        _docker("rm", "--force", "--volumes", name)


def _outside_usr(prefix: Path) -> list[Path]:
    """The interpreter's own directory; that of the system is in the image."""
    return [] if prefix == Path("/usr") else [prefix]


def _git_programs() -> str:
    return subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()


def _control_groups() -> list[str]:
    named = Path("/sys/fs/cgroup/systemd")
    if named.is_dir():
        return [f"--volume={named}:{named}:rw"]
    return ["--cgroupns=host", "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw"]


def _image() -> str:
    """The tag of the image, made now if this machine has none yet."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    recipe = "\n".join([codename, PACKAGES, *NOT_NEEDED])
    tag = f"{REPOSITORY}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if subprocess.run(["docker", "image", "inspect", tag], capture_output=True).returncode == 0:
        return tag
    with tempfile.TemporaryDirectory() as directory:
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", codename, directory, _package_source()]
        finished = subprocess.run(command, capture_output=True, text=True, env=_with_system_programs())
        if finished.returncode:
            raise AssertionError(f"debootstrap: {finished.stdout[-2000:]}{finished.stderr[-2000:]}")
        for path in NOT_NEEDED:
            shutil.rmtree(Path(directory) / path, ignore_errors=True)
        with subprocess.Popen(["tar", "-C", directory, "-c", "."], stdout=subprocess.PIPE) as archive:
            subprocess.run(["docker", "import", "-", tag], stdin=archive.stdout, capture_output=True, check=True)
    return tag


def _package_source() -> str:
    """The first one that this machine's package manager reads."""
    command = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def _with_system_programs() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def _docker(*words: str) -> None:
    finished = subprocess.run(["docker", *words], capture_output=True, text=True)
    if finished.returncode:
        raise AssertionError(f"docker {' '.join(words)}: {finished.stderr}")
