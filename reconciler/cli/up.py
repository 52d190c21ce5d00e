"""`reconciler up`: from nothing to running, reachable containers, with one command.

Prepares a Docker engine and a source, starts the daemon, shows each transition until every application is healthy, and
says how to go on.  The daemon is always a process of its own: this command only watches it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.cli import demo, engine, process
from reconciler.cli.exit_codes import CommandError, Exit

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
EXAMPLE = "apps/web/web.yaml"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", nargs="?", help="a Git URL, a local repository or a folder of manifests (default: the examples)"
    )
    parser.add_argument("--path", default="", help="the folder inside the source to deploy (default: all of it)")
    parser.add_argument("--ref", default="", help="a branch or a full commit id (default: the source's HEAD)")
    parser.add_argument(
        "--state", type=Path, default=Path(".reconciler"), help="where state is kept (default: %(default)s)"
    )
    parser.add_argument("--detach", action="store_true", help="return once every application is healthy")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--runtime", choices=("docker", "simulated"), default="docker", help="what runs containers")
    parser.add_argument("--no-install", action="store_true", help="never install or start an engine")
    parser.add_argument("--port", type=int, default=0, help="the API's port (default: 6443, or a free one)")
    parser.add_argument("--store", default="", help="etcd://HOST:PORT (default: SQLite in the state directory)")
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds to wait for health (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Exit codes: 0 healthy, 1 not healthy in time, 3 failed, 4 containers cannot run here."""
    progress = Progress()
    state_dir: Path = args.state.resolve()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    daemon: subprocess.Popen[bytes] | None = None
    running = process.find_running(state_dir)
    if running is None:
        sudo = False
        if args.runtime == "docker":
            engine.prepare_engine(state_dir, install=not args.no_install, say=progress.say)
            sudo = _needs_sudo()
        source, path = _prepare_source(args, state_dir, progress.say, sudo=sudo)
        options = ["--source", source, "--path", path, "--runtime", args.runtime]
        options += ["--ref", args.ref] if args.ref else []
        options += ["--port", str(args.port)] if args.port else []
        options += ["--store", args.store] if args.store else []
        progress.say("starting the control plane, one node and the daemon")
        daemon = process.start_daemon(state_dir, options, sudo=sudo)
        running = _await_ready(state_dir, daemon)
    else:
        progress.say(f"already running (pid {running.pid})")
    progress.say(f"API ready; runtime {running.runtime}")
    from reconciler.cli.watch_up import Summary, watch_until_healthy

    summary: Summary = asyncio.run(
        watch_until_healthy(
            running.kubeconfig,
            progress.say,
            timeout_s=args.timeout,
            alive=lambda: process.is_daemon(running.pid),
            reachable=running.runtime != "simulated",
        )
    )
    if args.json:
        print(
            json.dumps(
                {
                    "pid": running.pid,
                    "kubeconfig": str(running.kubeconfig),
                    "repository": running.repository,
                    "url": summary.url,
                    "runtime": running.runtime,
                    "commit": summary.commit,
                    "applications": [
                        {"name": app.name, "sync": app.sync, "health": app.health, "revision": app.revision}
                        for app in summary.applications
                    ],
                }
            )
        )
    else:
        _say_how_to_go_on(running, summary)
    if not summary.healthy:
        print(f"not every application is healthy after {args.timeout:g} s: {summary.waiting_for}", file=sys.stderr)
        if args.detach:
            return Exit.DIFFERS
    if args.detach or daemon is None:
        return Exit.OK
    return _stay(daemon, running)


