"""The units as `service install` writes them and systemd reads them."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from reconciler.cli.units import Present, Program, files_of, source_directory

ROOT = Path(__file__).resolve().parents[3]
SERVER, AGENT = "reconciler-server.service", "reconciler-agent.service"
EXPOSURE_MAX = {SERVER: 15, AGENT: 54}
"""Tenths of systemd's exposure level.  The agent needs the host's network and mounts, so its cannot be small."""

MOUNT_NAMESPACE = re.compile(
    r"^(?:Private(?:Tmp|Devices|Mounts)|Protect(?:System|Home|Proc|KernelTunables|KernelModules|KernelLogs|ControlGroups)"
    r"|ProcSubset|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|TemporaryFileSystem|Bind\w*Paths|Root\w+|MountFlags"
    r"|DynamicUser)=",
    re.MULTILINE,
)
"""Options that take the service's mounts away from the host (systemd.exec(5), MountFlags=)."""


@pytest.fixture
def units(tmp_path: Path) -> dict[str, Path]:
    """The units of an installation below a home directory, the longest way to write them."""
    directory = source_directory(ROOT / "reconciler")
    sources = {path.name: path.read_text() for path in directory.iterdir()}
    # Any program that is there satisfies `verify`.
    program = Program(PurePosixPath("/bin/true"), "/root/code", (PurePosixPath("/root/code"),), "1.0")
    nothing = Present({}, frozenset(), frozenset())
    for file in files_of(("server", "agent"), program, settings={}, sources=sources, present=nothing):
        (tmp_path / file.path.name).write_text(file.content)
    return {name: tmp_path / name for name in (SERVER, AGENT)}


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", [SERVER, AGENT])
def test_systemd_finds_no_fault_with_a_unit(units: dict[str, Path], name: str) -> None:
    finished = subprocess.run(["systemd-analyze", "verify", str(units[name])], capture_output=True, text=True)
    told = [line for line in finished.stderr.splitlines() if name in line]
    assert (finished.returncode, told) == (0, [])


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", [SERVER, AGENT])
def test_a_unit_gives_away_no_more_than_its_role_needs(units: dict[str, Path], name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX[name]}", "--no-pager"]
    finished = subprocess.run([*command, str(units[name])], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout.splitlines()[-1:]


def test_volumes_that_the_agent_mounts_are_seen_by_the_engine(units: dict[str, Path]) -> None:
    assert not MOUNT_NAMESPACE.findall(units[AGENT].read_text())


def test_the_server_has_no_capability_and_is_not_root(units: dict[str, Path]) -> None:
    service = service_of(units[SERVER])
    assert (service["User"], service["CapabilityBoundingSet"], service["NoNewPrivileges"]) == ("reconciler", "", "yes")


def test_a_stopped_agent_leaves_the_containers_and_gets_time_to_stop(units: dict[str, Path]) -> None:
    service = service_of(units[AGENT])
    assert (service["KillMode"], service["TimeoutStopSec"], service["OOMPolicy"]) == ("mixed", "30", "continue")


def test_each_role_has_its_own_state_and_its_watchdog(units: dict[str, Path]) -> None:
    server, agent = service_of(units[SERVER]), service_of(units[AGENT])
    assert (server["StateDirectory"], agent["StateDirectory"]) == ("reconciler", "reconciler-agent")
    assert {(each["Type"], each["WatchdogSec"], each["Restart"]) for each in (server, agent)} == {
        ("notify", "30", "always")
    }


def service_of(path: Path) -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    return unit["Service"]
