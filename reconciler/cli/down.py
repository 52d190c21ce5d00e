"""`reconciler down`: stop the daemon; with --purge also remove everything it made on this host, and nothing else."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

from reconciler.cli import demo, engine, process
from reconciler.cli.exit_codes import CommandError, Exit

STOP_TIMEOUT_S = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=Path, default=Path(".reconciler"), help="where state is kept (default: %(default)s)"
    )
    parser.add_argument(
        "--purge", action="store_true", help="remove its containers, packet rules, network and state too"
    )


def run(args: argparse.Namespace) -> int:
    state_dir: Path = args.state.resolve()
    if args.purge and os.geteuid() != 0 and not _may_purge(state_dir):
        return _again_as_root(state_dir)
    running = process.find_running(state_dir)
    if running is not None and not process.stop_daemon(running.pid, timeout_s=STOP_TIMEOUT_S):
        raise CommandError(f"the daemon (pid {running.pid}) has not stopped within {STOP_TIMEOUT_S:g} s")
    if not args.purge:
        if running is None:
            _say("nothing is running here")
        else:
            _say("stopped; the applications' containers keep running (`down --purge` removes them)")
        return Exit.OK
    if not state_dir.is_dir():
        _say("nothing to purge: there is no state here")
        return Exit.OK
    purge(state_dir)
    return Exit.OK


def _may_purge(state_dir: Path) -> bool:
    """Everything there is ours: a daemon started through sudo leaves root's files, mounts and rules."""
    return not state_dir.is_dir() or all(entry.stat().st_uid == os.geteuid() for entry in state_dir.iterdir())


def _again_as_root(state_dir: Path) -> int:
    if shutil.which("sudo") is None:
        raise CommandError(f"{state_dir} belongs to root", hint="run this command as root")
    kept = [f"{name}={os.environ[name]}" for name in ("PYTHONPATH", "DOCKER_HOST") if name in os.environ]
    command = [sys.executable, "-m", "reconciler.cli.main", "down", "--purge", "--state", str(state_dir)]
    return subprocess.run(["sudo", "--", "env", *kept, *command], check=False).returncode


def purge(state_dir: Path, *, host: bool = True) -> None:
    """Remove the state, and before it, unless `host` is False, what it made on this host.  Nothing may run on it any more."""
    from cluster.config import SETTINGS_FILE, load_settings
    from cluster.node_runtime import purge_host

    if host and (state_dir / SETTINGS_FILE).exists():
        for line in asyncio.run(purge_host(load_settings(state_dir))):
            _say(line)
    demo.remove_image(state_dir)
    engine.stop_engine(state_dir, _say)
    repository = state_dir / "repository"
    kept = demo.has_commits_of_the_user(repository)
    # The settings go last: whatever stops this half-way, a second purge still knows what is ours.
    for entry in sorted(state_dir.iterdir(), key=lambda entry: (entry.name == SETTINGS_FILE, entry.name)):
        if entry == repository and kept:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    if kept:
        _say(f"removed all state; your repository has commits of yours and stays: {repository}")
    else:
        state_dir.rmdir()
        _say("removed all containers, rules and state")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
