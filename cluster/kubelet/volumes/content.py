"""What configMap, secret, downwardAPI and projected volumes hold.  Pure: the pod and its sources in, files out.

Upstream: pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from cluster.kubelet.downward import DownwardError, Placement, field_value, resource_value
from cluster.kubelet.sources import Sources
from cluster.kubelet.volumes.atomic import File
from cluster.machinery.objects import Obj, namespace_of

DEFAULT_MODE = 0o644


class VolumeError(Exception):
    """The volume cannot be made now; `FailedMount` with this message."""


def config_map_files(source: Obj, sources: Sources, namespace: str, *, mode: int) -> dict[str, File]:
    name = str(source.get("name", ""))
    found = sources.config_maps.get(name)
    if found is None:
        return _absent(source, f'configmap "{name}" not found')
    data = {key: value.encode("utf-8", "surrogatepass") for key, value in (found.get("data") or {}).items()}
    data |= {key: _decoded(value) for key, value in (found.get("binaryData") or {}).items()}
    return _selected(source, data, mode, f"configmap references non-existent config key: {{key}} ({namespace}/{name})")


def secret_files(source: Obj, sources: Sources, namespace: str, *, mode: int) -> dict[str, File]:
    """`source` names the secret by `secretName` in a volume, by `name` in a projection."""
    name = str(source.get("secretName") or source.get("name") or "")
    found = sources.secrets.get(name)
    if found is None:
        return _absent(source, f'secret "{name}" not found')
    data = {key: _decoded(value) for key, value in (found.get("data") or {}).items()}
    return _selected(source, data, mode, f"references non-existent secret key: {{key}} ({namespace}/{name})")


def downward_files(source: Obj, pod: Obj, where: Placement, *, mode: int) -> dict[str, File]:
    files: dict[str, File] = {}
    for item in source.get("items") or ():
        try:
            if reference := item.get("fieldRef"):
                text = field_value(pod, str(reference.get("fieldPath", "")), where)
            else:
                text = resource_value(pod, item.get("resourceFieldRef") or {}, where)
        except DownwardError as error:
            raise VolumeError(str(error)) from error
        files[item["path"]] = File(text.encode(), _mode(item, mode))
    return files


def projected_files(
    source: Obj, pod: Obj, sources: Sources, where: Placement, tokens: Mapping[str, str]
) -> dict[str, File]:
    """All sources in one directory; later ones win.  `tokens` are service account tokens by their path."""
    mode = _mode_of(source.get("defaultMode"))
    namespace = namespace_of(pod)
    files: dict[str, File] = {}
    for part in source.get("sources") or ():
        if inner := part.get("configMap"):
            files |= config_map_files(inner, sources, namespace, mode=mode)
        elif inner := part.get("secret"):
            files |= secret_files(inner, sources, namespace, mode=mode)
        elif (inner := part.get("downwardAPI")) is not None:
            files |= downward_files(inner, pod, where, mode=mode)
        elif inner := part.get("serviceAccountToken"):
            # Only its owner reads a token, unless a group was given the volume (upstream: 0600, 0640 with fsGroup).
            fs_group = ((pod.get("spec") or {}).get("securityContext") or {}).get("fsGroup")
            files[inner["path"]] = File(tokens[inner["path"]].encode(), mode if fs_group is None else 0o640)
        else:
            raise VolumeError(f"projected source {'/'.join(sorted(part)) or 'without a kind'} is not supported")
    return files


def volume_files(
    volume: Obj, pod: Obj, sources: Sources, where: Placement, tokens: Mapping[str, str]
) -> dict[str, File] | None:
    """The files of a volume whose content we write; None for other kinds.  Raises VolumeError."""
    namespace = namespace_of(pod)
    if (source := volume.get("configMap")) is not None:
        return config_map_files(source, sources, namespace, mode=_mode_of(source.get("defaultMode")))
    if (source := volume.get("secret")) is not None:
        return secret_files(source, sources, namespace, mode=_mode_of(source.get("defaultMode")))
    if (source := volume.get("downwardAPI")) is not None:
        return downward_files(source, pod, where, mode=_mode_of(source.get("defaultMode")))
    if (source := volume.get("projected")) is not None:
        return projected_files(source, pod, sources, where, tokens)
    return None


def token_requests_of(pod: Obj) -> dict[str, tuple[Obj, ...]]:
    """The serviceAccountToken projections by volume name."""
    found: dict[str, tuple[Obj, ...]] = {}
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        parts = (volume.get("projected") or {}).get("sources") or ()
        requests = tuple(part["serviceAccountToken"] for part in parts if part.get("serviceAccountToken"))
        if requests:
            found[volume["name"]] = requests
    return found


def _absent(source: Obj, message: str) -> dict[str, File]:
    if source.get("optional"):
        return {}
    raise VolumeError(message)


def _selected(source: Obj, data: Mapping[str, bytes], mode: int, missing: str) -> dict[str, File]:
    items = source.get("items")
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in items:
        key = item["key"]
        if key in data:
            files[item["path"]] = File(data[key], _mode(item, mode))
        elif not source.get("optional"):
            raise VolumeError(missing.format(key=key))
    return files


def _mode(item: Obj, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"]) & 0o7777


def _mode_of(value: int | None) -> int:
    return DEFAULT_MODE if value is None else int(value) & 0o7777


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise VolumeError("a value is not base64") from error
