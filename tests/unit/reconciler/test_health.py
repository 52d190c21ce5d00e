"""Health: a table of cases, one rule per kind, and the worst of the parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.health.rules import health_of
from reconciler.health.status import worst
from reconciler.model import Health, HealthStatus

CASES = yaml.safe_load((Path(__file__).parent / "health_cases.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['kind']}-{case['is']}")
def test_the_status_of_an_object_says_how_it_is(case: dict[str, Any]) -> None:
    api_version, kind = case["kind"].split()
    obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "generation": case.get("generation", 1)}}
    found = health_of(obj | {part: case[part] for part in ("spec", "status") if part in case})
    assert found.health == case["is"]
    if "says" in case:
        assert found.message == case["says"]


def test_what_should_exist_and_does_not_is_missing() -> None:
    assert health_of(None).health is Health.MISSING


def test_what_is_being_deleted_is_progressing() -> None:
    obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }
    assert health_of(obj).health is Health.PROGRESSING


def test_the_worst_part_decides_and_no_parts_are_healthy() -> None:
    bad, slow = HealthStatus(Health.DEGRADED, "bad"), HealthStatus(Health.PROGRESSING, "slow")
    assert worst([slow, bad, HealthStatus(Health.HEALTHY)]) is bad
    assert worst([]).health is Health.HEALTHY
