"""AdmissionReview v1: a request as a webhook is told of it, and what its answer says.  Pure.

Upstream: apiserver/pkg/admission/plugin/webhook/request/admissionreview.go, .../webhook/errors.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from cluster.apiserver.admission.api import Attributes
from cluster.machinery.errors import ApiError, BadRequest, error_of_status
from cluster.machinery.objects import GroupVersionKind, Obj
from cluster.resources.catalog import Descriptor
from cluster.resources.subresources import subresource_of

API_VERSION = "admission.k8s.io/v1"
WARNING_SIZE_MAX = 256
WARNINGS_MAX = 16
"""Warnings one webhook may give, and how long each may be; the rest is cut."""


class InvalidReview(Exception):
    """The answer is no AdmissionReview that fits the request; the message says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook answered: `refusal` None is allowed; `patch` a JSON patch's operations."""

    refusal: ApiError | None = None
    patch: Any = None
    warnings: Sequence[str] = ()
    audit_annotations: Mapping[str, str] | None = None


def review_of(attributes: Attributes, matched: Descriptor, uid: str) -> Obj:
    """The review to send to a webhook that takes the request as one for `matched`."""
    return {
        "kind": "AdmissionReview",
        "apiVersion": API_VERSION,
        "request": request_of(attributes, matched, uid),
    }


