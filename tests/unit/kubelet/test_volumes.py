from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

from cluster.kubelet.downward import Placement
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.sources import Sources
from cluster.kubelet.volumes.atomic import File, write_payload
from cluster.kubelet.volumes.content import VolumeError, volume_files
from cluster.kubelet.volumes.host_path import host_path
from cluster.kubelet.volumes.setup import pod_directory
from cluster.kubelet.volumes.sub_path import open_inside, open_parts
from tests.unit.kubelet.shapes import pod

WHERE = Placement("n1", "192.0.2.1", "10.244.0.5", 4000, 8 << 30)


def contents(root: Path) -> dict[str, bytes]:
    names = [entry.name for entry in root.iterdir() if not entry.name.startswith("..")]
    found: dict[str, bytes] = {}
    for name in names:
        for path in [root / name] if (root / name).is_file() else (root / name).rglob("*"):
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


def test_files_appear_change_and_vanish_together(tmp_path: Path) -> None:
    root = tmp_path / "v"
    assert write_payload(root, {"a": File(b"1"), "d/b": File(b"2", 0o400)}, stamp="1")
    assert contents(root) == {"a": b"1", "d/b": b"2"}
    assert (root / "a").is_symlink()
    assert (root / "d/b").stat().st_mode & 0o777 == 0o400
    first = (root / "..data").readlink()
    assert not write_payload(root, {"a": File(b"1"), "d/b": File(b"2", 0o400)}, stamp="2")
    assert (root / "..data").readlink() == first
    assert write_payload(root, {"a": File(b"3")}, stamp="3")
    assert contents(root) == {"a": b"3"}
    assert sorted(entry.name for entry in root.iterdir()) == ["..3", "..data", "a"]


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "..data", "", "a\0b"])
def test_a_path_that_leaves_the_volume_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        write_payload(tmp_path / "v", {path: File(b"")}, stamp="1")


def test_projected_sources_share_one_directory() -> None:
    volume = {
        "name": "v",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {"configMap": {"name": "c", "items": [{"key": "k", "path": "config/k", "mode": 0o400}]}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"serviceAccountToken": {"path": "token"}},
            ],
        },
    }
    sources = Sources({"c": {"data": {"k": "v"}}}, {"s": {"data": {"p": base64.b64encode(b"w").decode()}}})
    subject = pod()
    subject["metadata"]["labels"] = {"b": 'say "hi"', "a": "1"}
    assert volume_files(volume, subject, sources, WHERE, {"token": "t"}) == {
        "config/k": File(b"v", 0o400),
        "p": File(b"w", 0o440),
        "labels": File(b'a="1"\nb="say \\"hi\\""', 0o440),
        "token": File(b"t", 0o440),
    }


def test_what_does_not_exist_is_an_error_unless_it_is_optional() -> None:
    def files(source: dict[str, Any]) -> object:
        sources = Sources({"there": {"data": {}}})
        return volume_files({"name": "v", "configMap": source}, pod(), sources, WHERE, {})

    with pytest.raises(VolumeError, match='configmap "gone" not found'):
        files({"name": "gone"})
    with pytest.raises(VolumeError, match="non-existent config key: k"):
        files({"name": "there", "items": [{"key": "k", "path": "k"}]})
    assert files({"name": "gone", "optional": True}) == {}
    assert files({"name": "there", "optional": True, "items": [{"key": "k", "path": "k"}]}) == {}


def test_a_uid_that_is_a_path_names_no_directory(tmp_path: Path) -> None:
    for uid in ("../x", "a/b", "", "."):
        with pytest.raises(VolumeError):
            pod_directory(tmp_path, uid)


def test_a_host_path_is_judged_after_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    policy = PodPolicy(host_paths=(str(tmp_path / "open"),))
    own = tmp_path / "kubelet"
    made = host_path({"path": f"{tmp_path}/open/new", "type": "DirectoryOrCreate"}, "default", policy, own_root=own)
    assert made.is_dir()
    for path in (
        f"{tmp_path}/open/link",
        f"{tmp_path}/open/link/new",
        f"{tmp_path}",
        "relative",
        f"{tmp_path}/open/../closed",
    ):
        with pytest.raises(VolumeError):
            host_path({"path": path, "type": "DirectoryOrCreate"}, "default", policy, own_root=own)
    assert not (tmp_path / "closed" / "new").exists()


@pytest.mark.parametrize("path", ["/var/run/docker.sock", "/var/run", "/var/lib/docker/volumes"])
def test_the_engines_own_places_are_never_given(tmp_path: Path, path: str) -> None:
    policy = PodPolicy(host_paths=("/",))
    with pytest.raises(VolumeError, match="give away the host"):
        host_path({"path": path}, "default", policy, own_root=tmp_path / "kubelet")


def test_the_nodes_own_state_is_given_to_nobody(tmp_path: Path) -> None:
    policy = PodPolicy(host_paths=("/",), privileged=True)
    with pytest.raises(VolumeError, match="own state"):
        host_path({"path": str(tmp_path)}, "kube-system", policy, own_root=tmp_path / "kubelet")


@pytest.mark.parametrize(
    ("kind", "fits"), [("File", False), ("Directory", True), ("Socket", False), ("", True), ("Nonsense", False)]
)
def test_a_host_paths_type_is_checked(tmp_path: Path, kind: str, fits: bool) -> None:
    (tmp_path / "d").mkdir()
    source = {"path": str(tmp_path / "d"), "type": kind}
    policy = PodPolicy(host_paths=(str(tmp_path),))
    if fits:
        assert host_path(source, "default", policy, own_root=tmp_path / "k") == tmp_path / "d"
    else:
        with pytest.raises(VolumeError):
            host_path(source, "default", policy, own_root=tmp_path / "k")


def test_a_sub_path_stays_inside_its_volume(tmp_path: Path) -> None:
    volume, outside = tmp_path / "v", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (volume / "out").symlink_to(outside)
    (volume / "abs").symlink_to("/etc")
    (volume / "dir").mkdir()
    (volume / "in").symlink_to("dir")
    for path in ("out", "out/x", "abs/passwd", "../outside", "/etc"):
        with pytest.raises(VolumeError):
            open_inside(volume, path)
    for path, wanted in (("in", "dir"), ("new/deep", "new/deep"), ("dir", "dir")):
        descriptor = open_inside(volume, path)
        try:
            assert os.path.samestat(os.fstat(descriptor), (volume / wanted).stat())
        finally:
            os.close(descriptor)
    assert list(outside.iterdir()) == []


def test_a_link_swapped_in_after_the_path_was_resolved_is_refused(tmp_path: Path) -> None:
    volume, outside = tmp_path / "v", tmp_path / "outside"
    volume.mkdir()
    (outside / "deep").mkdir(parents=True)
    (volume / "a").symlink_to(outside)
    for parts in (("a",), ("a", "deep"), ("a", "new")):
        with pytest.raises(VolumeError):
            open_parts(volume, parts, mode=0o750)
    assert [entry.name for entry in outside.iterdir()] == ["deep"]
