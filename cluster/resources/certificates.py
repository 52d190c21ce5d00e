"""The certificates group: what a CertificateSigningRequest may say, and which endpoint may change which part of it.

Upstream: pkg/apis/certificates/validation/validation.go, registry/certificates/certificates/strategy.go, pkg/printers.
Knows nothing of who may approve or sign; that is admission's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from cluster.base.certificate_requests import BadRequestPem, certificate_end, parse_request
from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, forbidden, invalid, not_supported, required
from cluster.machinery.names import path_segment_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, with_field
from cluster.machinery.timestamps import human_duration
from cluster.resources.kind import Kind, text_at
from cluster.resources.printing import AGE, NAME, NONE, Column, field_cell
from cluster.resources.strategy import GenericStrategy, WriteContext

GROUP = "certificates.k8s.io"
KUBE_APISERVER_CLIENT = "kubernetes.io/kube-apiserver-client"
KUBE_APISERVER_CLIENT_KUBELET = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
LEGACY_UNKNOWN = "kubernetes.io/legacy-unknown"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
EXPIRATION_MIN_S = 600
SIGNER_NAME_SIZE_MAX = 571

_DECISIONS = (APPROVED, DENIED, FAILED)
_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip


def request_pem_of(csr: Obj) -> bytes:
    """`spec.request` decoded; empty when it is no base64."""
    return _bytes(field_of(csr, "spec", "request", default=""))


def certificate_pem_of(csr: Obj) -> bytes:
    """`status.certificate` decoded; empty when there is none yet."""
    return _bytes(field_of(csr, "status", "certificate", default=""))


def has_condition(csr: Obj, type_: str) -> bool:
    return any(condition.get("type") == type_ for condition in conditions_of(csr))


def conditions_of(csr: Obj) -> Sequence[Obj]:
    conditions: Sequence[Obj] = field_of(csr, "status", "conditions", default=())
    return conditions


class CertificateSigningRequestStrategy(GenericStrategy):
    """A PUT of the whole object changes metadata only; decisions go to /approval, certificates to /status."""

    namespaced = False
    has_status = True

    def prepare_create(self, obj: Obj, context: WriteContext) -> Obj:
        """The spec says who asked: the caller, never what the caller wrote there."""
        new = dict(super().prepare_create(obj, context))
        spec: dict[str, Any] = {
            name: value
            for name, value in (new.get("spec") or {}).items()
            if name not in ("username", "uid", "groups", "extra")
        }
        spec["username"] = context.user
        if context.uid:
            spec["uid"] = context.uid
        spec["groups"] = list(context.groups)
        if context.extra:
            spec["extra"] = {name: list(values) for name, values in sorted(context.extra.items())}
        new["spec"] = spec
        return new

    def prepare_update(self, new: Obj, old: Obj) -> Obj:
        return {**super().prepare_update(new, old), "spec": old["spec"]}

    def prepare_status(self, new: Obj, old: Obj) -> Obj:
        """Who signs does not decide: approvals and denials stay as they were."""
        prepared = super().prepare_status(new, old)
        kept = [condition for condition in conditions_of(old) if condition.get("type") in (APPROVED, DENIED)]
        added = [condition for condition in conditions_of(new) if condition.get("type") not in (APPROVED, DENIED)]
        if not kept and not added:
            return prepared
        return with_field(prepared, ("status", "conditions"), [*kept, *added])

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (
            *super().validate_status(new, old),
            *_validate_conditions(new),
            *_removed_decisions(new, old),
            *_validate_certificate(new, old),
        )

    def _name_check(self, name: str) -> tuple[str, ...]:
        return path_segment_errors(name)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return ()


def prepare_approval(new: Obj, old: Obj) -> Obj:
    """/approval changes the conditions and nothing else."""
    conditions = conditions_of(new)
    if not conditions and "conditions" not in (old.get("status") or {}):
        return old
    return with_field(old, ("status", "conditions"), list(conditions))


def validate_approval(new: Obj, old: Obj) -> tuple[Cause, ...]:
    return (*_validate_conditions(new), *_removed_decisions(new, old))


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    request = spec.get("request") or ""
    try:
        parse_request(_bytes(request))
    except BadRequestPem as error:
        yield invalid("spec.request", request, str(error))
    usages = spec.get("usages") or ()
    if not usages:
        yield required("spec.usages")
    for index, usage in enumerate(usages):
        if usage not in _USAGES:
            yield not_supported(f"spec.usages[{index}]", usage, _USAGES)
        elif usage in usages[:index]:
            yield duplicate(f"spec.usages[{index}]", usage)
    yield from _validate_signer_name(spec.get("signerName") or "")
    expiration = spec.get("expirationSeconds")
    if expiration is not None and expiration < EXPIRATION_MIN_S:
        why = f"may not specify a duration less than {EXPIRATION_MIN_S} seconds (10 minutes)"
        yield invalid("spec.expirationSeconds", expiration, why)


def _validate_signer_name(name: str) -> Iterator[Cause]:
    path = "spec.signerName"
    if not name:
        yield required(path)
        return
    if name == LEGACY_UNKNOWN:
        yield invalid(path, name, "the legacy signerName is not allowed via this API version")
    domain, slash, rest = name.partition("/")
    if not slash or not rest or "/" in rest:
        yield invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")
        return
    if len(name) > SIGNER_NAME_SIZE_MAX:
        yield invalid(path, name, f"must be no more than {SIGNER_NAME_SIZE_MAX} bytes")
    for part in (domain, rest):
        for why in subdomain_errors(part):
            yield invalid(path, part, why)
    if "." not in domain:
        yield invalid(path, domain, "should be a domain with at least two segments separated by dots")


def _validate_conditions(obj: Obj) -> Iterator[Cause]:
    path = "status.conditions"
    seen: set[str] = set()
    for index, condition in enumerate(conditions_of(obj)):
        type_, status = condition.get("type") or "", condition.get("status") or ""
        if not type_:
            yield required(f"{path}[{index}].type")
        if type_ in _DECISIONS and status != "True":
            yield not_supported(f"{path}[{index}].status", status, ("True",))
        elif not status:
            yield required(f"{path}[{index}].status")
        elif status not in ("True", "False", "Unknown"):
            yield not_supported(f"{path}[{index}].status", status, ("False", "True", "Unknown"))
        if type_ in seen:
            yield duplicate(f"{path}[{index}].type", type_)
        seen.add(type_)
    if APPROVED in seen and DENIED in seen:
        yield invalid(path, DENIED, "Approved and Denied conditions are mutually exclusive")


def _removed_decisions(new: Obj, old: Obj) -> Iterator[Cause]:
    for type_ in _DECISIONS:
        if has_condition(old, type_) and not has_condition(new, type_):
            yield forbidden("status.conditions", f'updates may not remove a condition of type "{type_}"')


def _validate_certificate(new: Obj, old: Obj) -> Iterator[Cause]:
    given, was = (field_of(obj, "status", "certificate", default="") for obj in (new, old))
    if given == was:
        return
    if was:
        yield forbidden("status.certificate", "updates may not modify existing certificate content")
    if given:
        try:
            certificate_end(_bytes(given))
        except BadRequestPem as error:
            yield invalid("status.certificate", "<certificate data>", str(error))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _duration_cell(obj: Obj, now: datetime) -> str:
    seconds = field_of(obj, "spec", "expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _condition_cell(obj: Obj, now: datetime) -> str:
    words = [DENIED if has_condition(obj, DENIED) else APPROVED if has_condition(obj, APPROVED) else "Pending"]
    if has_condition(obj, FAILED):
        words.append(FAILED)
    if field_of(obj, "status", "certificate"):
        words.append("Issued")
    return ",".join(words)


_COLUMNS = (
    NAME,
    AGE,
    Column("SignerName", field_cell("spec", "signerName")),
    Column("Requestor", field_cell("spec", "username")),
    Column("RequestedDuration", _duration_cell),
    Column("Condition", _condition_cell),
)

KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "CertificateSigningRequest"): Kind(
        CertificateSigningRequestStrategy(), _COLUMNS, {"spec.signerName": text_at("spec", "signerName")}
    ),
}
