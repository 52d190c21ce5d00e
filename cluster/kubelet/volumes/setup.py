"""The volumes of one pod on this host: made before its containers, refreshed while it runs, gone after it.

Layout under the kubelet's root: `pods/UID/volumes/KIND/NAME`, `pods/UID/volume-subpaths/VOLUME/CONTAINER/N`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster.kubelet.downward import Placement
from cluster.kubelet.podspec import spec_of
from cluster.kubelet.security import PodPolicy
from cluster.kubelet.sources import Sources
from cluster.kubelet.volumes.atomic import DATA, write_payload
from cluster.kubelet.volumes.claims import claim_directory
from cluster.kubelet.volumes.content import VolumeError, token_requests_of, volume_files
from cluster.kubelet.volumes.host_path import host_path
from cluster.kubelet.volumes.mounts import Mounter
from cluster.kubelet.volumes.sub_path import bind_sub_path
from cluster.kubelet.volumes.tokens import TokenSource
from cluster.machinery.objects import Obj, name_of, namespace_of, uid_of
from cluster.machinery.quantity import bytes_of

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_UID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,127}\Z")
WRITTEN_KINDS = ("configMap", "secret", "downwardAPI", "projected")


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """Where a volume lies; `read_only` when its kind never lets containers write."""

    path: Path
    read_only: bool = False


def pod_directory(root: Path, uid: str) -> Path:
    """Where everything of a pod lies.  Raises VolumeError for a uid that is no plain name."""
    if not _UID.match(uid):
        raise VolumeError("the pod's uid is not a name")
    return root / "pods" / uid


class PodVolumes:
    """Makes, refreshes and removes volumes.  Each call may be repeated."""

    def __init__(self, root: Path, *, mounter: Mounter, tokens: TokenSource, policy: PodPolicy) -> None:
        self._root = root
        self._mounter = mounter
        self._tokens = tokens
        self._policy = policy
        self._versions = 0

    async def set_up(self, pod: Obj, sources: Sources, where: Placement, *, stamp: str) -> Mapping[str, MountedVolume]:
        """Every volume of the pod by name, made or brought up to date.  Raises VolumeError naming the first that cannot be."""
        made: dict[str, MountedVolume] = {}
        requests = token_requests_of(pod)
        for volume in spec_of(pod).get("volumes") or ():
            name = str(volume.get("name", ""))
            if not _NAME.match(name):
                raise VolumeError(f"volume name {name!r} is not valid")
            tokens = {part["path"]: await self._tokens.token(pod, part) for part in requests.get(name, ())}
            try:
                made[name] = self._set_up_one(volume, pod, sources, where, tokens, stamp)
            except VolumeError as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
            except (OSError, ValueError) as error:
                raise VolumeError(f'MountVolume.SetUp failed for volume "{name}" : {error}') from error
        return made

    def made_before(self, pod: Obj) -> Mapping[str, MountedVolume] | None:
        """Every volume as an earlier `set_up` left it; None unless all of them were made.  Raises VolumeError by policy."""
        found: dict[str, MountedVolume] = {}
        for volume in spec_of(pod).get("volumes") or ():
            if (source := volume.get("hostPath")) is not None:
                path = host_path(source, namespace_of(pod), self._policy, own_root=self._root)
                found[volume["name"]] = MountedVolume(path)
                continue
            if "persistentVolumeClaim" in volume:
                link = self._claim_link(pod, str(volume["name"]))
                if not link.is_dir():
                    return None
                read_only = bool(volume["persistentVolumeClaim"].get("readOnly"))
                found[volume["name"]] = MountedVolume(link.readlink(), read_only)
                continue
            kind = next((kind for kind in (*WRITTEN_KINDS, "emptyDir") if kind in volume), None)
            if kind is None or not _NAME.match(str(volume["name"])):
                return None
            path = pod_directory(self._root, uid_of(pod)) / "volumes" / kind / volume["name"]
            written = kind in WRITTEN_KINDS
            if not path.is_dir() or (written and not (path / DATA).is_symlink()):
                return None
            found[volume["name"]] = MountedVolume(path, read_only=written)
        return found

    def sub_path(self, pod: Obj, volume: MountedVolume, mount: Obj, sub_path: str, container: str, place: int) -> Path:
        """Bind a subPath of a volume for the `place`-th mount of a container.  Raises VolumeError."""
        base = pod_directory(self._root, uid_of(pod)) / "volume-subpaths"
        target = base / str(mount["name"]) / container / str(place)
        return bind_sub_path(volume.path, sub_path, target, self._mounter)

    def tear_down(self, uid: str) -> None:
        """Unmount and remove everything of the pod on disk.  Links are never followed.  Raises VolumeError, OSError."""
        directory = pod_directory(self._root, uid)
        if not directory.exists():
            return
        for path in sorted(_mount_points_under(directory), reverse=True):
            self._mounter.unmount(Path(path))
        if _mount_points_under(directory):
            raise VolumeError(f"volumes of pod {uid} are still mounted")
        shutil.rmtree(directory)
        self._tokens.forget(uid)

    def known_pods(self) -> tuple[str, ...]:
        """The uids that have a directory here."""
        base = self._root / "pods"
        return tuple(sorted(entry.name for entry in base.iterdir())) if base.is_dir() else ()

    def _set_up_one(
        self, volume: Obj, pod: Obj, sources: Sources, where: Placement, tokens: Mapping[str, str], stamp: str
    ) -> MountedVolume:
        fs_group = (spec_of(pod).get("securityContext") or {}).get("fsGroup")
        name = str(volume["name"])
        if (source := volume.get("hostPath")) is not None:
            return MountedVolume(host_path(source, namespace_of(pod), self._policy, own_root=self._root))
        if (source := volume.get("emptyDir")) is not None:
            return MountedVolume(self._empty_dir(pod, name, source, fs_group))
        if (source := volume.get("persistentVolumeClaim")) is not None:
            return self._claim(pod, name, source, sources, fs_group)
        files = volume_files(volume, pod, sources, where, tokens)
        if files is None:
            kind = next((key for key in sorted(volume) if key != "name"), "of no kind")
            raise VolumeError(f"volume kind {kind} is not supported on this node (pod {name_of(pod)})")
        kind = next(key for key in WRITTEN_KINDS if key in volume)
        path = self._directory(pod, kind, name)
        if kind == "secret" or tokens:
            self._on_memory(path)
        give: Callable[[Path], None] | None = None
        if fs_group is not None:
            give = partial(self._mounter.give_to_group, group=int(fs_group))
            files = {at: type(file)(file.data, file.mode | 0o040) for at, file in files.items()}
        self._versions += 1
        write_payload(path, files, stamp=f"{stamp}.{self._versions}", give=give)
        return MountedVolume(path, read_only=True)

    def _claim(self, pod: Obj, name: str, source: Obj, sources: Sources, fs_group: int | None) -> MountedVolume:
        claim = sources.claims.get(str(source.get("claimName", "")))
        volume = sources.volumes.get(str(spec_of(claim).get("volumeName", ""))) if claim is not None else None
        path = claim_directory(claim, volume, namespace_of(pod), self._policy, root=self._root)
        if fs_group is not None and path.stat().st_gid != int(fs_group):
            self._mounter.give_to_group(path, int(fs_group))
            path.chmod(0o2777)
        # A link tells a start without the server where the claim's data lies.
        link = self._claim_link(pod, name)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path)
        return MountedVolume(path, bool(source.get("readOnly")))

    def _claim_link(self, pod: Obj, name: str) -> Path:
        return pod_directory(self._root, uid_of(pod)) / "volumes" / "persistentVolumeClaim" / name

    def _empty_dir(self, pod: Obj, name: str, source: Obj, fs_group: int | None) -> Path:
        path = self._directory(pod, "emptyDir", name)
        match source.get("medium") or "":
            case "":
                pass
            case "Memory":
                if not self._mounter.can_mount:
                    raise VolumeError("medium Memory needs an agent that runs as root")
                limit = source.get("sizeLimit")
                self._mounter.tmpfs(path, size_bytes=bytes_of(limit) if limit else None, mode=0o777)
            case other:
                raise VolumeError(f"emptyDir medium {other} is not supported")
        if path.stat().st_mode & 0o7777 not in (0o777, 0o2777):
            path.chmod(0o777)
        if fs_group is not None and path.stat().st_gid != int(fs_group):
            self._mounter.give_to_group(path, int(fs_group))
            path.chmod(0o2777)
        return path

    def _directory(self, pod: Obj, kind: str, name: str) -> Path:
        base = pod_directory(self._root, uid_of(pod))
        base.mkdir(mode=0o750, parents=True, exist_ok=True)
        path = base / "volumes" / kind / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _on_memory(self, path: Path) -> None:
        """Keep secrets off the disk where we may mount; elsewhere only the agent's user reaches the pod's directory."""
        if self._mounter.can_mount:
            self._mounter.tmpfs(path, size_bytes=None, mode=0o755)


def _mount_points_under(directory: Path) -> list[str]:
    """Mounted paths below `directory`, from the kernel's own table."""
    prefix = f"{directory.resolve()}/"
    found: list[str] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        path = line.split(" ")[4].encode().decode("unicode_escape")
        if path.startswith(prefix):
            found.append(path)
    return found