def request_of(attributes: Attributes, matched: Descriptor, uid: str) -> Obj:
    """The AdmissionRequest.  Objects are converted to the version of `matched`."""
    own, key, user = attributes.descriptor, attributes.key, attributes.user
    request: dict[str, Any] = {
        "uid": uid,
        "kind": _kind_of(attributes, matched),
        "resource": _resource_of(matched),
        "requestKind": _kind_of(attributes, own),
        "requestResource": _resource_of(own),
        "name": key.name,
        "namespace": key.namespace if own.resource.namespaced or own.resource.plural != "namespaces" else key.name,
        "operation": attributes.operation,
        "userInfo": {
            name: value
            for name, value in (
                ("username", user.name),
                ("uid", user.uid),
                ("groups", list(user.groups)),
                ("extra", {key: list(values) for key, values in user.extra.items()}),
            )
            if value
        },
        "object": None if attributes.operation == "DELETE" else converted(attributes.obj, own, matched),
        "oldObject": None if attributes.old is None else converted(attributes.old, own, matched),
        "dryRun": attributes.dry_run,
        "options": options_of(attributes),
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    return request


def converted(obj: Obj, own: Descriptor, matched: Descriptor) -> Obj:
    """An object of `own`'s version in `matched`'s; one of another kind (Scale, Eviction, options) as it is."""
    if matched is own or obj.get("kind") != own.resource.kind or obj.get("apiVersion") == matched.resource.api_version:
        return obj
    return matched.from_storage(own.to_storage(obj))


def options_of(attributes: Attributes) -> Obj | None:
    """The request's CreateOptions, UpdateOptions, PatchOptions or DeleteOptions; None for a connection."""
    if attributes.operation == "CONNECT":
        return None
    verb = attributes.call.route.verb if attributes.call is not None else attributes.operation.lower()
    kinds = {"create": "Create", "update": "Update", "patch": "Patch"}
    options: dict[str, Any] = {
        "kind": f"{kinds.get(verb, attributes.operation.capitalize())}Options",
        "apiVersion": "meta.k8s.io/v1",
    }
    if attributes.operation == "DELETE":
        options["kind"] = "DeleteOptions"
    elif attributes.call is not None:
        for name in ("fieldManager", "fieldValidation"):
            if text := attributes.call.request.parameter(name):
                options[name] = text
        if verb == "patch" and attributes.call.is_set("force"):
            options["force"] = True
    if attributes.dry_run:
        options["dryRun"] = ["All"]
    return options


def verdict_of(webhook: str, answer: bytes, uid: str, *, mutating: bool) -> Verdict:
    """What `webhook` says to the request `uid`.  Raises InvalidReview."""
    response = _response_of(answer, uid)
    warnings = _texts(response.get("warnings"))[:WARNINGS_MAX]
    annotations = response.get("auditAnnotations")
    if not isinstance(annotations, Mapping):
        annotations = {}
    patch = _patch_of(response, mutating=mutating)
    refusal = None if response.get("allowed") is True else refusal_of(webhook, response.get("status"))
    return Verdict(
        refusal,
        patch,
        tuple(text[:WARNING_SIZE_MAX] for text in warnings),
        {str(name): str(value) for name, value in annotations.items()},
    )


def refusal_of(webhook: str, status: Any) -> ApiError:
    """The error of a denied request: the webhook's own Status, its message beginning with who denied."""
    given: dict[str, Any] = dict(status) if isinstance(status, Mapping) else {}
    denied = f'admission webhook "{webhook}" denied the request'
    why = given.get("message") or given.get("reason")
    message = f"{denied}: {why}" if why else f"{denied} without explanation"
    code = given.get("code")
    if not isinstance(code, int) or not 400 <= code < 600:
        code = 400
    details = given.get("details")
    reason = str(given.get("reason") or "")
    safe = {
        "code": code,
        "reason": reason,
        "message": message,
        "details": details if isinstance(details, Mapping) else {},
    }
    try:
        error = error_of_status(safe)
        error.to_status()
    except (TypeError, AttributeError, ValueError):
        error = error_of_status({**safe, "details": {}})
    return Denied(error, code=code, reason=reason)


class Denied(BadRequest):
    """A request that a webhook denied, with whatever code and reason it chose."""

    def __init__(self, error: ApiError, *, code: int, reason: str) -> None:
        super().__init__(
            error.message,
            group=error.group,
            kind=error.kind,
            name=error.name,
            uid=error.uid,
            causes=error.causes,
            retry_after_s=error.retry_after_s,
        )
        self.code = code  # type: ignore[misc]
        self.reason = reason  # type: ignore[misc]


def _response_of(answer: bytes, uid: str) -> Mapping[str, Any]:
    try:
        review = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise InvalidReview(f"the answer is not JSON: {error}") from None
    if not isinstance(review, Mapping):
        raise InvalidReview("the answer is not an object")
    kind = (review.get("apiVersion"), review.get("kind"))
    if kind != (API_VERSION, "AdmissionReview"):
        raise InvalidReview(
            f"expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {kind[0]}, Kind={kind[1]}"
        )
    response = review.get("response")
    if not isinstance(response, Mapping):
        raise InvalidReview("webhook response was absent")
    if response.get("uid") != uid:
        raise InvalidReview(f'expected response.uid="{uid}", got "{response.get("uid")}"')
    return response


def _patch_of(response: Mapping[str, Any], *, mutating: bool) -> Any:
    patch, patch_type = response.get("patch"), response.get("patchType")
    if not patch and patch_type is None:
        return None
    if not mutating:
        raise InvalidReview("validating webhooks may not return response.patch")
    if not patch:
        raise InvalidReview("webhook returned response.patchType but not response.patch")
    if patch_type != "JSONPatch":
        raise InvalidReview(f'webhook returned invalid response.patchType of "{patch_type}"')
    try:
        return orjson.loads(base64.b64decode(str(patch), validate=True))
    except (binascii.Error, ValueError):
        raise InvalidReview("response.patch is not a JSON patch in base64") from None


def _texts(value: Any) -> list[str]:
    return [str(text) for text in value] if isinstance(value, list) else []


def _kind_of(attributes: Attributes, descriptor: Descriptor) -> Obj:
    resource = descriptor.resource
    gvk = resource.gvk
    if attributes.subresource:
        gvk = subresource_of(resource, attributes.subresource).kind
    return _gvk(gvk)


def _gvk(gvk: GroupVersionKind) -> Obj:
    return {"group": gvk.group, "version": gvk.version, "kind": gvk.kind}


def _resource_of(descriptor: Descriptor) -> Obj:
    resource = descriptor.resource
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
