"""The sandbox program where it is needed: as a file on the host, and as an image made without a registry."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from cluster.kubelet.runtime.program.build import build

_CLUSTER_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class SandboxImage:
    """`name` is the image's; `program` the executable that is its only file."""

    name: str
    program: bytes

    def tar(self) -> bytes:
        """The image's root file system: the same bytes every time."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            entry = tarfile.TarInfo("sandbox")
            entry.size = len(self.program)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(self.program))
        return buffer.getvalue()


CHANGES = ('ENTRYPOINT ["/sandbox"]',)


def sandbox_image(cluster_id: str, architecture: str) -> SandboxImage:
    """Tagged by its content, so that an upgrade makes another.  Raises ValueError for an id unfit for an image name."""
    if not _CLUSTER_ID.fullmatch(cluster_id):
        raise ValueError(f"cluster id {cluster_id!r}: lower-case letters, digits and single dashes only")
    program = build(architecture)
    tag = hashlib.sha256(program).hexdigest()[:12]
    return SandboxImage(f"reconciler.local/{cluster_id}/sandbox:{tag}", program)


def install_program(directory: Path, image: SandboxImage) -> Path:
    """Put the program into `directory` for bind mounts, whole or not at all; the path carries its tag."""
    path = directory / f"sandbox-{image.name.rpartition(':')[2]}"
    if not path.exists() or path.read_bytes() != image.program:
        directory.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_bytes(image.program)
        draft.chmod(0o755)
        draft.replace(path)
    return path