class Progress:
    """Narration on standard error: one line a transition, with the seconds since the start."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f}s  {text}", file=sys.stderr, flush=True)


def _needs_sudo() -> bool:
    """The node's agent makes network interfaces and packet rules: that takes root."""
    if os.geteuid() == 0:
        return False
    if shutil.which("sudo") is None:
        raise CommandError(
            "the node agent needs root for pod networking, and there is no sudo",
            hint="run this as root, or choose simulated containers with --runtime simulated",
            code=Exit.NO_RUNTIME,
        )
    if not sys.stdin.isatty() and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode:
        raise CommandError(
            "the node agent needs root for pod networking, and sudo would ask for a password",
            hint="run this in a terminal or as root, or choose --runtime simulated",
            code=Exit.NO_RUNTIME,
        )
    print("the node agent needs root for pod networking: running it through sudo", file=sys.stderr)
    return True


def _prepare_source(
    args: argparse.Namespace, state_dir: Path, say: Callable[[str], None], *, sudo: bool
) -> tuple[str, str]:
    """The source and the path in it; without one, the examples as the user's own repository."""
    if args.source is not None:
        local = Path(args.source)
        return (str(local.resolve()) if local.exists() else args.source), args.path
    repository = demo.make_repository(state_dir)
    if args.runtime == "docker" and demo.make_image(state_dir, sudo=sudo):
        say(f"made the image {demo.IMAGE} from this host's Python")
    say(f"the examples are a Git repository of yours: {repository}")
    return str(repository), args.path or "apps"


def _await_ready(state_dir: Path, daemon: subprocess.Popen[bytes]) -> process.Running:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while (running := process.find_running(state_dir)) is None:
        if (code := daemon.poll()) is not None:
            raise CommandError(
                f"the daemon ended with status {code}:\n{process.last_lines(state_dir, 20)}",
                hint=f"its log: {state_dir / process.LOG_FILE}",
                code=Exit(code) if code in (Exit.USAGE, Exit.NO_RUNTIME) else Exit.FAILED,
            )
        if time.monotonic() > deadline:
            daemon.terminate()
            raise CommandError(
                f"the daemon was not ready within {READY_TIMEOUT_S:g} s:\n{process.last_lines(state_dir, 20)}",
                hint=f"its log: {state_dir / process.LOG_FILE}",
            )
        time.sleep(0.02)
    return running


def _say_how_to_go_on(running: process.Running, summary: object) -> None:
    from reconciler.cli.watch_up import Summary

    assert isinstance(summary, Summary)
    command = "./dev run" if (Path.cwd() / "dev").exists() else "reconciler"
    if summary.url:
        print(f"\nOpen   {summary.url}")
    print(f"\nexport KUBECONFIG={running.kubeconfig}\n\nTry:")
    print("\n".join(f"  {step}" for step in next_steps(Path(running.repository), command)))


def next_steps(source: Path, command: str) -> list[str]:
    """What to try: everywhere look; in a Git repository here revert; in the examples' change something."""
    steps = ["kubectl get pods,services -A"]
    if not (source / ".git").exists():
        return [*steps, f"{command} status"]
    if (source / EXAMPLE).is_file():
        edit = f'sed -i \'s/Hello/Good day/; s/value: "1"/value: "2"/\' {EXAMPLE}'
        steps.append(f"(cd {source} && {edit} && git commit -am 'Greet politely') && kubectl get pods -w")
    return [*steps, f"(cd {source} && git revert --no-edit HEAD) && {command} history"]


def _stay(daemon: subprocess.Popen[bytes], running: process.Running) -> int:
    """Stay in the foreground until interrupted or the daemon ends by itself."""
    print("\nCtrl-C stops the daemon; containers keep running.", file=sys.stderr, flush=True)
    stopping = False

    def interrupted(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    while not stopping:
        try:
            code = daemon.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        raise CommandError(f"the daemon ended with status {code}; its log tells why")
    stopped = process.stop_daemon(running.pid, timeout_s=STOP_TIMEOUT_S)
    print(
        "\nstopped; the applications' containers keep running.\n"
        "`up` again adopts them, `down --purge` removes them, their rules and the state."
        if stopped
        else f"\nthe daemon (pid {running.pid}) has not stopped within {STOP_TIMEOUT_S:g} s",
        file=sys.stderr,
    )
    return Exit.OK if stopped else Exit.FAILED
