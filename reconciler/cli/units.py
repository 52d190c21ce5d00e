"""What `service install` puts on a host, as values: units, their settings files, the user.  Decides; touches nothing.

The sources are the files of `systemd/`.  A source may hold two marks: `@PROGRAM@`, the command of this installation, and
`@PROGRAM_SETTINGS@`, the lines that this installation and its source of manifests need.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

UNIT_DIR = PurePosixPath("/etc/systemd/system")
SETTINGS_DIR = PurePosixPath("/etc/reconciler")
SYSUSERS = PurePosixPath("/etc/sysusers.d/reconciler.conf")
TMPFILES = PurePosixPath("/etc/tmpfiles.d/reconciler.conf")
HIDDEN = tuple(map(PurePosixPath, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
"""What ProtectHome= and PrivateTmp= hide from the server."""

ROLES = ("server", "agent")
"""In the order they are started."""
STATE_DIRS = {"server": PurePosixPath("/var/lib/reconciler"), "agent": PurePosixPath("/var/lib/reconciler-agent")}


@dataclass(frozen=True, slots=True)
class Program:
    """How this installation is run.  `import_path` is set where it is a checkout; `directories` hold its code."""

    python: PurePosixPath
    import_path: str
    directories: tuple[PurePosixPath, ...]
    version: str


@dataclass(frozen=True, slots=True)
class File:
    """A change of it asks for a restart of `unit`, where that is named."""

    path: PurePosixPath
    content: str
    unit: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to write, then commands to run, each in order.  Both empty: everything is as it should be."""

    writes: tuple[File, ...]
    commands: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Present:
    """What the host has: the content of the files that concern us, and which of our units are enabled and active."""

    files: Mapping[PurePosixPath, str]
    enabled: frozenset[str]
    active: frozenset[str]


def unit_name(role: str) -> str:
    return f"reconciler-{role}.service"


def settings_file(role: str) -> PurePosixPath:
    return SETTINGS_DIR / f"{role}.env"


def files_of(
    roles: Collection[str],
    program: Program,
    *,
    settings: Mapping[str, Mapping[str, str]],
    sources: Mapping[str, str],
    present: Present,
) -> tuple[File, ...]:
    """Every file of these roles.  `settings` are variables to set for a role; others that stand in its file stay.

    `sources` are the files of `systemd/` by name.
    """
    files = []
    if "server" in roles:
        files += [File(SYSUSERS, sources["sysusers.conf"]), File(TMPFILES, sources["tmpfiles.conf"])]
    for role in ROLES:
        if role not in roles:
            continue
        path = settings_file(role)
        text = with_variables(present.files.get(path, ""), settings.get(role, {}))
        unit = unit_name(role)
        readable = [*program.directories, *_local(variables_of(text).get("RECONCILER_SOURCE", ""))]
        lines = program_settings(program, readable if role == "server" else ())
        content = sources[unit].replace("@PROGRAM_SETTINGS@\n", "".join(f"{line}\n" for line in lines))
        files.append(File(UNIT_DIR / unit, content.replace("@PROGRAM@", command_of(program)), unit=unit))
        if text:
            files.append(File(path, text, unit=unit, mode=0o640))
    return tuple(files)


def plan_install(files: Sequence[File], present: Present) -> Plan:
    """What has to be written and run; a unit whose files stay as they are is not restarted."""
    writes = tuple(file for file in files if present.files.get(file.path) != file.content)
    written = {file.path for file in writes}
    units = [unit_name(role) for role in ROLES if any(file.unit == unit_name(role) for file in files)]
    changed = {file.unit for file in writes}
    commands: list[tuple[str, ...]] = []
    if SYSUSERS in written:
        commands.append(("systemd-sysusers", str(SYSUSERS)))
    if TMPFILES in written:
        commands.append(("systemd-tmpfiles", "--create", str(TMPFILES)))
    if any(path.parent == UNIT_DIR for path in written):
        commands.append(("systemctl", "daemon-reload"))
    if missing := [unit for unit in units if unit not in present.enabled]:
        commands.append(("systemctl", "enable", *missing))
    for unit in units:
        if unit not in present.active:
            commands.append(("systemctl", "start", unit))
        elif unit in changed:
            commands.append(("systemctl", "restart", unit))
    return Plan(writes, tuple(commands))


def program_settings(program: Program, readable: Collection[PurePosixPath]) -> list[str]:
    """Lines for [Service]: where the code is, and what of the hidden directories is read all the same."""
    # systemd passes over X-...; another version is another unit, which is restarted.
    lines = [f"X-Reconciler-Version={program.version}"]
    if program.import_path:
        lines.append(f"Environment={_quoted('PYTHONPATH=' + program.import_path)}")
    hidden = sorted({path for path in readable if any(path.is_relative_to(each) for each in HIDDEN)})
    # What lies in another one is there with it.
    outer = [path for path in hidden if not any(path != each and path.is_relative_to(each) for each in hidden)]
    return [*lines, *(f"BindReadOnlyPaths={_quoted(str(path))}" for path in outer)]


def command_of(program: Program) -> str:
    return f"{_quoted(str(program.python)).replace('$', '$$')} -P -m reconciler.cli.main"


def with_variables(text: str, changes: Mapping[str, str]) -> str:
    """An environment file with these variables set; what else stands in it stays.  Source: systemd.exec(5)."""
    lines = text.splitlines()
    for name in sorted(changes):
        line = f"{name}={_env_quoted(changes[name])}"
        at = [number for number, old in enumerate(lines) if old.partition("=")[0].strip() == name]
        if at:
            lines[at[-1]] = line
        else:
            lines.append(line)
    return "".join(f"{line}\n" for line in lines)


def variables_of(text: str) -> dict[str, str]:
    """The variables of an environment file as `with_variables` writes them; of one written by hand, the plain ones."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            value = value.strip()
            if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            found[name.strip()] = value
    return found


def _local(source: str) -> tuple[PurePosixPath, ...]:
    return (PurePosixPath(source),) if source.startswith("/") else ()


def _quoted(text: str) -> str:
    """One word of a unit, with nothing in it expanded."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if re.search(r"[\s\"';\\]", escaped) else escaped


def _env_quoted(value: str) -> str:
    escaped = re.sub(r'(["\\`$])', r"\\\1", value)
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./:@+=,-]", value) else value


def source_directory(package: Path) -> Path:
    """Where the unit sources are: inside an installed package, beside it in a checkout."""
    shipped = package / "systemd"
    return shipped if shipped.is_dir() else package.parent / "systemd"
