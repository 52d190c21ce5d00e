"""Custom resources in other versions, as their definition's webhook converts them.

Rows are exchanged for rows in the version asked for before anything reads them, so that reading stays synchronous; every
other kind never comes here.  Upstream: apiextensions-apiserver/pkg/apiserver/conversion/webhook_converter.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from cluster.apiserver.admission.api import Attributes, changed
from cluster.apiserver.state import Row, spliced, stored_form
from cluster.apiserver.webhook_client import WebhookClient, WebhookFailed
from cluster.base.entropy import Entropy
from cluster.machinery.errors import InternalError
from cluster.machinery.objects import Obj, meta_of
from cluster.machinery.schema import apply_defaults, prune
from cluster.resources.catalog import Descriptor
from cluster.resources.conversion import Conversion

API_VERSION: Final = "apiextensions.k8s.io/v1"
TIMEOUT_S: Final = 30.0
BATCH_SIZE_BYTES: Final = 4 * 1024 * 1024
"""What one review holds at most, give or take one object; a larger page is converted in several."""
REMEMBERED_MAX: Final = 2048
"""Converted rows kept, over all kinds; the one used longest ago is forgotten first."""

_Memory: TypeAlias = tuple[str, str, int, str]


class Converter:
    """Asks webhooks, and remembers what a row of one revision was converted to."""

    def __init__(self, client: WebhookClient, entropy: Entropy) -> None:
        self._client = client
        self._entropy = entropy
        self._remembered: OrderedDict[_Memory, Row] = OrderedDict()

    async def row(self, descriptor: Descriptor, row: Row) -> Row:
        """See `rows`."""
        return (await self.rows(descriptor, (row,)))[0]

    async def rows(self, descriptor: Descriptor, rows: Sequence[Row]) -> Sequence[Row]:
        """The same rows in `descriptor`'s version, in the same order.  Raises InternalError, which says why.

        Those that are in it already are handed back as they are.
        """
        conversion = descriptor.conversion
        if conversion is None:
            return rows
        api_version = descriptor.resource.api_version
        found: dict[int, Row] = {}
        wanted: dict[_Memory, Row] = {}
        for index, row in enumerate(rows):
            if is_in(row, api_version):
                found[index] = row
            elif (known := self._recall(_memory(conversion, row, api_version))) is not None:
                found[index] = known
            else:
                wanted[_memory(conversion, row, api_version)] = row
        made: dict[_Memory, Row] = {}
        for batch in _batches(wanted):
            objects = await self._converted(conversion, [row.obj() for row in batch.values()], api_version)
            for (memory, row), obj in zip(batch.items(), objects, strict=True):
                made[memory] = Row(row.key, row.path, spliced(stored_form(obj), row.revision), row.revision, obj)
                self._remember(memory, made[memory])
        return [
            found[index] if index in found else made[_memory(conversion, row, api_version)]
            for index, row in enumerate(rows)
        ]

    async def obj(self, conversion: Conversion, obj: Obj, api_version: str) -> Obj:
        """One object in another version, as `rows`."""
        if obj.get("apiVersion") == api_version:
            return obj
        return (await self._converted(conversion, [obj], api_version))[0]

    async def stored(self, descriptor: Descriptor, obj: Obj) -> Obj:
        """What to store for an object of `descriptor`'s version."""
        if descriptor.conversion is not None:
            obj = await self.obj(descriptor.conversion, obj, descriptor.storage.api_version)
        return descriptor.to_storage(obj)

    async def attributes(self, attributes: Attributes, version: Descriptor) -> Attributes:
        """A request as `version` has its objects; untouched where that takes no webhook, or they are of another kind."""
        conversion = attributes.descriptor.conversion or version.conversion
        if conversion is None or version is attributes.descriptor:
            return attributes
        api_version, kind = version.resource.api_version, version.resource.kind
        obj, old = attributes.obj, attributes.old
        if obj.get("kind") == kind:
            obj = await self.obj(conversion, obj, api_version)
        if old is attributes.obj:
            old = obj
        elif old is not None and old.get("kind") == kind:
            old = await self.obj(conversion, old, api_version)
        return changed(attributes, obj, old)

    async def _converted(self, conversion: Conversion, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        uid = self._entropy.uid()
        objects = [_with_defaults(conversion, obj) for obj in objects]
        source = f"{objects[0]['apiVersion']}, Kind={objects[0]['kind']}"
        request = {"uid": uid, "desiredAPIVersion": api_version, "objects": objects}
        body = orjson.dumps({"kind": "ConversionReview", "apiVersion": API_VERSION, "request": request})
        try:
            answer = await self._client.call(conversion.client_config, body, timeout_s=TIMEOUT_S)
            converted = _objects_of(answer, uid)
        except (WebhookFailed, _Refused) as error:
            raise InternalError(f"conversion webhook for {source} failed: {error}") from None
        if len(converted) != len(objects):
            raise InternalError(
                f"conversion webhook for {source} returned {len(converted)} objects, expected {len(objects)}"
            )
        shape = conversion.shapes[api_version]
        made: list[Obj] = []
        for index, (obj, before) in enumerate(zip(converted, objects, strict=True)):
            if why := _fault_of(obj, before, api_version):
                raise InternalError(
                    f"conversion webhook for {source} returned invalid converted object at index {index}: {why}"
                )
            made.append(prune(shape, {**obj, "metadata": _restored(obj, before)}))
        return made

    def _recall(self, memory: _Memory) -> Row | None:
        row = self._remembered.get(memory)
        if row is not None:
            self._remembered.move_to_end(memory)
        return row

    def _remember(self, memory: _Memory, row: Row) -> None:
        # Decoded anew when it is read: the state bounds what stays decoded.
        row.obj_decoded = None
        self._remembered[memory] = row
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)


