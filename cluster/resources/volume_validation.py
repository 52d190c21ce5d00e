"""What must hold of a pod's volumes.  Upstream: pkg/apis/core/validation/validation.go ValidateVolumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required
from cluster.machinery.names import label_errors, subdomain_errors
from cluster.machinery.objects import Obj
from cluster.machinery.quantity import QuantityError, parse_quantity

HOST_PATH_TYPES = (
    "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice",
)  # fmt: skip
MODE_WRONG = "must be a number between 0 and 0777 (octal), both inclusive"
VOLUME_FIELDS = (
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
)  # fmt: skip
RESOURCE_FIELDS = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory",
    "requests.cpu", "requests.ephemeral-storage", "requests.memory",
)  # fmt: skip


def validate_volumes(volumes: Sequence[Obj], path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        at = f"{path}[{index}]"
        name = volume.get("name", "")
        if not name:
            yield required(f"{at}.name")
        else:
            for why in label_errors(name):
                yield invalid(f"{at}.name", name, why)
        if name in seen:
            yield duplicate(f"{at}.name", name)
        seen.add(name)
        sources = [field for field in volume if field != "name"]
        if not sources:
            yield required(at, "must specify a volume type")
        for extra in sources[1:]:
            yield forbidden(f"{at}.{extra}", "may not specify more than 1 volume type")
        if sources:
            yield from _validate_source(sources[0], volume[sources[0]], f"{at}.{sources[0]}")


def _validate_source(kind: str, source: Obj, path: str) -> Iterator[Cause]:
    match kind:
        case "emptyDir":
            limit = source.get("sizeLimit")
            if limit is not None and _is_negative(limit):
                yield forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")
        case "hostPath":
            yield from _validate_required(source, "path", path)
            if ".." in str(source.get("path", "")).split("/"):
                yield invalid(f"{path}.path", source["path"], "must not contain '..'")
            if source.get("type", "") not in HOST_PATH_TYPES:
                yield not_supported(f"{path}.type", source["type"], HOST_PATH_TYPES)
        case "secret":
            yield from _validate_required(source, "secretName", path)
            yield from _validate_files(source, path)
        case "configMap":
            yield from _validate_required(source, "name", path)
            yield from _validate_files(source, path)
        case "persistentVolumeClaim":
            yield from _validate_required(source, "claimName", path)
        case "downwardAPI":
            yield from _validate_mode(source, "defaultMode", path)
            yield from _validate_downward(source, path)
        case "projected":
            yield from _validate_mode(source, "defaultMode", path)
            for index, projection in enumerate(source.get("sources") or ()):
                yield from _validate_projection(projection, f"{path}.sources[{index}]")
        case "nfs":
            yield from _validate_required(source, "server", path)
            yield from _validate_required(source, "path", path)
            if source.get("path") and not source["path"].startswith("/"):
                yield invalid(f"{path}.path", source["path"], "must be an absolute path")
        case "csi":
            yield from _validate_required(source, "driver", path)
        case "ephemeral":
            if not source.get("volumeClaimTemplate"):
                yield required(f"{path}.volumeClaimTemplate")


def _is_negative(text: str) -> bool:
    try:
        return parse_quantity(text).nanos < 0
    except QuantityError:
        return True


def _validate_required(source: Obj, field: str, path: str) -> Iterator[Cause]:
    if not source.get(field):
        yield required(f"{path}.{field}")


def _validate_mode(source: Obj, field: str, path: str) -> Iterator[Cause]:
    mode = source.get(field)
    if mode is not None and not 0 <= mode <= 0o777:
        yield invalid(f"{path}.{field}", mode, MODE_WRONG)


def _validate_files(source: Obj, path: str) -> Iterator[Cause]:
    yield from _validate_mode(source, "defaultMode", path)
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        yield from _validate_required(item, "key", at)
        yield from validate_file_path(item, at)
        yield from _validate_mode(item, "mode", at)


def validate_file_path(item: Obj, at: str) -> Iterator[Cause]:
    """A file below a volume's root: relative, never outside, nothing that begins like the volume's own links."""
    text = item.get("path", "")
    if not text:
        yield required(f"{at}.path")
    else:
        yield from validate_local_path(text, f"{at}.path")
        if text.startswith("..") and text.split("/")[0] != "..":
            yield invalid(f"{at}.path", text, "must not start with '..'")


def validate_local_path(text: str, path: str) -> Iterator[Cause]:
    if text.startswith("/"):
        yield invalid(path, text, "must be a relative path")
    if ".." in text.split("/"):
        yield invalid(path, text, "must not contain '..'")


def _validate_downward(source: Obj, path: str) -> Iterator[Cause]:
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        yield from validate_file_path(item, at)
        yield from _validate_mode(item, "mode", at)
        field_ref, resource_ref = item.get("fieldRef"), item.get("resourceFieldRef")
        if field_ref is not None:
            yield from validate_field_ref(field_ref, f"{at}.fieldRef", VOLUME_FIELDS)
            if resource_ref is not None:
                yield invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif resource_ref is not None:
            yield from validate_resource_ref(resource_ref, f"{at}.resourceFieldRef", container_required=True)
        else:
            yield required(at, "one of fieldRef and resourceFieldRef is required")


def validate_field_ref(reference: Obj, path: str, allowed: Sequence[str]) -> Iterator[Cause]:
    field_path = reference.get("fieldPath", "")
    if not field_path:
        yield required(f"{path}.fieldPath")
        return
    base, bracket, subscript = field_path.partition("['")
    if bracket and subscript.endswith("']") and base in ("metadata.annotations", "metadata.labels"):
        return
    if field_path not in allowed:
        yield not_supported(f"{path}.fieldPath", field_path, sorted(allowed))


def validate_resource_ref(reference: Obj, path: str, *, container_required: bool = False) -> Iterator[Cause]:
    resource = reference.get("resource", "")
    if container_required and not reference.get("containerName"):
        yield required(f"{path}.containerName")
    if not resource:
        yield required(f"{path}.resource")
    elif resource not in RESOURCE_FIELDS and ".hugepages-" not in resource:
        yield not_supported(f"{path}.resource", resource, RESOURCE_FIELDS)


def _validate_projection(projection: Obj, path: str) -> Iterator[Cause]:
    kinds = [kind for kind in projection if projection[kind] is not None]
    if not kinds:
        yield required(path, "must specify at least one projection type")
    for extra in kinds[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 volume type per source")
    for kind in kinds[:1]:
        at, source = f"{path}.{kind}", projection[kind]
        match kind:
            case "secret" | "configMap":
                yield from _validate_required(source, "name", at)
                for why in subdomain_errors(source["name"]) if source.get("name") else ():
                    yield invalid(f"{at}.name", source["name"], why)
                yield from _validate_files(source, at)
            case "downwardAPI":
                yield from _validate_downward(source, at)
            case "serviceAccountToken":
                seconds = source.get("expirationSeconds", 3600)
                if seconds < 600:
                    yield invalid(f"{at}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
                if seconds > 2**32:
                    yield invalid(
                        f"{at}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
                    )
                if not source.get("path"):
                    yield required(f"{at}.path")
                else:
                    yield from validate_local_path(source["path"], f"{at}.path")
