"""The service unit as systemd reads it."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "systemd" / "reconciler.service"
EXPOSURE_MAX = 62
"""Tenths of systemd's exposure level; it needs a host's network and mounts, so it cannot be small."""

MOUNT_NAMESPACE = re.compile(
    r"^(?:Private(?:Tmp|Devices|Mounts)|Protect(?:System|Home|Proc|KernelTunables|KernelModules|KernelLogs|ControlGroups)"
    r"|ProcSubset|ReadOnlyPaths|ReadWritePaths|InaccessiblePaths|TemporaryFileSystem|Bind\w*Paths|Root\w+|MountFlags"
    r"|DynamicUser)=",
    re.MULTILINE,
)
"""Options that take the service's mounts away from the host (systemd.exec(5), MountFlags=)."""


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_no_fault_with_the_unit() -> None:
    finished = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True)
    told = [line for line in finished.stderr.splitlines() if UNIT.name in line]
    assert (finished.returncode, told) == (0, [])


@pytest.mark.needs("systemd-analyze")
def test_the_unit_gives_away_no_more_than_the_node_needs() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", str(UNIT)]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout.splitlines()[-1:]


def test_volumes_that_the_node_mounts_are_seen_by_the_engine() -> None:
    assert not MOUNT_NAMESPACE.findall(UNIT.read_text())


def test_a_stopped_service_leaves_the_containers_and_gets_time_to_stop() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    assert (service["KillMode"], service["TimeoutStopSec"], service["OOMPolicy"]) == ("mixed", "30", "continue")
    assert "--state /var/lib/reconciler" in service["ExecStart"]
    assert service["StateDirectory"] == "reconciler"
