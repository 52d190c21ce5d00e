"""`reconciler service`: install, show or remove the two systemd services, server and agent.

Installing again changes what differs and restarts only that.  Removing leaves the state, unless --purge asks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from reconciler.cli import units
from reconciler.cli.columns import table
from reconciler.cli.exit_codes import CommandError, Exit
from reconciler.cli.version import version

SHOWN = ("ActiveState", "SubState", "MainPID", "NRestarts", "StatusText")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("install", "uninstall", "status"), help="what to do with the services")
    parser.add_argument("--role", choices=units.ROLES, help="only this one of the two services")
    parser.add_argument("--source", help="install: a Git URL, a local repository or a folder to deploy")
    parser.add_argument("--path", help="install: the folder inside the source (default: all of it)")
    parser.add_argument("--ref", help="install: a branch or a full commit id (default: the source's HEAD)")
    parser.add_argument("--runtime", choices=("docker", "simulated"), help="install: what runs containers")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and do nothing")
    parser.add_argument(
        "--purge", action="store_true", help="uninstall: remove containers, packet rules, network, settings and state"
    )


def run(args: argparse.Namespace) -> int:
    roles = (args.role,) if args.role else units.ROLES
    _refuse_what_belongs_elsewhere(args)
    if args.action == "status":
        return _status(roles)
    if not args.dry_run and os.geteuid() != 0:
        raise CommandError(f"only root can {args.action} services", hint="use sudo, or look with --dry-run")
    if not args.dry_run and not Path("/run/systemd/system").is_dir():
        raise CommandError("this host was not started by systemd", hint="`reconciler up` needs no service manager")
    return _install(args, roles) if args.action == "install" else _uninstall(args, roles)


def _refuse_what_belongs_elsewhere(args: argparse.Namespace) -> None:
    of_install = ("source", "path", "ref", "runtime")
    if args.action != "install" and (given := [name for name in of_install if getattr(args, name) is not None]):
        raise CommandError(f"--{given[0]} is an option of `service install`", code=Exit.USAGE)
    if args.action != "uninstall" and args.purge:
        raise CommandError("--purge is an option of `service uninstall`", code=Exit.USAGE)
    if args.action == "status" and args.dry_run:
        raise CommandError("`service status` changes nothing anyway: leave --dry-run out", code=Exit.USAGE)


def _install(args: argparse.Namespace, roles: Sequence[str]) -> int:
    directory = units.source_directory(Path(__file__).resolve().parents[1])
    sources = {path.name: path.read_text() for path in sorted(directory.iterdir())}
    present = _present(roles)
    files = units.files_of(roles, _program(), settings=_settings(args), sources=sources, present=present)
    plan = units.plan_install(files, present)
    if args.dry_run:
        for file in plan.writes:
            print(f"# would write {file.path}\n{file.content}")
        _print_commands(plan.commands)
        return Exit.OK
    for file in plan.writes:
        _write(file)
        _say(f"wrote {file.path}")
    for command in plan.commands:
        _carry_out(command)
    if not plan.writes and not plan.commands:
        _say("nothing to do: the services are installed and run")
    return _status(roles)


def _uninstall(args: argparse.Namespace, roles: Sequence[str]) -> int:
    present = _present(roles)
    paths = [units.UNIT_DIR / units.unit_name(role) for role in roles]
    # The user and its files belong to the server.
    paths += [units.SYSUSERS, units.TMPFILES] if "server" in roles else []
    found = [path for path in paths if path in present.files]
    stop = [units.unit_name(role) for role in reversed(roles) if units.UNIT_DIR / units.unit_name(role) in found]
    if args.dry_run:
        _print_commands([("systemctl", "disable", "--now", *stop)] if stop else [])
        print("".join(f"# would remove {path}\n" for path in [*found, *(_state(roles) if args.purge else [])]), end="")
        return Exit.OK
    if stop:
        _carry_out(("systemctl", "disable", "--now", *stop))
    for path in found:
        Path(path).unlink(missing_ok=True)
        _say(f"removed {path}")
    if found:
        _carry_out(("systemctl", "daemon-reload"))
    if args.purge:
        _purge(roles)
    else:
        kept = ", ".join(str(path) for path in _state(roles) if Path(path).exists())
        _say(f"containers keep running; kept: {kept or 'nothing'} (`service uninstall --purge` removes all of it)")
    return Exit.OK


def _state(roles: Sequence[str]) -> list[PurePosixPath]:
    return [units.STATE_DIRS[role] for role in roles] + [units.settings_file(role) for role in roles]


def _purge(roles: Sequence[str]) -> None:
    from reconciler.cli.down import purge

    for role in reversed(roles):
        state_dir = Path(units.STATE_DIRS[role])
        if state_dir.is_dir():
            # A server makes nothing on the host but its state.
            purge(state_dir, host=role == "agent")
        Path(units.settings_file(role)).unlink(missing_ok=True)
    settings_dir = Path(units.SETTINGS_DIR)
    if settings_dir.is_dir() and not any(settings_dir.iterdir()):
        settings_dir.rmdir()


def _status(roles: Sequence[str]) -> int:
    """One row a service; exits 1 when one of them does not run."""
    if shutil.which("systemctl") is None:
        raise CommandError("this host has no systemd")
    rows, good = [], True
    for role in roles:
        command = ["systemctl", "show", f"--property={','.join(SHOWN)}", units.unit_name(role)]
        shown = subprocess.run(command, capture_output=True, text=True)
        if shown.returncode:
            raise CommandError(f"systemctl does not answer: {shown.stderr.strip()}")
        values = units.variables_of(shown.stdout)
        state = f"{values.get('ActiveState', 'unknown')} ({values.get('SubState', '')})"
        good = good and values.get("ActiveState") == "active"
        rows.append((units.unit_name(role), state, *(values.get(name, "") for name in SHOWN[2:])))
    print(table(("SERVICE", "STATE", "PID", "RESTARTS", "STATUS"), rows))
    return Exit.OK if good else Exit.DIFFERS


def _settings(args: argparse.Namespace) -> Mapping[str, Mapping[str, str]]:
    given = {"RECONCILER_SOURCE": args.source, "RECONCILER_PATH": args.path, "RECONCILER_REF": args.ref}
    if args.source:
        given["RECONCILER_SOURCE"] = _checked_source(args.source)
    runtime = {"RECONCILER_RUNTIME": args.runtime} if args.runtime else {}
    return {"server": {name: value for name, value in given.items() if value is not None} | runtime, "agent": runtime}


def _checked_source(source: str) -> str:
    """A local one by its full path; a URL as the daemon takes it.  Raises CommandError."""
    from reconciler.errors import StageError
    from reconciler.source.address import checked_url

    local = Path(source)
    if local.is_dir():
        return str(local.resolve())
    try:
        return checked_url(source)
    except StageError as error:
        raise CommandError(
            f"--source: {error}", hint="or name a local repository or folder", code=Exit.USAGE
        ) from error


def _program() -> units.Program:
    """The interpreter that runs now, with the environment that it belongs to."""
    package = Path(__file__).resolve().parents[2]
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    directories = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(sys.prefix), package}
    return units.Program(
        python=PurePosixPath(sys.executable),
        import_path="" if package in installed else str(package),
        directories=tuple(sorted(PurePosixPath(path) for path in directories)),
        version=version(),
    )


def _present(roles: Sequence[str]) -> units.Present:
    names = [units.unit_name(role) for role in roles]
    paths = [units.SYSUSERS, units.TMPFILES, *(units.UNIT_DIR / name for name in names)]
    paths += [units.settings_file(role) for role in roles]
    files = {path: Path(path).read_text() for path in paths if Path(path).is_file()}
    return units.Present(files, enabled=_that_are("is-enabled", names), active=_that_are("is-active", names))


def _that_are(question: str, names: Sequence[str]) -> frozenset[str]:
    if shutil.which("systemctl") is None:
        return frozenset()
    answers = {name: subprocess.run(["systemctl", question, "--quiet", name], capture_output=True) for name in names}
    return frozenset(name for name, answer in answers.items() if answer.returncode == 0)


def _write(file: units.File) -> None:
    from cluster.base.files import write_atomically

    path = Path(file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, file.content.encode(), mode=file.mode)


def _carry_out(command: Sequence[str]) -> None:
    _say(" ".join(command))
    finished = subprocess.run(command, stdout=sys.stderr.fileno())
    if finished.returncode:
        unit = command[-1]
        hint = f"its log: journalctl -u {unit} -n 30" if unit.endswith(".service") else ""
        raise CommandError(f"{' '.join(command)}: exit status {finished.returncode}", hint=hint)


def _print_commands(commands: Sequence[Sequence[str]]) -> None:
    for command in commands:
        print(f"# would run {' '.join(command)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
