"""Conversion of a custom resource's objects by a webhook: what has to be known to ask it.

Asking takes time, so it is the API server's: here objects are only ever read in the version they already have.
Upstream: apiextensions-apiserver/pkg/apis/apiextensions/validation (validateCustomResourceConversion).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from cluster.machinery.errors import Cause, InternalError
from cluster.machinery.field_errors import forbidden, invalid, not_supported, required
from cluster.machinery.objects import Obj, field_of, meta_of, name_of
from cluster.machinery.schema import Node, apply_defaults
from cluster.resources.admission_webhooks import validate_client_config

STRATEGIES = ("None", "Webhook")
REVIEW_VERSION = "v1"
"""The version of ConversionReview that is spoken."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversion:
    """One definition's webhook.

    `generation` tells its answers from those that an earlier state of the definition was given; `shapes` are the schemas of
    all versions by apiVersion, served or not.
    """

    definition: str
    generation: str
    client_config: Obj
    shapes: Mapping[str, Node]


def conversion_of(crd: Obj, shapes: Mapping[str, Node]) -> Conversion | None:
    """None when the definition's objects are converted by changing their apiVersion."""
    if field_of(crd, "spec", "conversion", "strategy") != "Webhook":
        return None
    meta = meta_of(crd)
    generation = f"{meta.get('uid', '')}/{meta.get('generation', 0)}"
    return Conversion(name_of(crd), generation, crd["spec"]["conversion"]["webhook"]["clientConfig"], shapes)


def reader_of_converted(api_version: str, node: Node) -> Callable[[Obj], Obj]:
    """How an object is read that whoever took it from the store has had converted."""

    def read(obj: Obj) -> Obj:
        return apply_defaults(node, _in_version(obj, api_version))

    return read


def writer_of_converted(api_version: str) -> Callable[[Obj], Obj]:
    """What stands in for a conversion that was made already."""
    return lambda obj: _in_version(obj, api_version)


def _in_version(obj: Obj, api_version: str) -> Obj:
    if obj.get("apiVersion") != api_version:
        raise InternalError(f"an object of {obj.get('apiVersion')} was not converted to {api_version}")
    return obj


def validate_conversion(conversion: Obj, path: str) -> Iterator[Cause]:
    """Raises nothing; what is wrong with `spec.conversion`."""
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook")
    if strategy not in STRATEGIES:
        yield not_supported(f"{path}.strategy", strategy, STRATEGIES) if strategy else required(f"{path}.strategy")
    if strategy != "Webhook":
        if webhook is not None:
            yield forbidden(f"{path}.webhook", "should not be set when strategy is not set to Webhook")
        return
    config = (webhook or {}).get("clientConfig")
    if config is None:
        yield required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook")
    else:
        yield from validate_client_config(config, f"{path}.webhook.clientConfig")
    versions = (webhook or {}).get("conversionReviewVersions") or ()
    at = f"{path}.webhook.conversionReviewVersions"
    if not versions:
        yield required(at)
    elif REVIEW_VERSION not in versions:
        yield invalid(at, list(versions), f"must include at least one of {REVIEW_VERSION}")
