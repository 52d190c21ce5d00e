from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.kubelet.security import PodPolicy
from cluster.kubelet.volumes.claims import REMOVED_KEPT_S, claim_directory, directories, remove_old, set_aside
from cluster.kubelet.volumes.content import VolumeError
from cluster.resources.local_path import DRIVER

CLAIM = {"metadata": {"uid": "u1"}}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def volume(handle: str = "pvc-u1", **spec: Any) -> dict[str, Any]:
    return {"spec": {"claimRef": {"uid": "u1"}, "csi": {"driver": DRIVER, "volumeHandle": handle}} | spec}


def test_a_claims_directory_is_made_once_and_open_to_the_pods_user(tmp_path: Path) -> None:
    path = claim_directory(CLAIM, volume(), "d", PodPolicy(), root=tmp_path)
    assert path == tmp_path / "local-path" / "pvc-u1"
    assert path.stat().st_mode & 0o777 == 0o777
    (path / "kept").touch()
    assert (claim_directory(CLAIM, volume(), "d", PodPolicy(), root=tmp_path) / "kept").exists()
    assert list(directories(tmp_path)) == ["pvc-u1"]


@pytest.mark.parametrize(
    ("claim", "found", "message"),
    [
        (None, None, "does not exist"),
        (CLAIM, None, "not bound"),
        (CLAIM, volume(claimRef={"uid": "another"}), "not bound"),
        (CLAIM, volume("../../etc"), "not a name"),
        (CLAIM, volume(".removed-x"), "not a name"),
        (CLAIM, volume(volumeMode="Block"), "block volumes"),
        (CLAIM, {"spec": {"claimRef": {"uid": "u1"}, "nfs": {}}}, "not supported"),
        (CLAIM, {"spec": {"claimRef": {"uid": "u1"}, "local": {"path": "/etc"}}}, "not allowed"),
    ],
)
def test_what_is_not_this_claims_own_directory_is_refused(claim: Any, found: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match=message):
        claim_directory(claim, found, "d", PodPolicy(), root=tmp_path)


def test_a_removed_volume_is_kept_a_day_and_comes_back_with_its_volume(tmp_path: Path) -> None:
    path = claim_directory(CLAIM, volume(), "d", PodPolicy(), root=tmp_path)
    (path / "data").touch()
    set_aside(tmp_path, "pvc-u1", NOW)
    assert not directories(tmp_path)
    remove_old(tmp_path, NOW + timedelta(seconds=REMOVED_KEPT_S - 1))
    assert (claim_directory(CLAIM, volume(), "d", PodPolicy(), root=tmp_path) / "data").exists()
    set_aside(tmp_path, "pvc-u1", NOW)
    remove_old(tmp_path, NOW + timedelta(seconds=REMOVED_KEPT_S + 1))
    assert not list((tmp_path / "local-path").iterdir())
