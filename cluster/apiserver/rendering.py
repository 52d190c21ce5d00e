"""Results to replies: the last step before the wire, in the form the caller accepts."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from cluster.apiserver.backend import Backend
from cluster.apiserver.call import Call, ObjResult, Result, RowResult, RowsResult, WatchResult
from cluster.apiserver.http import Reply
from cluster.apiserver.negotiation import JSON, Form, accepted
from cluster.apiserver.representation import representation_of
from cluster.machinery.errors import ApiError
from cluster.machinery.yaml_dump import dump

YAML = "application/yaml"


def reply_of(backend: Backend, call: Call, result: Result) -> Reply:
    """Raises NotAcceptable, BadRequest."""
    if isinstance(result, Reply):
        return result
    warnings = tuple(dict.fromkeys(call.warnings)) if call.warnings else ()
    header = call.request.headers.get("accept", "")
    wanted = JSON if not header else accepted(header, transformable=not isinstance(result, ObjResult))
    match result:
        case RowResult(row, created):
            status = 201 if created else 200
            if wanted is JSON and call.descriptor.is_stored:
                return Reply(status, body=row.value, warnings=warnings)
            body = representation_of(call, wanted, backend.state, backend.clock).encode(row, first=True)
        case RowsResult():
            body = representation_of(call, wanted, backend.state, backend.clock).encode_list(result)
            status = 200
        case ObjResult(obj, status):
            body = orjson.dumps(obj)
        case WatchResult(watcher):
            return Reply(stream=watcher, content_type=_streamed(wanted.form), warnings=warnings)
    if wanted.yaml:
        document = dump(orjson.loads(body)).encode()
        return Reply(status, body=document, content_type=YAML, warnings=warnings)
    return Reply(status, body=body, warnings=warnings)


def _streamed(form: Form) -> str:
    return "application/json" if form is Form.OBJECT else f"application/json;as={_AS[form]};v=v1;g=meta.k8s.io"


_AS = {Form.TABLE: "Table", Form.METADATA: "PartialObjectMetadata"}


def error_reply(error: ApiError, warnings: list[str] | None = None) -> Reply:
    """The Status that tells of a refusal; always JSON, which every client reads."""
    headers: Mapping[str, str] = {}
    if error.retry_after_s is not None:
        headers = {"Retry-After": str(error.retry_after_s)}
    return Reply(error.code, body=orjson.dumps(error.to_status()), headers=headers, warnings=warnings or ())