def is_in(row: Row, api_version: str) -> bool:
    """Whether a row is written in this version; what is stored begins with it."""
    return row.value.startswith(b'{"apiVersion":"' + api_version.encode() + b'"')


class _Refused(Exception):
    """The webhook did not convert; the message says why."""


def _memory(conversion: Conversion, row: Row, api_version: str) -> _Memory:
    return (conversion.generation, row.path, row.revision, api_version)


def _batches(wanted: Mapping[_Memory, Row]) -> Iterator[dict[_Memory, Row]]:
    batch: dict[_Memory, Row] = {}
    size_bytes = 0
    for memory, row in wanted.items():
        if size_bytes and size_bytes + len(row.value) > BATCH_SIZE_BYTES:
            yield batch
            batch, size_bytes = {}, 0
        batch[memory] = row
        size_bytes += len(row.value)
    if batch:
        yield batch


def _with_defaults(conversion: Conversion, obj: Obj) -> Obj:
    shape = conversion.shapes.get(str(obj.get("apiVersion")))
    return obj if shape is None else apply_defaults(shape, obj)


def _objects_of(answer: bytes, uid: str) -> list[Any]:
    """Raises _Refused."""
    try:
        review = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise _Refused(f"the answer is not JSON: {error}") from None
    if not isinstance(review, dict):
        raise _Refused("the answer is not an object")
    kind = (review.get("apiVersion"), review.get("kind"))
    if kind != (API_VERSION, "ConversionReview"):
        raise _Refused(
            f"expected webhook response of {API_VERSION}, Kind=ConversionReview, got {kind[0]}, Kind={kind[1]}"
        )
    response = review.get("response")
    if not isinstance(response, dict):
        raise _Refused("no response provided")
    if response.get("uid") != uid:
        raise _Refused(f'expected response.uid="{uid}", got "{response.get("uid")}"')
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else None
    if status != "Success":
        message = result.get("message") if isinstance(result, dict) else None
        raise _Refused(str(message or f"response.result.status was '{status or ''}', not 'Success'"))
    objects = response.get("convertedObjects")
    return objects if isinstance(objects, list) else []


def _fault_of(obj: Any, before: Obj, api_version: str) -> str:
    """Why a converted object cannot be taken; empty when it can."""
    if not isinstance(obj, dict):
        return "it is not an object"
    if obj.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {obj.get('apiVersion')})"
    if obj.get("kind") != before["kind"]:
        return f"invalid kind (expected {before['kind']}, received {obj.get('kind')})"
    meta, was = obj.get("metadata"), meta_of(before)
    if not isinstance(meta, dict):
        return "invalid metadata: it is not an object"
    for field, named in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (meta.get(field) or "") != (was.get(field) or ""):
            return f"must have the same {named}"
    for field in ("labels", "annotations"):
        texts = meta.get(field) or {}
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            return f"metadata.{field}: Invalid value: must be a map of strings"
    return ""


def _restored(obj: Obj, before: Obj) -> Obj:
    """The metadata from before: a conversion may change labels and annotations, nothing else."""
    meta: dict[str, Any] = {
        name: value for name, value in meta_of(before).items() if name not in ("labels", "annotations")
    }
    for field in ("labels", "annotations"):
        if texts := meta_of(obj).get(field):
            meta[field] = texts
    return meta
