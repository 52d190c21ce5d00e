"""What a node remembers of its pods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.kubelet import checkpoint


def pod(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": uid, "namespace": "d", "uid": uid}, "spec": {}, "status": {"phase": "Pending"}}


def test_every_remembered_pod_is_read_with_its_address(tmp_path: Path) -> None:
    for uid in ("b", "a"):
        checkpoint.write_pod(tmp_path, pod(uid))
    checkpoint.write_address(tmp_path, "a", "10.244.0.9")
    found = checkpoint.read_pods(tmp_path)
    assert [each["metadata"]["uid"] for each in found] == ["a", "b"]
    assert [each["status"] for each in found] == [{"phase": "Pending", "podIP": "10.244.0.9"}, {"phase": "Pending"}]


def test_a_damaged_pod_is_not_among_them(tmp_path: Path) -> None:
    checkpoint.write_pod(tmp_path, pod("a"))
    (tmp_path / "pods" / "a" / "pod.json").write_text("{")
    (tmp_path / "pods" / "not a name").mkdir()
    assert checkpoint.read_pods(tmp_path) == []


def test_a_node_that_ran_nothing_remembers_nothing(tmp_path: Path) -> None:
    assert checkpoint.read_pods(tmp_path) == []
